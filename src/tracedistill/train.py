"""The target of `accelerate launch -m tracedistill.train RECIPE [--arm NAME] [key=value]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tracedistill.pipeline.worker import run_worker, train


def main(argv: Sequence[str] | None = None) -> int:
    """Train in every launched process."""
    return run_worker("tracedistill.train", "Train one adapter per tuned arm of a study.", train, argv)


if __name__ == "__main__":
    sys.exit(main())
