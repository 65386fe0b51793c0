"""How long a study's prompts and rows are, guessed from its first problems where these lie here: no tokenizer."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.recipes import Study
from tracedistill.records import Problem
from tracedistill.tasks import get_task
from tracedistill.tasks.sources import source_of

LOOKED_AT = 64
"""Problems that are read."""
CHARACTERS = 3.6
"""Of English text in one token, about."""
AROUND = 20
"""Tokens that a chat template puts around question and answer."""
COMPLETION = 64
"""Tokens of a trace and an answer where rules make no trace: a model's."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens, guessed."""

    prompt: float
    """Of a prompt, the mean."""
    row: float
    """Of prompt, trace and answer, the mean."""
    longest: int
    """Of the longest row."""
    how: str
    """What the guess rests on."""


UNKNOWN = Lengths(192.0, 256.0, 512, "256 tokens each assumed")
"""Where no problem lies here."""


def lengths_of(study: Study, recipe: Path) -> Lengths:
    """From the first training problems (test problems where there are none), characters taken for tokens."""
    config = study.task
    generated = config.name in ("acre", "babi") and config.path is None
    if not generated and config.data_dir is None and not (config.name == "file" and config.path):
        return UNKNOWN  # on the hub, or its cache: reading it takes longer than a doctor may
    for split in (config.train_split, config.test_split):
        try:
            problems = list(islice(_problems(study, recipe, split), LOOKED_AT))
        except (InputError, OSError, ValueError):
            continue
        if problems:
            return _measured(study, problems)
    return UNKNOWN


def _problems(study: Study, recipe: Path, split: str) -> Iterator[Problem]:
    config = study.task

    def found(name: str) -> str:
        given, beside = Path(name), recipe.parent / name
        return str(given if given.exists() or "{" in name else beside)

    yield from get_task(config.name).load(split, source_of(config, study.seed, found, LOOKED_AT))


def _measured(study: Study, problems: list[Problem]) -> Lengths:
    task = get_task(study.task.name)
    system = max((len(student.system or "") for student in study.students.values()), default=0)
    prompts, rows = [], []
    for problem in problems:
        prompt = (len(task.render_problem(problem)) + len(task.answer_hint) + system) / CHARACTERS + AROUND
        trace = task.decompose(problem)
        answer = len(task.render_answer(problem)) + len("Answer: ")
        completion = COMPLETION if trace is None else (len(trace.text) + answer) / CHARACTERS
        prompts.append(prompt)
        rows.append(prompt + completion)
    how = f"about {statistics.fmean(rows):.0f} tokens each, by the characters of {len(problems)}"
    return Lengths(statistics.fmean(prompts), statistics.fmean(rows), round(max(rows)), how)
