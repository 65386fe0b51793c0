"""bAbI from files: the original 20 tasks, and the published 11-way split.

A row of `<data_dir>/babi/train.jsonl.gz` (splits train, test; bAbI tasks 1-20 v1.2):

    {"id": "babi-qa1-train-1", "task": 1, "task_name": "single-supporting-fact", "facts": [[1, "Mary moved to the
     bathroom."], ..., [4, "Daniel went back to the hallway."]], "question": "Where is Daniel?", "answer": "hallway",
     "support": [4]}

A row of `<data_dir>/babi/eleven_categories.jsonl.gz` (splits published_train, published_test; arXiv 2505.13792):

    {"id": "paperbabi-train-0", "split": "train", "category": "two-arg-relations", "facts": ["The kitchen is south of
     the bedroom.", ...], "question": "What is south of the bedroom?", "answer": "kitchen", "support_text": [...]}
"""

from __future__ import annotations

from collections.abc import Iterator

from tracedistill.errors import InputError
from tracedistill.records import Problem, Verdict
from tracedistill.tasks._base import Source
from tracedistill.tasks._task_rows import TaskRow, check_split, task_rows
from tracedistill.tasks.babi.grammar import BABI_TYPES, COMPACT, PUBLISHED_TYPES
from tracedistill.tasks.cotempqa.metric import normalise, published_part

HUB_ID = "facebook/babi_qa"
"""Hub id of the original set; its rows are nested stories, so only files are read here."""

SPLITS = ("train", "test", "published_train", "published_test")


def load(split: str, source: Source) -> Iterator[Problem]:
    """Yield problems of one split in file order. Raises InputError that names file and row."""
    check_split("babi from files", split, SPLITS)
    published = split.startswith("published_")
    stem = "eleven_categories" if published else split
    if source.data_dir is None and source.path is None:
        raise InputError(
            f"bAbI split '{split}' is read from files: give data_dir (the hub's {HUB_ID} nests its stories)"
        )
    for row in task_rows(source, "babi", stem, HUB_ID, split):
        if not published:
            yield _original(row, split)
        elif row.label("split", ("train", "test")) == split.removeprefix("published_"):
            category = row.label("category", PUBLISHED_TYPES)
            yield _problem(row, split, category, row.texts("facts"), row.texts("support_text"))


def _original(row: TaskRow, split: str) -> Problem:
    name = row.label("task_name", BABI_TYPES)
    lines, support = row.value("facts"), row.value("support")
    try:
        facts = {int(line): str(text) for line, text in lines}
        cited = tuple(facts[int(line)] for line in support)
    except (TypeError, ValueError, KeyError) as error:
        raise row.error("'facts' must be pairs of line number and text, and 'support' numbers of such lines") from error
    return _problem(row, split, name, tuple(facts.values()), cited)


def _problem(row: TaskRow, split: str, category: str, facts: tuple[str, ...], cited: tuple[str, ...]) -> Problem:
    answer = row.text("answer")
    # a path ("w,n") is one answer whose order counts; other commas list a set
    answers = (answer,) if category == "path-finding" else tuple(part.strip() for part in answer.split(","))
    return Problem(
        problem_id=row.text("id"),
        task="babi",
        split=split,
        question=row.text("question"),
        answers=answers,
        context=facts,
        category=category,
        gold_steps=COMPACT.steps(category, cited),
        difficulty=len(cited),
        meta={"answer": answer} | {key: row[key] for key in ("babi_id", "story") if key in row},
    )


def published_verdict(problem: Problem, text: str) -> Verdict:
    """Judge by the study's exact match: the marked answer is the gold and nothing else.

    The marked answer is found by CoTempQA's published metric. Case and punctuation are ignored.
    """
    gold = normalise(str(problem.meta.get("answer", ",".join(problem.answers))))
    if not gold:
        return Verdict("ungradable", reason=f"{problem.problem_id} has no gold answer")
    part = normalise(published_part(text))
    if part == gold:
        return Verdict("correct", extracted=part)
    if not part:
        return Verdict("missing", reason="no answer is stated")
    reason = "contains the gold among other words" if gold in part else f"is not {gold}"
    return Verdict("incorrect", extracted=part[:200], reason=reason)
