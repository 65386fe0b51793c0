"""Read report.json and other JSON files of a run folder as the records of report/records.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.report.records import FILE, VERSION, Report

T = TypeVar("T")


def read_report(folder: Path) -> Report:
    """Read a run folder's report.json. Raises InputError if it is missing or has another version's format."""
    path = folder / FILE
    values = read_json(path)
    again = f"to write it again, run: tracedistill report {folder}"
    if values.get("version", VERSION) != VERSION:
        raise InputError(f"{path}: has format {values['version']}, but this version reads {VERSION}; {again}")
    return record_of(Report, values, str(path), again)


def record_of(kind: type[T], values: Mapping[str, Any], where: str, remedy: str = "delete it to make it again") -> T:
    """Convert JSON values to a record; unknown keys are ignored. Raises InputError if the values do not fit."""
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: was not written by this version ({error}); {remedy}") from error
