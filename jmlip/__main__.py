"""`python -m jmlip` is the command line."""

import sys

from jmlip.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
