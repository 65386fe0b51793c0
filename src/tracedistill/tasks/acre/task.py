"""Task `acre`: causal induction from a few panels, after ACRE (Zhang et al. 2021); generated, seeded, no data needed.

    Panel 1: red metal cube, blue rubber sphere: light on.
    Panel 2: blue rubber sphere: light off.
    Will the light go on for the red metal cube?   ->   on, by panels 1 and 2 (indirect)

Some objects are blickets; the detector's light is on if at least one object on it is a blicket. The class step is the
type of inference, the retrieval step the panels that decide: see `acre/rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracedistill.chat.formats import parse_completion
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.tasks._base import Policy, Source
from tracedistill.tasks._retrieval import Grammar
from tracedistill.tasks._retrieval_task import RetrievalTask, judge_class_retrieval
from tracedistill.tasks._task_rows import check_split
from tracedistill.tasks.acre.panels import generate, panel_line, question_line, read_panel, read_question
from tracedistill.tasks.acre.rules import ANSWERS, TYPES, infer

DEFAULT_SIZES = {"train": 400, "validation": 100, "test": 200}
"""Problems that the generator makes if the recipe names no number."""

GRAMMAR = Grammar(
    class_line="Inference type: {}.",
    facts_line="Panels used: {}",
    class_cue=re.compile(
        r"(?:inference type|type of (?:the )?inference)[ \t*]*(?:is\b)?[ \t]*:?[ \t*]*", re.IGNORECASE
    ),
    facts_cue=re.compile(
        r"(?:panels? used|supporting panels?|(?:use|using) (?:the )?panels?)[ \t*]*:?\**", re.IGNORECASE
    ),
    classes=TYPES,
    bars=True,
    one_sentence=True,
)
"""A type, then the panels between bars."""

_ONLY_NUMBERS = re.compile(r"\A(?:panels?|and|[\d,&.#\s])+\Z", re.IGNORECASE)
_TRACE_LINE = re.compile(r"^.*(?:panels?\s*\d|panels? used|inference type).*$", re.IGNORECASE | re.MULTILINE)
_UNDETERMINED = re.compile(
    r"\b(?:undetermined|indeterminate|unknown|uncertain|unclear|maybe|can(?:no|')t (?:tell|know|determine|say)"
    r"|cannot (?:be )?(?:tell|told|know\w*|determine\w*|said|say)"
    r"|not (?:be )?(?:determined|known|enough information))\b",
    re.IGNORECASE,
)
_OFF = re.compile(
    r"\b(?:light|it|machine|detector)\b(?:'s)?[^.\n]{0,25}?\b(?:off|not (?:go|turn|be|come|light) ?(?:on|up)?)\b|"
    r"\bwon't (?:go|turn|be|come|light)\b(?:[ ]on\b|[ ]up\b)?|\blight off\b",
    re.IGNORECASE,
)
_ON = re.compile(r"\b(?:light|it|machine|detector)\b(?:'s)?[^.\n]{0,25}?\b(?:on|lights? up|activated)\b", re.IGNORECASE)
_BARE = {"on": "on", "yes": "on", "activated": "on", "off": "off", "no": "off", "inactivated": "off"}


class Acre(RetrievalTask):
    """Blicket detector: class step = inference type, retrieval step = the panels that decide."""

    name = "acre"
    splits = ("train", "validation", "test")
    classes = TYPES
    grammar = GRAMMAR
    plan = (
        "Determine what kind of inference the question asks for.",
        "Find the panels that decide: {} in all.",
        "Answer the question from these panels.",
    )
    answer_hint = "End with a line `Answer: ` and one of on, off, undetermined."

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield generated problems of a split; splits share no problem, whatever their seeds."""
        check_split(self.name, split, DEFAULT_SIZES)
        size = DEFAULT_SIZES[split] if source.size is None else source.size
        for row, puzzle in enumerate(generate(split, size, source.seed)):
            inference = infer(puzzle.panels, puzzle.query)
            lines = tuple(panel_line(number, panel) for number, panel in enumerate(puzzle.panels, start=1))
            used = tuple(lines[index] for index in inference.panels)
            yield Problem(
                problem_id=f"acre-s{source.seed}-{split}-{row}",
                task=self.name,
                split=split,
                question=question_line(puzzle.query),
                answers=(inference.answer,),
                context=lines,
                category=inference.type,
                gold_steps=GRAMMAR.steps(inference.type, used),
                difficulty=len(used),
            )

    def render_problem(self, problem: Problem) -> str:
        """Write the rule in one line, the panels, the question."""
        head = "The light is on if at least one object in the panel is a blicket, and off if none is."
        return "\n".join((head, *problem.context, f"Question: {problem.question}"))

    def closed_answers(self, problem: Problem) -> tuple[str, ...]:  # noqa: ARG002
        """Return on, off, undetermined."""
        return ANSWERS

    def decompose(self, problem: Problem) -> Trace | None:
        """Decompose by rules that read the panels and the question alone; None if these are not this task's lines."""
        panels = [read_panel(line) for line in problem.context]
        query = read_question(problem.question)
        read = [panel for panel in panels if panel is not None]
        if not query or len(read) != len(panels):
            return None
        inference = infer(tuple(read), query)
        used = tuple(problem.context[index] for index in inference.panels)
        return self.rule_trace(problem, GRAMMAR.steps(inference.type, used), inference.answer, oracle=False)

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge type and exactly the deciding panels, which may be cited whole or by number (`Panel 2`)."""
        return judge_class_retrieval(problem, tuple(_resolved(step, problem.context) for step in steps))

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge on, off or undetermined in the final statement, in these words or plain equivalents.

        Panels contain `light on` and `light off`, so lines that cite them are left out of the candidate reading.
        `derived` is always missing: the trace reaches no value.
        """
        derived = Verdict("missing", reason="acre traces reach no value in the body")
        gold = problem.answers[0] if problem.answers else ""
        if gold not in ANSWERS:
            nothing = Verdict(
                "ungradable", reason=f"{problem.problem_id} has no gold answer out of {', '.join(ANSWERS)}"
            )
            return AnswerVerdicts(nothing, derived, nothing)
        marked = parse_completion(text).answer
        plain = _TRACE_LINE.sub("", text)
        # without a marker, the statement is in the last line that does not cite panels
        lines = [line for line in plain.splitlines() if line.strip()]
        statement = marked if marked is not None else (lines[-1] if lines else "")
        return AnswerVerdicts(_judge(statement, gold), derived, _judge(plain, gold))

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether a cited panel shows the light as in the answer."""
        cited = [fact for step in steps for fact in _resolved(step, problem.context).facts]
        return any(fact.rstrip(". ").endswith(f"light {answer}") for fact in cited for answer in problem.answers)


def _judge(statement: str, gold: str) -> Verdict:
    """Return the one answer that a statement names; none or several is missing."""
    named = _named(statement)
    if len(named) != 1:
        reason = "several answers are named" if named else "no answer is named"
        return Verdict("missing", extracted=", ".join(sorted(named)) or statement[:100] or None, reason=reason)
    (answer,) = named
    return Verdict("correct" if answer == gold else "incorrect", answer, "" if answer == gold else f"is not {gold}")


def _named(statement: str) -> set[str]:
    bare = re.sub(r"[^a-z]+", " ", statement.casefold()).strip()
    if bare in _BARE:
        return {_BARE[bare]}
    first = re.match(r"\W*(yes|no)\b\s*[,.;:—–-]", statement, re.IGNORECASE)
    if _UNDETERMINED.search(statement):
        return {"undetermined"}
    if first:
        return {_BARE[first.group(1).lower()]}
    named = set()
    rest = _OFF.sub(" ", statement)
    if rest != statement:
        named.add("off")
    if _ON.search(rest):
        named.add("on")
    # a short statement that names a state without its subject: "**off**", "stays off"
    if not named and len(bare.split()) <= 3:
        named = {_BARE[word] for word in bare.split() if word in _BARE}
    return named


def _resolved(step: Step, context: tuple[str, ...]) -> Step:
    """Return the step with panels that are cited by number written out; other numbers stay as written."""
    if step.kind != "retrieval":
        return step
    facts: list[str] = []
    for fact in step.facts:
        numbers = [int(n) for n in re.findall(r"\d+", fact)] if _ONLY_NUMBERS.match(fact) else []
        if numbers and all(1 <= n <= len(context) for n in numbers):
            facts += [context[n - 1] for n in numbers]
        else:
            facts.append(fact)
    return Step("retrieval", step.text, facts=tuple(dict.fromkeys(facts)))
