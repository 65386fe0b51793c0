"""The answer metric of CoTempQA, as published (arXiv 2505.13792) and corrected: pure functions.

Both look for *candidates* in the answer: entities parsed from the facts, and the golds. The published metric parses the
wrong side of every fact (the person if the question is about a position), so extra wrong answers cost nothing. It also
looks for the answer in the trace if no tag marks it. The corrected one parses the queried side and the answer alone.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from tracedistill.chat import formats
from tracedistill.tasks._spans import one_line

FactSide = Literal["subject", "object"]

MAX_FACT = 2_000
"""Most characters of a fact; the longest of the data set has 181, and longer ones are no facts of its templates."""
_RELATIONS = (
    (" the position of ", "holds the position of"),
    (" a member of ", "is a member of the"),
    (" the chair of ", "is the chair of"),
    (" the head of ", "is the head of"),
    (" owned by ", "is owned by"),
    ("attend", "attended"),
    ("work", "works for"),
    ("play", "plays for"),
)
"""Text that a fact must contain, and the relation's words between subject and object; tried in this order."""

_PRESENT = ((" was ", " is "), (" held ", " holds "), (" worked ", " works "), (" played ", " plays "))
_PERIODS = (r" from .+? to .+?\.", r" in .+?\.", r" from .+?", r"\.")
_PATTERNS = {verb: tuple(re.compile(rf"(.+?) {verb} (.+?){period}") for period in _PERIODS) for _, verb in _RELATIONS}
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_LEAD = re.compile(r"\A\s*(?:assistant\b\s*)+", re.IGNORECASE)
_INLINE = re.compile(r"(?<=[.;!?] )(?:final )?answer\s?:\s(?!.*\banswer\s?:)", re.IGNORECASE | re.DOTALL)
"""The last `Answer:` that follows a sentence on its line."""
_CLOSED = re.compile(r"</think>", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(?:(['\"])|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4}))")


@dataclass(frozen=True, slots=True)
class AnswerScore:
    """One answer against its golds; precision and recall are those of whole answers."""

    em: bool
    """Whether the predicted answers are exactly the golds."""
    f1: float
    """Harmonic mean of precision and recall, 0 to 1."""
    precision: float
    recall: float
    predicted: tuple[str, ...]
    """The predicted answers, normalised and sorted; the whole answer text if no candidate was found."""
    named: bool
    """Whether any candidate was found."""


def normalise(text: str) -> str:
    """Normalise to lower case, no ASCII punctuation, single spaces."""
    return " ".join(text.lower().translate(_PUNCTUATION).split())


def entities(fact: str) -> tuple[str, str] | None:
    """Return (subject, object) of a fact as the study's templates cut it, or None if none matches.

    An object with " in " ("Master of the Rolls in Ireland") is cut there. No answer is lost: golds are candidates too.
    """
    if len(fact) > MAX_FACT:
        return None
    for cue, verb in _RELATIONS:
        if cue in fact:
            for past, present in _PRESENT:
                fact = fact.replace(past, present)
            for pattern in _PATTERNS[verb]:
                parts = pattern.match(fact)
                if parts:
                    return parts.group(1), parts.group(2)
    return None


def asked_side(triple_element: str) -> FactSide:
    """Return the side of a fact that the question queries: people (or things owned) only if the kind is S2_R1_O1."""
    return "subject" if "S2_R1_O1" in triple_element else "object"


def candidates(facts: tuple[str, ...], golds: tuple[str, ...], side: FactSide) -> list[str]:
    """Return lower-case golds and entities of one side of the facts, longest first.

    Of equal lengths golds come first, then the order of the facts counts. The study uses Python's hash order. One of
    7,600 published outputs depends on it, and golds first gives its reported score.
    """
    names = [gold.lower() for gold in golds]
    for fact in facts:
        pair = entities(fact)
        if pair:
            names.append(pair[0 if side == "subject" else 1].lower())
    return sorted(dict.fromkeys(names), key=lambda name: -len(name))


def published_part(text: str) -> str:
    """Return the part of an output that the published metric reads, in lower case."""
    part = text.lower()
    if "<answer>" in part:
        part = part.split("<answer>")[1].split("</answer>")[0]
    elif "answer the question based on" in part:
        part = part.split("answer the question based on")[0]
    elif " answer " in part:
        part = part.split(" answer ")[1]
    elif "answer:" in part:
        part = part.split("answer:")[1]
    return part.replace("assistant", "").replace("think", "")


def answer_part(text: str) -> tuple[str, bool]:
    """Return an output's stated answer, and whether anything marks it (a tag, `Answer:`, a closed trace).

    Escapes of Python lists are undone, white space becomes single spaces.

    A closed thinking part is never read. Unmarked, the whole text is returned: models tuned on answers alone write
    nothing else, or leave an empty `<think>` open before it.
    """
    closing = list(_CLOSED.finditer(text))
    marked = bool(closing) or "<answer>" in text.lower()
    parts = formats.parse_completion(text if "<answer>" in text.lower() or not closing else text[closing[-1].end() :])
    part = parts.answer
    if part is None and "<answer>" not in text.lower():
        part = parts.trace
    inline = None if part is None or "<answer>" in text.lower() else _INLINE.search(part)
    if part is not None and inline is not None:
        part, marked = part[inline.end() :], True
    plain = _ESCAPED.sub(lambda escape: escape[1] or chr(int(escape[2] or escape[3], 16)), _LEAD.sub("", part or ""))
    return " ".join(plain.split()), marked or parts.answer is not None


def score_published(
    text: str, golds: tuple[str, ...], facts: tuple[str, ...], question: str, triple_element: str
) -> AnswerScore:
    """Score a whole output by the study's metric, its inverted entity kind included."""
    wrong_side: FactSide = "object" if asked_side(triple_element) == "subject" else "subject"
    rest = published_part(text)
    question_text = question.lower()
    predicted: list[str] = []
    passed_over = False
    for name in candidates(facts, golds, wrong_side):
        if name not in rest:
            continue
        rest = rest.replace(name, "")
        # the first candidate that the question names is not counted
        if name in question_text and not passed_over:
            passed_over = True
        else:
            predicted.append(name)
    return _score(predicted or [rest], golds, bool(predicted))


def score_corrected(
    part: str, golds: tuple[str, ...], facts: tuple[str, ...], question: str, triple_element: str
) -> AnswerScore:
    """Score the answer part alone by the corrected metric.

    Every entity of the queried kind in the answer counts as predicted, unless the question names it and it is not gold.
    """
    rest, question_text = one_line(part.lower()), one_line(question.lower())
    gold = {one_line(name.lower()) for name in golds}
    predicted: list[str] = []
    unstated = False
    for name in map(one_line, candidates(facts, golds, asked_side(triple_element))):
        if name not in rest:
            continue
        # whole words only: a director is not a rector
        whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        if not _stands(one_line(part.lower()), whole):
            rest = whole.sub("", rest)
            unstated = True
            continue
        rest, count = whole.subn("", rest)
        if count and (name in gold or not whole.search(question_text)):
            predicted.append(name)
    if predicted:
        predicted += _further_names(part, predicted, question_text)
    return _score(predicted or [rest], golds, bool(predicted or unstated))


def _stands(part: str, whole: re.Pattern[str]) -> bool:
    """Return whether a name stands anywhere in a text neither denied, nor as a former one, nor as an alternative."""
    found = list(whole.finditer(part))
    return not found or any(
        not _NOT_BEFORE.search(part[max(0, one.start() - 60) : one.start()])
        and not _NOT_AFTER.match(part, one.end(), one.end() + 80)
        for one in found
    )


_NOT_BEFORE = re.compile(
    r"(?:\b(?:not|never|no longer|neither|nor|rather than|instead of|except(?: for)?|other than|unlike|formerly"
    r"|previously"
    r"|former|ex-?|used to be|either|or)|n['’]t)\s(?:(?:yet|anymore|be|been|by|for|at|in|with|of|as|the|an?|member of"
    r"|work(?:ing|ed)? for|attend(?:ing|ed)?|play(?:ing|ed)? for|h(?:old|olding"
    r"|eld) the position of)\s){0,4}[\"'*(]{0,3}\Z"
)
_NOT_AFTER = re.compile(
    r"[\"'*)]{0,3}(?:\s(?:is|was|were|are|did|does|do|has|had|could|can)(?:n['’]t| not| never| no longer)\b"
    r"|,? (?:is|was|would be) (?:wrong|incorrect|out)\b|,? or (?:(?:for|at|the|perhaps|maybe"
    r"|possibly) ){0,2}[\"'*(]{0,3}\w"
    r"|(?: only)? until [^.,;]{4,24},? (?:and |when |but )(?:only )?(?:then|after|later|became|before)\b)"
)


def _further_names(part: str, answers: list[str], question: str) -> list[str]:
    """Return names that are listed beside the answers of a text, though no fact has them."""
    for name in answers:
        part = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "\x00", part, flags=re.IGNORECASE)
    names = [match["after"] or match["before"] for match in _BESIDE.finditer(part)]
    return [name.lower() for name in names if name.lower() not in question]


_OWN_NAME = r"[A-Z][\w.'’-]*(?: (?:of |de |the |and the )?[A-Z][\w.'’-]*)*"
_BESIDE = re.compile(
    rf"(?<=\x00)\s?(?:,\s?and\s|,\s?|&\s?|\band\s|;\s?|\d{{1,2}}[.)]\s|[-*•]\s)"
    rf"(?:for |by |at |the ){{0,2}}(?P<after>{_OWN_NAME})"
    rf"|(?P<before>{_OWN_NAME})(?:,\s?and\s|,\s?|\s?&\s?|\sand\s)(?:for |by |the ){{0,2}}(?=\x00)"
)


def _score(predicted: list[str], golds: tuple[str, ...], named: bool) -> AnswerScore:
    normalised = sorted(normalise(name) for name in set(predicted))
    gold = sorted(normalise(name) for name in {name.lower() for name in golds})
    same = sum((Counter(normalised) & Counter(gold)).values())
    precision = same / len(normalised) if same else 0.0
    recall = same / len(gold) if same else 0.0
    f1 = 2 * precision * recall / (precision + recall) if same else 0.0
    return AnswerScore(normalised == gold, f1, precision, recall, tuple(normalised), named)
