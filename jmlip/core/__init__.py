"""Units, types, structures, configuration, artifacts and errors: the ground of everything else."""
