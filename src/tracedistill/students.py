"""The name that `tracedistill.evaluate` had as a target of `accelerate launch`; goes with the next version."""

from __future__ import annotations

import sys

from tracedistill.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
