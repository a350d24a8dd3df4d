"""Scripts that make reference numbers need the packages they refer to."""

collect_ignore_glob = ["references/make_*.py"]
