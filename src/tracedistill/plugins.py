"""Import tasks, interventions, prompts, judges and engines from outside the package by `package.module:name`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def import_object(path: str) -> Any:
    """Return the object that `package.module:name` names.

    The environment is searched first and the working folder last, so that a file there never replaces a library.
    Raises ImportError, AttributeError, ValueError or TypeError if there is no such object.
    """
    module, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return getattr(importlib.import_module(module), name)
