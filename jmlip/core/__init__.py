"""Units, types, structures, configuration, artifacts and errors: what every other package stands on."""
