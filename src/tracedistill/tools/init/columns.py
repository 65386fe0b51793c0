"""Guess which column of a file is which field: by well-known data sets, by names, then by content.

The guess is printed; `--columns FIELD=COLUMN` overrides it.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracedistill.errors import InputError
from tracedistill.tasks._rows import SPLIT_NAMES, Row
from tracedistill.tasks.file.chats import is_chat
from tracedistill.tasks.file.columns import FIELDS, column_names, read
from tracedistill.tools.init.column_content import question_and_answer

READ = 200
"""Rows used for guessing."""
WORKED = 60
"""Characters above which an answer looks like a worked solution."""
KINDS_MOST = 40
"""Most distinct values of a category column."""


@dataclass(frozen=True, slots=True)
class Known:
    """A well-known data set."""

    name: str
    needs: frozenset[str]
    """Columns that identify it, in lower case."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our field -> column, if the names alone do not tell; columns missing in a file are skipped."""


KNOWN: tuple[Known, ...] = (
    Known("MedMCQA", frozenset({"opa", "opb", "opc", "opd", "cop"}), {"choices": "opa, opb, opc, opd", "answer": "cop",
          "steps": "exp", "category": "subject_name"}),
    Known("HellaSwag", frozenset({"ctx", "endings"}), {"question": "ctx", "choices": "endings", "answer": "label"}),
    Known("HumanEval", frozenset({"prompt", "canonical_solution"}), {"question": "prompt",
          "answer": "canonical_solution", "id": "task_id"}),
    Known("MBPP", frozenset({"code", "test_list"}), {"question": "text", "answer": "code", "id": "task_id"}),
    Known("OpenThoughts", frozenset({"problem", "deepseek_reasoning"}), {"question": "problem",
          "trace": "deepseek_reasoning", "answer": "ground_truth_solution", "category": "domain"}),
    Known("OpenR1-Math", frozenset({"problem", "generations", "answer"}), {"question": "problem", "answer": "answer",
          "trace": "generations.0"}),
    Known("Alpaca", frozenset({"instruction", "input", "output"}), {"question": "{instruction}\n{input}",
          "answer": "output"}),
    Known("SQuAD", frozenset({"context", "question", "answers"}), {"answer": "answers.text"}),
    Known("verl", frozenset({"prompt", "reward_model"}), {"answer": "reward_model.ground_truth"}),
)  # fmt: skip
"""If several fit, the first is taken."""

NAMES: dict[str, tuple[str, ...]] = {
    "messages": ("messages", "conversations", "conversation", "dialog", "dialogue", "chat"),
    "question": ("question", "prompt", "problem", "query", "input", "instruction", "question_text", "text", "sentence",
                 "utterance", "message", "body", "content", "review", "ticket", "description", "request", "document",
                 "题目", "问题", "frage", "aufgabe", "pregunta", "domanda", "pergunta", "вопрос", "質問", "질문",
                 "tweet"),
    "answer": ("answer", "final_answer", "expected_answer", "ground_truth", "gold_answer", "correct_answer", "answers",
               "gold", "target", "final", "answerkey", "answer_key", "answer_idx", "answer_index", "correct_option",
               "correct_choice", "label_text", "label_name", "label", "output", "completion", "response", "solution",
               "expected", "expected_output", "reference", "sql", "value", "result", "price", "json", "query",
               "答案", "antwort", "ergebnis", "lösung", "respuesta", "réponse", "risposta", "resposta",
               "ответ", "回答", "답변", "final_decision", "decision", "verdict"),
    "context": ("context", "contexts", "passage", "passages", "facts", "story", "schema", "article", "background",
                "body", "paragraph", "abstract"),
    "choices": ("choices", "options", "endings", "选项"),
    "steps": ("steps", "rationale", "explanation", "long_answer", "solution", "worked_solution", "解答", "解析",
              "解题过程"),
    "trace": ("trace", "reasoning_content", "reasoning", "thinking", "cot", "chain_of_thought", "generation"),
    "id": ("id", "problem_id", "question_id", "qid", "task_id", "uid", "uuid", "_id"),
    "split": ("split",),
    "group": ("group", "group_id", "patient_id", "document_id"),
    "category": ("category", "type", "subject", "topic", "subject_name", "domain", "level"),
}  # fmt: skip
"""Our field -> its usual column names, the likeliest first."""

