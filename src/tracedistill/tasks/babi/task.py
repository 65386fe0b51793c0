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
from dataclasses import dataclass
from itertools import takewhile

from tracedistill.answers import AnswerPolicy, judge
from tracedistill.chat.formats import parse_completion
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.tasks._base import Policy, Source
from tracedistill.tasks._retrieval_task import RetrievalTask
from tracedistill.tasks._task_rows import check_split
from tracedistill.tasks.babi import files as babi_files
from tracedistill.tasks.babi.grammar import BABI_TYPES, COMPACT
from tracedistill.tasks.babi.rules import read_story
from tracedistill.tasks.babi.stories import COUNTS, OBJECTS, PEOPLE, PLACES, generate

DEFAULT_SIZES = {"train": 400, "validation": 100, "test": 200}
"""Problems that the generator makes if the recipe names no number."""

_TEXT = AnswerPolicy(kind="text")
_ARTICLES = re.compile(r"\b(?:the|a|an)\b")
_NOT_WORD = re.compile(r"[^\w\s,|-]")
_COMMA = re.compile(r"\s*,\s*")
_SPLIT_LIST = re.compile(r"\s*(?:,|\band\b|&|\|)\s*")
_TAG = re.compile(r"</?(?:think|answer|br|p|li)\b[ /]*>", re.IGNORECASE)
_DRESS = re.compile(r"[*`\"“”]+|(?<!\w)_+|_+(?!\w)|</?(?:b|i|u|em|strong|code)>", re.IGNORECASE)
_NUMBERING = re.compile(r"^[ \t]*+\(?\d{1,2}[.)][ \t]++(?=\S)", re.MULTILINE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+|\b(?:the )?(?:final )?answer ?(?:is)? ?[:：]", re.IGNORECASE)
_HEAD = re.compile(r"\A\s*(?:assistant\b[:\s]*)+", re.IGNORECASE)
_LEAD = re.compile(r"\A\W*(?:(?:so|thus|hence|therefore)\b,? )?(?:the |my )?(?:final )?answer (?:is|would be)\b")
_YES_NO = re.compile(r"\A\W*(yes|no)\b(?=\s*[,.!;:—–]|\s-\s|\W*\Z)")
_BUT = re.compile(r"\b(?:but|however)\b")
SHORT = 4
"""Most words of a marked text without a possible answer that still counts as a (wrong) answer."""

_REFUSAL = re.compile(
    r"\bno (?:idea|information|mention|way|evidence|clue)\b|\bno(?:body| one|-one) (?:knows|can|could)\b"
    r"|\b(?:not|cannot|unable to|impossible to)(?: \w+){0,2} "
    r"(?:know|known|tell|say|said|sure|certain|clear|determined?|stated|mentioned?|specif(?:y|ied)|enough|infer|answer)\b"
    r"|\b(?:unclear|unknown|insufficient)\b"
    r"|\bnothing (?:about|in the|(?:is|was) (?:known|said|stated|mentioned))\b"
    r"|\bnone of the (?:facts?|lines?|sentences?|statements?|above)\b"
)
_EMPTY = re.compile(
    r"\b(?:none|nothing|zero|no (?:objects?|items?|things?)"
    r"|not(?: \w+){0,4}? any(?:thing| (?:objects?|items?|things?)))\b"
)
_NO_COUNT = re.compile(
    r"\b(?:no|which|every|each|any) one\b|\bthe one(?= (?:who|that|which)\b)"
    r"|\bone(?= (?:can|could|cannot|would|must)\b)"
)
_NOT = re.compile(r"\b(?:not(?! only\b)|never|no longer|neither|nor|without|except|rather than|instead of)\b")
_CLAUSE_END = re.compile(r"[,;:.!?|\n]|\band (?=(?:is|are|he|she|it|they|has|now)\b)")
_NUMBERS = (*COUNTS[1:], "six", "seven", "eight", "nine", "ten")


class Babi(RetrievalTask):
    """bAbI: class step = question type, retrieval step = supporting facts."""

    name = "babi"
    splits = ("train", "validation", "test", "published_train", "published_test")
    classes = BABI_TYPES
    grammar = COMPACT
    plan = (
        "Determine what kind of question this is.",
        "Find the lines of the story that the answer rests on: {} in all.",
        "Answer the question from these lines.",
    )
    answers_alone = True
    answer_hint = "End with a line `Answer: ` and the answer in as few words as possible."

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield the stories of a split; `source.size` and `source.seed` control the generator."""
        if source.data_dir is not None or source.path is not None:
            yield from babi_files.load(split, source)
            return
        check_split("babi without data_dir", split, DEFAULT_SIZES)
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
                gold_steps=COMPACT.steps(story.type, facts),
                difficulty=len(facts),
            )

    def render_problem(self, problem: Problem) -> str:
        """Write the story, a line each, then the question."""
        return "\n".join((*problem.context, f"Question: {problem.question}"))

    def closed_answers(self, problem: Problem) -> tuple[str, ...]:
        """Return all possible answers in the built-in stories' vocabulary; empty for other questions."""
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
        """Decompose by rules that read only story and question; from gold (oracle) if they do not know the question."""
        reading = read_story(problem.context, problem.question)
        if reading is None:
            return super().decompose(problem)
        steps = COMPACT.steps(reading.type, reading.facts)
        return self.rule_trace(problem, steps, ", ".join(reading.answers), oracle=False)

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:
        """Judge by set equality of normalised answers; `published`: the study's exact match on the marked answer.

        A path ("w,n") is one answer whose order counts. `derived` is always missing: the trace reaches no value.
        """
        derived = Verdict("missing", reason="bAbI traces reach no value in the body")
        gold = {_normal(answer) for answer in problem.answers}
        if not gold:
            nothing = Verdict("ungradable", reason=f"{problem.problem_id} has no gold answer")
            return AnswerVerdicts(nothing, derived, nothing)
        candidate = self._candidate(problem, text, gold)
        if policy == "published":
            return AnswerVerdicts(babi_files.published_verdict(problem, text), derived, candidate)
        marked = parse_completion(text).answer
        statement = _HEAD.sub("", text if marked is None else marked)
        return AnswerVerdicts(self._statement(problem, statement, gold, marked is not None), derived, candidate)

    def _statement(self, problem: Problem, statement: str, gold: set[str], marked: bool) -> Verdict:
        """Judge the final statement: a bare answer, a list on lines, or a last sentence that names possible answers.

        After a marker, if the last sentence names none ("Hope this helps!"), the first one counts.
        """
        sentences = _sentences(statement)
        if not sentences:
            return Verdict("missing", reason="nothing is stated")
        closed = self._closed(problem, gold)
        last = sentences[-1]
        if "nothing" in closed:
            items = list(takewhile(lambda part: _read(part, closed, "").bare, reversed(sentences)))
            last = ", ".join(reversed(items)) or last
        bare = {_normal(part) for part in _SPLIT_LIST.split(last)} - {""}
        # a path ("w,n") contains a comma, and must be compared before the statement is split there
        whole = {_COMMA.sub(",", _normal(last))}
        if bare == gold or whole == {_COMMA.sub(",", answer) for answer in gold}:
            return Verdict("correct", extracted=last)
        wrong = f"is not {' and '.join(sorted(gold))}"
        if not closed:
            return self._open(problem, statement, last, wrong)
        reading = _read(last, closed, problem.question)
        if marked and not (reading.named or reading.denied):
            reading = _read(sentences[0], closed, problem.question)
        shown = ", ".join(sorted(reading.named))
        if reading.named == gold:
            return Verdict("correct", extracted=shown, reason="named in the last sentence")
        if reading.named:
            return Verdict("incorrect", extracted=shown, reason=wrong)
        if reading.denied & gold:
            return Verdict("incorrect", extracted=last[:200], reason="the gold answer is denied")
        if marked and not _REFUSAL.search(statement) and len(_normal(sentences[0]).split()) <= SHORT:
            return Verdict("incorrect", extracted=sentences[0], reason="the marked answer is not a possible one")
        return Verdict("missing", extracted=last[:200], reason="the last sentence names no possible answer")

    def _open(self, problem: Problem, statement: str, last: str, wrong: str) -> Verdict:
        """Judge a statement if the set of answers is open: one gold may stand in a sentence."""
        parts = [part for part in _SPLIT_LIST.split(_normal(last)) if part]
        listed = len(parts) > 1 and all(len(part.split()) < 3 for part in parts)
        if len(problem.answers) == 1 and "," not in problem.answers[0] and not listed:
            sentence = judge(problem.answers[0], statement, problem.question, _TEXT).answer
            if sentence.ok:
                return Verdict("correct", extracted=last[:200], reason=sentence.reason)
        return Verdict("incorrect", extracted=last, reason=wrong)

    def _candidate(self, problem: Problem, text: str, gold: set[str]) -> Verdict:
        """Judge the candidate reading: exactly the gold answers are named, of all possible ones."""
        closed = self._closed(problem, gold)
        if not closed:
            return Verdict("missing", reason="the set of answers is open")
        readings = [_read(part, closed, problem.question) for part in _sentences(_HEAD.sub("", text))]
        named = set().union(*(reading.named for reading in readings))
        shown = ", ".join(sorted(named))
        if named == gold:
            return Verdict("correct", extracted=shown)
        if len(named) > 1 and "nothing" not in closed:
            return Verdict("missing", extracted=shown, reason="several named")
        if named:
            return Verdict("incorrect", extracted=shown, reason=f"is not {' and '.join(sorted(gold))}")
        if any(reading.denied & gold for reading in readings):
            return Verdict("incorrect", reason="the gold answer is denied")
        return Verdict("missing", reason="none named")

    def _closed(self, problem: Problem, gold: set[str]) -> frozenset[str]:
        """Return the possible answers in lower case; empty if the set is open (it does not contain the gold)."""
        closed = frozenset(answer.casefold() for answer in self.closed_answers(problem))
        return closed if gold <= closed else frozenset()

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether every gold answer is a word of the cited facts."""
        words = set(_normal(" ".join(fact for step in steps for fact in step.facts)).split())
        return bool(problem.answers) and all(set(_normal(answer).split()) <= words for answer in problem.answers)


def _normal(text: str) -> str:
    """Normalise to lower case, no articles, no punctuation, single spaces."""
    return " ".join(_ARTICLES.sub(" ", _NOT_WORD.sub(" ", text.casefold())).split())


def _sentences(text: str) -> list[str]:
    """Split into sentences and lines, without tags, emphasis and list numbers; an `Answer:` starts a new one."""
    plain = _DRESS.sub("", _TAG.sub("\n", _NUMBERING.sub("", text)))
    return [part.strip() for part in _SENTENCE_END.split(plain) if part.strip()]


@dataclass(frozen=True, slots=True)
class _NamedAnswers:
    """The possible answers in one sentence."""

    named: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()
    """Named after a negation."""
    bare: bool = False
    """Whether the sentence contains nothing but possible answers."""


def _read(sentence: str, closed: frozenset[str], question: str) -> _NamedAnswers:
    """Return which possible answers a sentence names and denies.

    A sentence of possible answers alone is taken as it is. In others the question's own words do not count, `yes` and
    `no` count only at the start, and a refusal names nothing.
    """
    lowered = sentence.casefold().replace("’", "'").replace("can't", "cannot").replace("n't", " not")
    text = " ".join(_LEAD.sub("", lowered).split())
    words = [word for word in re.findall(r"\w+", text) if word not in ("the", "a", "an", "and", "or")]
    if words and all(_possible(word, closed) for word in words):
        return _NamedAnswers(frozenset(_possible(word, closed) for word in words), bare=True)
    if "yes" in closed:
        first = _YES_NO.match(text)
        return _NamedAnswers(frozenset({first[1]}) if first else frozenset())
    # rejected alternatives are cut out; `not the kitchen but the garden` denies only in its first part
    text = ", ".join(part for part in _BUT.split(text.replace("nothing but", "")) if not _REFUSAL.search(part))
    text = _EMPTY.sub("none", _NO_COUNT.sub(" ", text))
    question_words = set(re.findall(r"\w+", question.casefold()))
    named: set[str] = set()
    denied: set[str] = set()
    for clause in _CLAUSE_END.split(text):
        no = _NOT.search(clause)
        for start, end, answers in (
            (0, no.start() if no else None, named),
            (no.end() if no else len(clause), None, denied),
        ):
            words = [word for word in re.findall(r"\w+", clause[start:end]) if word not in question_words]
            answers |= {_possible(word, closed) for word in words} - {""}
    return _NamedAnswers(frozenset(named - denied), frozenset(denied))


def _possible(word: str, closed: frozenset[str]) -> str:
    """Return the possible answer, or the count out of range, that a lower-case word means; else an empty string."""
    if "none" in closed:
        if word in ("zero", "nothing"):
            return "none"
        if word.isdecimal() and word.isascii():
            number = int(word) if len(word) < 3 else len(COUNTS)
            return COUNTS[number] if number < len(COUNTS) else word
        return word if word in closed or word in _NUMBERS else ""
    if "nothing" in closed and word in ("none", "zero"):
        return "nothing"
    return word if word in closed else ""
