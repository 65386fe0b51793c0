"""The published outputs of the Interpretable Traces study, judged against their own problems and counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import Problem, Verdict
from tracedistill.stats import JointTable, Share, joint_table
from tracedistill.tasks._base import Source
from tracedistill.tasks._retrieval import Grammar
from tracedistill.tasks._retrieval_task import judge_class_retrieval
from tracedistill.tasks._rows import Row, read_rows
from tracedistill.tasks.babi.files import load as load_babi
from tracedistill.tasks.babi.files import published_verdict
from tracedistill.tasks.babi.grammar import COMPACT
from tracedistill.tasks.babi.task import Babi
from tracedistill.tasks.cotempqa.metric import answer_part, normalise, score_corrected
from tracedistill.tasks.cotempqa.task import GRAMMAR, CoTempQA

PARAPHRASED = replace(
    GRAMMAR,
    class_cue=re.compile(r"temporal relation(?:ship)?\b[^:\n]{0,100}?\b(?:is\b[ \t]*:?|:)", re.IGNORECASE),
)
"""CoTempQA's grammar, but paraphrases of the taught sentence count as naming the class."""
PARAPHRASED_BABI = replace(
    COMPACT,
    class_cue=re.compile(COMPACT.class_cue.pattern + r"|question asked is\b[ \t]*:?", re.IGNORECASE),
)
"""bAbI's, but the taught sentence does without its colon."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One published output with every verdict on it."""

    id: str
    problem: Problem
    arm: str
    model: str
    trace: Verdict
    published: Verdict
    corrected: Verdict
    gold_cited: bool
    """Whether every gold answer stands in the cited facts."""
    stated_cited: bool | None
    """Whether every answer that the output states stands in its own cited facts; None where it states none."""
    lenient: Verdict
    """The verdict on the trace if paraphrases of the class sentence counted as naming the class."""


def rows_of(data_dir: Path, name: str) -> list[Row]:
    """Return the rows of one file of published outputs."""
    return [row for _, row in read_rows(data_dir / "published_outputs" / f"{name}.jsonl.gz")]


def problem_of(problems: dict[str, Problem], row: Row, name: str) -> Problem:
    """Return the row's own problem, by id."""
    if row["problem_id"] not in problems:
        raise InputError(f"published_outputs/{name}, row {row['id']}: unknown problem_id {row['problem_id']}")
    return problems[row["problem_id"]]


def judge_cotempqa(data_dir: Path) -> tuple[list[Judged], list[Problem]]:
    """Return all CoTempQA outputs judged, and the test problems."""
    task = CoTempQA()
    source = Source(data_dir=data_dir)
    loaded = {split: list(task.load(split, source)) for split in task.splits}
    problems = {problem.problem_id: problem for split in loaded.values() for problem in split}
    judged = []
    for row in rows_of(data_dir, "cotempqa"):
        problem, text = problem_of(problems, row, "cotempqa"), row["text"]
        trace = formats.parse_completion(text).trace
        steps = task.parse_trace(trace or "").steps
        cited = normalise(" ".join(fact for step in steps for fact in step.facts))
        kind = problem.meta["triple_element"]
        stated = score_corrected(answer_part(text)[0], problem.answers, problem.context, problem.question, kind)
        judged.append(
            Judged(
                row["id"],
                problem,
                row["arm"],
                row["model"],
                # the whole output, which is parsed alike, but still shows whether it has a think tag
                task.judge_output_trace(problem, text),
                task.judge_answer(problem, text, "published").answer,
                task.judge_answer(problem, text).answer,
                task.answer_in_trace(problem, steps),
                all(name in cited for name in stated.predicted) if stated.named else None,
                _lenient(PARAPHRASED, problem, trace),
            )
        )
    return judged, loaded["test"]


def _lenient(grammar: Grammar, problem: Problem, trace: str | None) -> Verdict:
    steps = grammar.parse(trace or "").steps
    return judge_class_retrieval(problem, steps) if steps else Verdict("unparsed")


def judge_babi(data_dir: Path) -> tuple[list[Judged], list[Problem]]:
    """Return all bAbI outputs judged (one answer metric only), and the test problems."""
    task = Babi()
    test = list(load_babi("published_test", Source(data_dir=data_dir)))
    problems = {problem.problem_id: problem for problem in test}
    judged = []
    for row in rows_of(data_dir, "babi"):
        problem, text = problem_of(problems, row, "babi"), row["text"]
        trace = formats.parse_completion(text).trace
        steps = task.parse_trace(trace or "").steps
        answer = published_verdict(problem, text)
        cited = " ".join(fact for step in steps for fact in step.facts).lower().split()
        words = {word.strip(".") for word in cited}
        gold = {name.lower() for name in problem.answers}
        stated = set((answer.extracted or "").split())
        judged.append(
            Judged(
                row["id"],
                problem,
                row["arm"],
                row["model"],
                task.judge_output_trace(problem, text),
                answer,
                answer,
                gold <= words,
                stated <= words if stated else None,
                _lenient(PARAPHRASED_BABI, problem, trace),
            )
        )
    return judged, test


# ---- counts


def percent(hits: int, n: int) -> str:
    """Return one decimal, as the study rounds."""
    return f"{100 * hits / n:.1f}" if n else "-"


def count(rows: Iterable[Judged], test: Callable[[Judged], object]) -> int:
    """Return how many rows pass the test."""
    return sum(bool(test(row)) for row in rows)


def table_of(rows: list[Judged], trace: Callable[[Judged], bool], corrected: bool = False) -> JointTable:
    """Trace against answer; outputs without a trace that can be read count as wrong, and apart."""
    answers = [(row.corrected if corrected else row.published).ok for row in rows]
    return joint_table([None if row.trace.outcome in {"unparsed", "none"} else trace(row) for row in rows], answers)


def lenient_ok(row: Judged) -> bool:
    """Trace right if paraphrases of the class sentence counted."""
    return row.lenient.ok


def gained(rows: Iterable[Judged]) -> list[Judged]:
    """Return outputs that name the right class in a paraphrase alone."""
    return [row for row in rows if row.lenient.figures.get("class") and not row.trace.figures.get("class")]


def interval(value: Share) -> str:
    """Return a share with its Wilson interval, in percent."""
    if value.value is None:
        return "-"
    return f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def joint_row(label: str, table: JointTable) -> str:
    """Return one line of a joint table."""
    cells = " | ".join(map(str, table.counts))
    phi = "-" if table.phi is None else f"{table.phi:.3f}"
    unparsed = table.unparsed_answer_ok + table.unparsed_answer_wrong
    return (
        f"| {label} | {cells} | {unparsed} | {interval(table.answer_if_trace_ok)} | "
        f"{interval(table.answer_if_trace_wrong)} | {phi} |"
    )
