"""tracedistill: distil a teacher's decomposition traces into a small student, and measure what the trace was worth.

    import tracedistill

    study = tracedistill.load("recipes/quickstart/study.yaml", ["seed=1"])
    tracedistill.run(study)                    # every stage; or stage="validate"
    tracedistill.report_of(study).arms      # the table

`grade` judges anyone's outputs without a study; `import_outputs` makes them an arm of a run folder.
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
    """Load what is asked for when it is asked for: `import tracedistill` alone costs nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'tracedistill' has no attribute '{name}'")
    return getattr(importlib.import_module(_MODULES.get(name, "tracedistill.pipeline")), name)
