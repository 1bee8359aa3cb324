"""`python -m flotilla.cli` is the `flotilla` command."""

import sys

from flotilla.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
