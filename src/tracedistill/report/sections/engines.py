"""Differences between vLLM and transformers, from engine_check.json (`tracedistill evaluate --check-engine N`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracedistill.files import read_json
from tracedistill.report.tables import Section, Table, section

if TYPE_CHECKING:
    from tracedistill.report.runs import RunView

SHOWN = 200
"""Most characters shown of a text."""


def engines(view: RunView) -> Section | None:
    """List texts and verdicts that differ between vLLM and transformers, by arm; None if not checked."""
    path = view.folder / "engine_check.json"
    if not path.exists():
        return None
    arms = read_json(path).part("arms")
    rows = [(arm, line["n"], line["texts_changed"], line["verdicts_changed"]) for arm, line in arms.items()]
    note = (
        "The arms were run with vLLM; here the same prompts were also run with transformers. The two round "
        "differently, so greedy texts diverge where two tokens are almost equally likely. What matters is how many "
        "verdicts change."
    )
    tables = [
        Table("vLLM against transformers", ("arm", "n", "texts that differ", "verdicts that differ"), tuple(rows))
    ]
    examples = [
        (arm, line["example"][0], line["example"][1][:SHOWN], line["example"][2][:SHOWN])
        for arm, line in arms.items()
        if line["example"]
    ]
    tables.append(Table("The first text that differs", ("arm", "prompt", "vLLM", "transformers"), tuple(examples)))
    return section("engines", "Engines compared", (note,), tables)
