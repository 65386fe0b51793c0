"""Task `babi`: stories of people and things, a question, and the lines of the story that answer it.

    John travelled to the hallway.
    Mary journeyed to the bathroom.
    Where is John?   ->   hallway, because of line 1 (single-supporting-fact)

Without `data_dir` the stories come from the built-in seeded generator; with it, from the original bAbI files
(splits train, test) or the published 11-way split (published_train, published_test). Answers of a list are a set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracedistill.errors import MissingSplitError
from tracedistill.formats import split as split_output
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.store import content_id
from tracedistill.tasks import babi_files, babi_grammar
from tracedistill.tasks.babi_rules import read_story
from tracedistill.tasks.babi_stories import COUNTS, OBJECTS, PEOPLE, PLACES, generate
from tracedistill.tasks.base import ParsedTrace, Policy, Source, Task
from tracedistill.tasks.retrieval import ANSWER_ALONE, judge_class_retrieval

DEFAULT_SIZES = {"train": 400, "validation": 100, "test": 200}
"""Problems that the generator makes where the recipe names no number."""

_ARTICLES = re.compile(r"\b(?:the|a|an)\b")
_NOT_WORD = re.compile(r"[^\w\s,|-]")
_COMMA = re.compile(r"\s*,\s*")
_SPLIT_LIST = re.compile(r"\s*(?:,|\band\b|&|\|)\s*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_HEAD = re.compile(r"\A\s*(?:assistant\b[:\s]*)+", re.IGNORECASE)


class Babi(Task):
    """bAbI: class step = question type, retrieval step = supporting facts."""

    name = "babi"
    splits = ("train", "validation", "test", "published_train", "published_test")
    answer_kind = "set"
    classes = babi_grammar.BABI_TYPES
    answer_hint = "End with a line `Answer: ` and the answer in as few words as possible."

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Stories of a split; `source.size` and `source.seed` steer the generator."""
        if source.data_dir is not None or source.path is not None:
            yield from babi_files.load(split, source)
            return
        if split not in DEFAULT_SIZES:
            raise MissingSplitError(
                f"task babi: the generator has no split '{split}'; known: {', '.join(DEFAULT_SIZES)}"
            )
        size = DEFAULT_SIZES[split] if source.size is None else source.size
        for row, story in enumerate(generate(split, size, source.seed)):
            facts = tuple(story.lines[line] for line in story.support)
            yield Problem(
                problem_id=f"babi-s{source.seed}-{split}-{row}",
                task=self.name,
                split=split,
                question=story.question,
                answers=story.answers,
                context=story.lines,
                category=story.type,
                gold_steps=(babi_grammar.class_step(story.type), babi_grammar.retrieval_step(facts)),
                difficulty=len(facts),
            )

    def render_problem(self, problem: Problem) -> str:
        """The story, a line each, then the question."""
        return "\n".join((*problem.context, f"Question: {problem.question}"))

    def closed_answers(self, problem: Problem) -> tuple[str, ...]:
        """All answers that the question admits, in the built-in stories' vocabulary; empty for other questions."""
        question = problem.question
        if question.startswith("Where is"):
            return PLACES if any(place in " ".join(problem.context) for place in PLACES) else ()
        if question.startswith("Who "):
            return PEOPLE
        if question.startswith("Is "):
            return ("yes", "no")
        if question.startswith("How many"):
            return COUNTS
        if question.endswith("carrying?"):
            return (*OBJECTS, "nothing")
        return ()

    def decompose(self, problem: Problem) -> Trace | None:
        """By rules that read story and question alone; where these do not know the question, from gold (oracle)."""
        reading = read_story(problem.context, problem.question)
        if reading is not None:
            steps: tuple[Step, ...] = (
                babi_grammar.class_step(reading.type),
                babi_grammar.retrieval_step(reading.facts),
            )
            answer, oracle = ", ".join(reading.answers), False
        elif problem.gold_steps:
            steps, answer, oracle = problem.gold_steps, self.render_answer(problem), True
        else:
            return None
        text = self.render_trace(steps)
        trace_id = content_id("rules", problem.problem_id, text)
        return Trace(trace_id, problem.problem_id, "rules", steps, text, answer=answer, oracle=oracle)

    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """`Question type: X.` and `Supporting facts: A | B`, a line each."""
        return babi_grammar.render(steps)

    def parse_trace(self, text: str) -> ParsedTrace:
        """The compact form and the published one."""
        return babi_grammar.parse(text)

    def judge_output_trace(self, problem: Problem, text: str | None, *, tagged: bool = False) -> Verdict:
        """As every task; `none` also for an answer alone: neither step's cue and no think tag."""
        if text is not None and not tagged and not babi_grammar.holds_trace(text):
            return ANSWER_ALONE
        return super().judge_output_trace(problem, text)

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Type right, and the cited facts exactly the supporting ones."""
        return judge_class_retrieval(problem, steps)

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:
        """Set equality of normalised answers; `published`: the study's exact match on the marked answer.

        A path ("w,n") is one answer whose order counts. `derived` is always missing: between the cited facts and the
        answer no value is written down.
        """
        derived = Verdict("missing", reason="bAbI traces reach no value in the body")
        gold = {_normal(answer) for answer in problem.answers}
        if not gold:
            nothing = Verdict("ungradable", reason=f"{problem.problem_id} has no gold answer")
            return AnswerVerdicts(nothing, derived, nothing)
        marked = split_output(text).answer
        if policy == "published":
            return AnswerVerdicts(babi_files.published_verdict(problem, text), derived, self._candidate(problem, text))
        statement = _HEAD.sub("", text if marked is None else marked)
        return AnswerVerdicts(self._statement(problem, statement, gold), derived, self._candidate(problem, text))

    def _statement(self, problem: Problem, statement: str, gold: set[str]) -> Verdict:
        """The final statement: a bare answer, or a last sentence that names possible answers."""
        sentences = [part for part in _SENTENCE_END.split(statement.strip()) if part.strip()]
        if not sentences:
            return Verdict("missing", reason="nothing is stated")
        last = sentences[-1]
        bare = {_normal(part) for part in _SPLIT_LIST.split(last)} - {""}
        # a path ("w,n") holds a comma, and must be compared before the statement is split there
        whole = {_COMMA.sub(",", _normal(last))}
        if bare == gold or whole == {_COMMA.sub(",", answer) for answer in gold}:
            return Verdict("correct", extracted=last)
        closed = self.closed_answers(problem)
        named = _named(last, closed, problem.question)
        if not closed:
            return Verdict("incorrect", extracted=last, reason=f"is not {' and '.join(sorted(gold))}")
        if not named:
            return Verdict("missing", extracted=last[:200], reason="the last sentence names no possible answer")
        if named == gold:
            return Verdict("correct", extracted=", ".join(sorted(named)), reason="named in the last sentence")
        return Verdict("incorrect", extracted=", ".join(sorted(named)), reason=f"is not {' and '.join(sorted(gold))}")

    def _candidate(self, problem: Problem, text: str) -> Verdict:
        """Exactly the gold answers, out of all possible ones, are named anywhere (the question's words aside)."""
        closed = self.closed_answers(problem)
        if not closed:
            return Verdict("missing", reason="the set of answers is open")
        named = _named(text, closed, problem.question)
        shown = ", ".join(sorted(named))
        gold = {_normal(answer) for answer in problem.answers}
        if named == gold:
            return Verdict("correct", extracted=shown)
        single = problem.category != "lists-sets" and len(named) > 1
        if not named or single:
            return Verdict("missing", extracted=shown or None, reason="several named" if single else "none named")
        return Verdict("incorrect", extracted=shown, reason=f"is not {' and '.join(sorted(gold))}")

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Whether every gold answer stands as a word in the cited facts."""
        words = set(_normal(" ".join(fact for step in steps for fact in step.facts)).split())
        return bool(problem.answers) and all(set(_normal(answer).split()) <= words for answer in problem.answers)


def _normal(text: str) -> str:
    """Lower-case, no articles, no punctuation, single spaces."""
    return " ".join(_ARTICLES.sub(" ", _NOT_WORD.sub(" ", text.casefold())).split())


def _named(text: str, closed: tuple[str, ...], question: str) -> set[str]:
    """Which of the possible answers stand in the text as words, those of the question left out."""
    words = set(re.findall(r"\w+", text.casefold()))
    asked = set(re.findall(r"\w+", question.casefold()))
    return {item.casefold() for item in closed if item.casefold() in words and item.casefold() not in asked}
