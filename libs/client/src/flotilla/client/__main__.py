"""`python -m flotilla.client` is the `flotilla` command."""

import sys

from flotilla.client.command import main

if __name__ == "__main__":
    sys.exit(main())
