"""What all tests share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import settings

# A shell that runs us in the background hands SIGINT down as ignored, and tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# a loaded machine is no finding
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("TRACEDISTILL_DATA", ROOT.parent / "shared" / "data"))

# The models are tiny: threads gain nothing and wait for each other, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module", autouse=True)
def old_objects_are_not_searched() -> None:
    """Spare the collector the thousands of tests and modules that stay: every training collects several times."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a small in-context study on a scripted student; keyword arguments replace top-level keys."""

    def write(**changes: object) -> Path:
        recipe: dict[str, object] = {
            "study": "small",
            "run_dir": str(tmp_path / "run"),
            "task": {"name": "babi", "train": 20, "validation": 5, "test": 16},
            "students": {"solver": {"model": "scripted:tests.scripts:solver"}},
            "evaluation": {"batch_size": 4},
            "arms": {
                "standard": {},
                "few-shot": {"prompt": "few-shot", "shots": 2},
                "trace-of-thought": {"prompt": "trace-of-thought"},
            },
            "comparisons": [["few-shot", "standard"]],
        }
        recipe.update(changes)
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        return path

    return write
