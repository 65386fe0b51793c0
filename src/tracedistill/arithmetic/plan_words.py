"""Meaning of one plan step: `Multiply the leftover eggs by the price` names `*`, and mentions eggs and price."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from tracedistill.arithmetic.expressions import Value
from tracedistill.arithmetic.grounding import grounds

VERBS = {
    "+": r"add(?:s|ed|ing)?\b|sum(?:s|ming)?\b|addition\b|combin(?:e|es|ing)\b|plus\b|total up\b",
    "-": r"subtract\w*|minus\b|deduct\w*|tak(?:e|ing) away\b|remov(?:e|ing)\b",
    "*": r"multipl\w*|doubl(?:e|ing)\b|tripl(?:e|ing)\b",
    "/": r"divid\w*|division\b|split(?:ting)?\b|halv(?:e|ing)\b|shar(?:e|ed|ing) (?:equally|evenly)",
}
"""Operations named directly, which decide what a step does."""
_NOUNS = {
    "+": r"together\b|sum of\b",
    "-": r"difference between\b|take \w+ from\b",
    "*": (
        r"product of\b|(?<!\d)\d{1,9}(?:\.\d{1,9})? ?(?:%|percent) of\b|percentage of\b|half of\b"
        r"|one[- ](?:third|fourth|fifth|quarter) of\b|\d/\d of\b|twice (?:the|that|as)\b|times (?:the|that)\b"
    ),
    "/": r"half of\b|quotient of\b|averag\w*",
}  # fmt: skip
"""Operations named by their results: they count beside verbs that do not say the opposite."""
_WEAK = {
    "+": (
        r"total\w*|altogether\b|in all\b|overall\b|increas\w*|more than\b|older\b|extra\b|sum\b"
        r"|final (?:price|cost|amount|bill)\b"
    ),
    "-": (
        r"remain\w*|left\b|leftover\b|less\b|fewer\b|profit\b|chang\w*|discount\w*|decreas\w*|reduc\w*|rest\b"
        r"|younger\b|sav(?:e|ed|ings)\b|difference\b|missing\b|still need\w*|(?:how )?m(?:uch|any) (?:\w+ )?more\b"
        r"|isolate\b|solve\b"
    ),
    "*": (
        r"percent\w*|%|per\b|each\b|every\b|convert\w*|rate\b"
        r"|total (?:cost|price|amount|number|earnings|distance)\b|area\b|volume\b|tax\b|interest\b|discount\w*"
        r"|tip\b|increas\w*|earn\w*|cost of\b|times\b|twice\b|double\w*|half\b"
    ),
    "/": (
        r"per\b|each\b|convert\w*|fraction\b|half\b|third\b|quarter\b|percent\w*|rate\b|how many\b|solve\b"
        r"|isolate\b|ratio\b|unit price\b|speed\b|mean\b"
    ),
}
"""Words that hint at an operation: enough not to call it missing, not enough to call it covered."""
_VERBS_RE = {kind: re.compile(rf"(?<![a-z])(?:{pattern})", re.IGNORECASE) for kind, pattern in VERBS.items()}
_NOUNS_RE = {kind: re.compile(rf"(?<![a-z])(?:{pattern})", re.IGNORECASE) for kind, pattern in _NOUNS.items()}
_WEAK_RE = {kind: re.compile(rf"(?<![a-z])(?:{pattern})", re.IGNORECASE) for kind, pattern in _WEAK.items()}
_PLURAL = re.compile(
    r"\b(?:both|all|respective\w*|for each|(?:each|every) (?:of|type|kind|item|job|one|person|friend|day|month"
    r"|group|category))\b",
    re.IGNORECASE,
)
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_PREPARES = re.compile(
    r"[\W_]*(?:(?:first|next|then|now|finally|start by|begin by|begin with)[,:]?\s+)*(?:carefully\s+)?"
    r"(?:read|identify|understand|write (?!(?:\w+ ){0,3}(?:equation|expression))|note|recogni[sz]e|recall|list"
    r"|define|check|verify|remember|look|review|state|let|make sure|know|label|gather|"
    r"start|consider|determine what|assign|double[- ]check|the problem|problem|observe|realize|take note"
    r"|highlight|underline|organize|information|given|you (?:now )?(?:have|know)|this (?:is|will|gives)"
    r"|the (?:result|answer|final)|your)",
    re.IGNORECASE,
)
_STEP_REFERENCE = re.compile(
    r"\b(?:steps?|prompt|part|question|problem)\s{0,3}#?\d++(?:(?:\s{0,3}(?:,|and|&|-|to)){1,3}+\s{0,3}#?\d++)*+",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z]{3,}")
_STOP = frozenset({
    "the", "and", "for", "that", "this", "with", "from", "are", "was", "were", "has", "have", "had", "his", "her",
    "their", "its", "she", "they", "them", "him", "you", "your", "how", "many", "much", "what", "when", "which",
    "who", "will", "would", "can", "could", "each", "every", "per", "all", "any", "one", "two", "three", "four",
    "five", "six", "seven", "eight", "nine", "ten", "not", "out", "then", "than", "step", "steps", "result",
    "results", "number", "numbers", "amount", "total", "calculate", "find", "determine", "add", "subtract",
    "multiply", "divide", "sum", "difference", "product", "quotient", "identify", "write", "down", "note", "first",
    "second", "third", "next", "finally", "last", "previous", "answer", "problem", "question", "value", "get",
    "using", "use", "give", "gives", "given", "into", "more", "less", "also", "there", "these", "those", "after",
    "before", "does", "did", "only", "just", "need", "needs", "since", "because", "about", "make", "made", "been",
    "being", "equation", "let", "know", "left", "remaining", "together", "represents", "represent", "times",
    "twice", "half",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlanStep:
    """A parsed plan step."""

    strong: Counter[str]
    """Operations named directly -> count."""
    weak: frozenset[str]
    """Operations hinted at."""
    numbers: frozenset[Value]
    """Numbers named, without references to steps."""
    stems: frozenset[str]
    """Stems of its words."""
    prepares: bool
    """Whether it only reads, notes or checks."""
    plural: bool
    """Whether it mentions several quantities at once (`each`, `both`, `all`)."""


@lru_cache(maxsize=4096)
def read_step(text: str) -> PlanStep:
    """Parse operations, numbers and words of one plan step."""
    text = _STEP_REFERENCE.sub(" ", text[:5_000])
    verbs = {kind: len(places) for kind, regex in _VERBS_RE.items() if (places := regex.findall(text))}
    nouns = {kind: 1 for kind, regex in _NOUNS_RE.items() if INVERSE[kind] not in verbs and regex.search(text)}
    strong = Counter(nouns | verbs)
    weak = frozenset(kind for kind, regex in _WEAK_RE.items() if regex.search(text))
    return PlanStep(
        strong,
        weak,
        frozenset(grounds(text).numbers),
        stems_of(text),
        bool(_PREPARES.match(text)),
        bool(_PLURAL.search(text)),
    )


def stems_of(text: str) -> frozenset[str]:
    """Return lower-case words without endings, stop words left out."""
    return frozenset(_stem(word) for word in map(str.lower, _WORD.findall(text)) if word not in _STOP)


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ies", "ed", "es", "s", "y", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word
