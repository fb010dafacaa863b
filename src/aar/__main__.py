"""`python -m aar` is the command line."""

import sys

from aar.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
