"""Files to structures, and the statistics of a data set."""
