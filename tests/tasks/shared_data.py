"""Where the data of tests lies: the folder named by TRACEDISTILL_DATA, else ../shared/data beside the repository."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tracedistill.tasks._base import Source

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TRACEDISTILL_DATA") or ROOT.parent / "shared" / "data")
SOURCE = Source(data_dir=DATA)


def needs_data(*folders: str) -> pytest.MarkDecorator:
    """Skip where one of the folders is absent, saying which and how to give it."""
    absent = [folder for folder in folders if not (DATA / folder).is_dir()]
    return pytest.mark.skipif(bool(absent), reason=f"no {', '.join(absent)} under {DATA}; set TRACEDISTILL_DATA")


def cases(name: str) -> list[Any]:
    """One parameter per line of tests/cases/<name>.jsonl, named by its `why`."""
    lines = (ROOT / "tests" / "cases" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [pytest.param(row, id=row["why"]) for row in rows]


def outputs(name: str) -> list[dict[str, Any]]:
    """Rows of one file of published outputs."""
    with gzip.open(DATA / "published_outputs" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_rows(folder: Path, name: str, rows: list[Any]) -> Source:
    """A data_dir with one file of rows."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Source(data_dir=folder)
