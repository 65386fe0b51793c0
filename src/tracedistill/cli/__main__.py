"""`python -m tracedistill.cli`."""

import sys

from tracedistill.cli import main

if __name__ == "__main__":
    sys.exit(main())