KIND_OF_ROW = (
    "category",
    "intent",
    "class",
    "sentiment",
    "queue",
    "department",
    "topic",
    "type",
    "priority",
    "emotion",
    "kategorie",
    "catégorie",
    "categoría",
    "categoria",
)
"""Columns that are the answer if no other is: few values, each often."""
HEAD_AND_BODY = (("subject", "title", "headline"), ("body", "text", "message", "content", "description"))
"""Pairs of columns that are concatenated if there is no question column."""
_OPTION = re.compile(r"(?:option|choice|opt|op|ending|answer)?[_ ]?(?P<mark>[a-e]|[0-5])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Guess:
    """The guessed meaning of a file's columns."""

    columns: dict[str, str]
    """Our field -> column, template, path or list of columns."""
    known: str
    """The known data set of the same columns; empty if none is recognised."""


def guess(rows: Sequence[Row], given: Mapping[str, str], name: str) -> Guess:
    """Guess the columns: those given, then a known data set's, then by name and content.

    Raises InputError for a missing column, and if question or answer cannot be guessed.
    """
    names = [str(column) for column in rows[0]]
    for our_name, column in given.items():
        if our_name not in FIELDS:
            raise InputError(f"--columns {our_name}={column}: no such field; fields are {', '.join(FIELDS)}")
        try:
            read(column, rows[0], f"{name}, row 1", several=our_name == "choices")
        except InputError as error:
            raise InputError(f"{error} (for {our_name})") from error
    lower = {column.lower().replace(" ", "_").replace("-", "_"): column for column in reversed(names)}
    columns = dict(given)
    known = next((dataset for dataset in KNOWN if dataset.needs <= set(lower)), None)
    if known is not None:
        for our_name, spec in known.columns.items():
            if our_name not in columns and all(part in lower for part in _parts(spec)):
                columns[our_name] = _spelled(spec, lower)
    taken = {part for spec in columns.values() for part in _parts(spec.lower())}
    free = {low: column for low, column in lower.items() if low not in taken and column not in taken}
    for our_name in NAMES:
        _by_name(our_name, columns, free, rows)
    if "choices" not in columns and (options := _options(names, rows, free)):
        columns["choices"] = ", ".join(options)
    if "answer" not in columns and "messages" not in columns:
        kinds = [low for low in KIND_OF_ROW if low in lower and _is_kind(lower[low], rows)]
        if kinds:
            columns["answer"] = lower[kinds[0]]
            columns = {ours: spec for ours, spec in columns.items() if ours == "answer" or spec != lower[kinds[0]]}
            free.pop(kinds[0], None)
    if "messages" not in columns:
        columns |= question_and_answer(columns, [column for column in names if column in free.values()], rows)
        for wanted in ("question", "answer"):
            if wanted not in columns:
                raise _ask(wanted, name, rows[0])
    if known is None and "messages" in columns:
        return Guess(columns, "ShareGPT" if _says(rows, columns["messages"], "from") else "chat messages")
    return Guess(columns, known.name if known else "")


def _by_name(our_name: str, columns: dict[str, str], free: dict[str, str], rows: Sequence[Row]) -> None:
    if our_name in columns or (our_name == "question" and "messages" in columns):
        return
    fitting = [low for low in NAMES[our_name] if low in free and _fits(our_name, free[low], rows)]
    if not fitting:
        return
    if our_name == "answer":
        _answer(columns, free, fitting, rows)
        return
    head = [low for low in HEAD_AND_BODY[0] if low in free]
    if our_name == "question" and head and fitting[0] in HEAD_AND_BODY[1]:
        columns["question"] = f"{{{free.pop(head[0])}}}\n{{{free.pop(fitting[0])}}}"
        return
    columns[our_name] = free.pop(fitting[0])


def _answer(columns: dict[str, str], free: dict[str, str], fitting: Sequence[str], rows: Sequence[Row]) -> None:
    """Choose the shortest of several answers; a much longer one is a worked solution or a model's thinking."""
    thought = [low for low in fitting if any("</think>" in str(row.get(free[low])) for row in rows)]
    if thought and len(fitting) > len(thought):
        columns.setdefault("trace", free.pop(thought[0]))
        fitting = [low for low in fitting if low not in thought]
    lengths = {low: statistics.median(len(str(row.get(free[low]) or "")) for row in rows) for low in fitting}
    named = [low for low in ("label_text", "label_name") if low in fitting]
    shortest = named[0] if named else min(fitting, key=lambda low: (lengths[low] > WORKED, fitting.index(low)))
    if lengths[shortest] > WORKED:
        shortest = min(fitting, key=lengths.__getitem__)
    longest = max(fitting, key=lengths.__getitem__)
    columns["answer"] = free.pop(shortest)
    if longest != shortest and lengths[longest] > max(WORKED, 3 * lengths[shortest]):
        columns.setdefault("steps", free.pop(longest))


def _fits(our_name: str, column: str, rows: Sequence[Row]) -> bool:
    values = [row.get(column) for row in rows]
    if our_name == "messages":
        return any(is_chat(value) for value in values)
    if our_name == "id":
        texts = [str(value) for value in values if value is not None]
        return len(texts) == len(values) == len(set(texts))
    if our_name == "split":
        return all(str(value).lower() in SPLIT_NAMES for value in values)
    if our_name == "category":
        return _is_kind(column, rows)
    return any(value not in (None, "", [], {}) for value in values)


def _is_kind(column: str, rows: Sequence[Row]) -> bool:
    values = {str(row.get(column)) for row in rows}
    return 1 < len(values) <= min(KINDS_MOST, max(2, len(rows) // 2))


def _options(names: Sequence[str], rows: Sequence[Row], free: Mapping[str, str]) -> list[str]:
    """Find columns named after options, in order: A to D, option_1 to option_4, ending0 to ending3."""
    groups: dict[str, list[str]] = {}
    for column in names:
        match = _OPTION.fullmatch(column)
        if match and column in free.values():
            stem = column[: match.start("mark")].lower()
            groups.setdefault(stem, []).append(column)
    for columns in sorted(groups.values(), key=len, reverse=True):
        marks = [column[-1].lower() for column in columns]
        first = marks[0]
        in_order = all(ord(mark) == ord(first) + place for place, mark in enumerate(marks))
        filled = all(str(rows[0].get(column) or "").strip() for column in columns[:2])
        if len(columns) >= 2 and first in "a01" and in_order and filled:
            return columns
    return []


def _says(rows: Sequence[Row], column: str, key: str) -> bool:
    return any(f'"{key}"' in str(row.get(column)) or f"'{key}'" in str(row.get(column)) for row in rows[:5])


def _parts(spec: str) -> Iterable[str]:
    """Yield the columns that a spec names, in lower case."""
    if "{" in spec:
        return re.findall(r"\{(\w+)\}", spec)
    return [part.strip().split(".")[0] for part in spec.split(",")]


def _spelled(spec: str, lower: Mapping[str, str]) -> str:
    """Return a known data set's spec with the file's own spelling of its columns."""
    return re.sub(r"[A-Za-z_]\w*", lambda word: lower.get(word[0], word[0]), spec)


def _ask(our_name: str, name: str, row: Mapping[str, Any]) -> InputError:
    return InputError(
        f"{name}: which column is the {our_name}? It has: {column_names(dict(row))}; give --columns {our_name}=COLUMN "
        f"(or a template: --columns '{our_name}={{first}}: {{second}}')"
    )
