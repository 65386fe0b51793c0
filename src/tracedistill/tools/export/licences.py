"""Origin and terms of a task's problems, for cards."""

from __future__ import annotations

from dataclasses import dataclass

from tracedistill.recipes import TaskConfig
from tracedistill.tasks import Task

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Licence:
    """The terms of a source, as its makers state them."""

    source: str
    """Makers of the problems."""
    name: str
    """Abbreviation used by hubs (mit, cc-by-4.0, ...); `other`: its own terms; `unknown`: not stated."""
    terms: str = ""
    """Further terms."""


LICENCES: dict[str, Licence] = {
    "arc_agi": Licence("Abstraction and Reasoning Corpus (fchollet/ARC-AGI)", "apache-2.0"),
    "arc_challenge": Licence("AI2 Reasoning Challenge (allenai/ai2_arc)", "cc-by-sa-4.0"),
    "babi": Licence("bAbI tasks (facebook/babi_qa)", "cc-by-3.0"),
    "commonsenseqa": Licence("CommonsenseQA (tau/commonsense_qa)", "mit"),
    "cotempqa": Licence(
        "CoTempQA",
        UNKNOWN,
        "Copies of it state different licences (Apache-2.0, CC BY-SA 4.0); check with its authors before you publish.",
    ),
    "gsm8k": Licence("GSM8K (openai/gsm8k)", "mit"),
    "math": Licence("MATH (Hendrycks et al. 2021)", "mit"),
    "msmarco": Licence(
        "MS MARCO (microsoft/ms_marco)",
        "other",
        "Its makers give it for non-commercial research purposes only; they may not own the passages.",
    ),
    "openbookqa": Licence("OpenBookQA (allenai/openbookqa)", UNKNOWN, "Its page on the hub states none."),
    "svamp": Licence("SVAMP (arkilpatel/SVAMP)", "mit"),
}
"""Task -> the terms stated by its makers; looked up in 2026, and no legal advice."""

GENERATED = Licence(
    "made by this project's seeded generator, without third-party text", "apache-2.0", "Same as the generator."
)
GENERATORS = ("acre", "babi")
"""Tasks that generate their own problems if the recipe names no data."""


def licence_of(task: Task, config: TaskConfig) -> Licence:
    """Return the terms of a task's problems: the task's own (`licence`), else the known ones."""
    own = getattr(task, "licence", None)
    if isinstance(own, Licence):
        return own
    if isinstance(own, str) and own:
        return Licence(f"task {config.name}", own)
    if config.name in GENERATORS and config.data_dir is None and config.path is None:
        return GENERATED
    if config.path is not None or config.name not in LICENCES:
        where = "a file of the study's author" if config.name == "file" else "a source that the recipe names"
        return Licence(where, UNKNOWN, "The task does not state it; find out before you publish.")
    return LICENCES[config.name]
