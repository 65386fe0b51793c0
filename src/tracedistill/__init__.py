"""tracedistill: distil a teacher's reasoning traces into a small student, and measure what the traces were worth.

    import tracedistill

    study = tracedistill.load("recipes/quickstart/study.yaml", ["seed=1"])
    tracedistill.run(study)                    # every stage; or stage="validate"
    tracedistill.report_of(study).arms      # the table

`grade` judges any model's outputs without a study; `import_outputs` adds them to a run folder as an arm.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracedistill.pipeline.load import load
    from tracedistill.pipeline.run import report_of, run, status
    from tracedistill.tools.grade import grade
    from tracedistill.tools.import_outputs import import_outputs

__all__ = ["__version__", "grade", "import_outputs", "load", "report_of", "run", "status"]
__version__ = "0.1.0"

_MODULES = {"grade": "tracedistill.tools.grade", "import_outputs": "tracedistill.tools.import_outputs"}


def __getattr__(name: str) -> Any:
    """Import a name of the API on first use, so that `import tracedistill` alone loads nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'tracedistill' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES.get(name, "tracedistill.pipeline")), name)
