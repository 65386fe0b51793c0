"""The target of `accelerate launch -m tracedistill.evaluate RECIPE [--arm NAME] [key=value]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tracedistill.pipeline.worker import evaluate, run_worker


def main(argv: Sequence[str] | None = None) -> int:
    """Generate a share of the batches in every launched process."""
    return run_worker("tracedistill.evaluate", "Evaluate the arms of a study, batches shared.", evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
