"""Reads which of several choices a text settles on, by letter or by the words of the choice."""

from __future__ import annotations

import re
from functools import lru_cache

from tracedistill.answers.cleaning import plain
from tracedistill.answers.policy import Extracted
from tracedistill.answers.statements import backwards, marked

_LABELLED = re.compile(r"\s*\(?([A-Za-z]|\d{1,2})[.):]\s+(?=\S)")
_LETTER_ONLY = re.compile(r"\s*[(\[{\"'*$\\]*(?:text\{)?\s*\(?([A-Za-z]|\d{1,2})\s*[)\]}\"'*$.:]*\s*\Z")
_LEADING = re.compile(
    r"[\s*\"'$\\{]*(?:text\{|(?:the\s+)?(?:option|choice|letter|answer)\s+)?\s*[(\[*\"']*([A-Z]|[a-h](?=[)\].*\"'}])|[1-9](?=[).:\s*]|\Z))"
    r"(?=[)\].,:;*\"'}$]|\s*\Z|\s+[-(]|\s*\n|\s+(?:because|since|as|is)\b)"
)
_STRICT = re.compile(
    r"(?:\\boxed\s*\{|<answer>)\s*\(?([A-H]|[1-9])\)?\s*(?=\}|</answer>)|\(([A-H]|[1-9])\)|"
    r"\b(?:option|choice|letter|[Aa]nswer)\s*(?:is\b|:)?\s*[(*\"']*([A-H]|[1-9])\b|(?<![\w'])([A-H])(?=[.):]\s)"
)
_BOX = re.compile(r"\\boxed\s*\{")
_NEGATED = re.compile(r"\b(?:not|isn't|neither|incorrect|wrong|rule out|eliminate)\b", re.IGNORECASE)
_PUNCTUATION = re.compile(r"[^\w\s%$./-]")


@lru_cache(maxsize=2048)
def labelled(closed: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(letter, words) of each choice: `B. text` gives both, a letter no words, words the letter of their place."""
    pairs = []
    for place, entry in enumerate(closed):
        match = _LABELLED.match(entry)
        if match:
            pairs.append((match[1].upper(), normal(entry[match.end() :])))
        elif _LETTER_ONLY.match(entry):
            pairs.append((entry.strip(" ()[].:").upper(), ""))
        else:
            pairs.append((chr(ord("A") + place) if place < 26 else str(place + 1), normal(entry)))
    return tuple(pairs)


def normal(text: str) -> str:
    """Lower-case words of a choice without punctuation."""
    return " ".join(_PUNCTUATION.sub(" ", plain(text).casefold()).split()).rstrip(".")


def label_of(answer: str, closed: tuple[str, ...]) -> str | None:
    """The letter that an answer string names: the letter itself, `B. text`, or the words of a choice."""
    pairs = labelled(closed)
    alone = answer.strip()
    if any(alone == known for known, _ in pairs):
        return alone  # a letter alone is a letter, even where a choice's words are a letter too
    words = normal(answer)
    for known, meaning in pairs:
        if meaning and words == meaning:
            return known
    match = _LETTER_ONLY.match(answer) or _LEADING.match(answer) or _LABELLED.match(answer)
    letter = None if match is None else str(match[1]).upper()
    if letter is not None and (not pairs or any(letter == known for known, _ in pairs)):
        return letter
    return None


def read_choice(text: str, closed: tuple[str, ...] = ()) -> Extracted:
    """The choice of the final statement, its `value` the letter; a statement that rules choices out is passed over."""
    clean = plain(text)
    whole = label_of(clean.strip(), closed) if len(clean) <= 400 and "\n" not in clean.strip() else None
    if whole is not None:
        return Extracted(text.strip(), whole, "the whole text", (0, len(text)))
    box = None
    for box in _BOX.finditer(clean, max(0, len(clean) - 20_000)):  # noqa: B007  (the last one is wanted)
        pass
    for count, statement in enumerate(backwards(clean, len(clean))):
        if count > 40:
            break
        begin = statement.start
        if box is not None and statement.start <= box.start() < statement.end:
            begin = box.end()
        elif statement.mark == "answer":
            begin = marked(clean, statement.start, statement.end) or begin
        piece = clean[begin : statement.end]
        if begin > statement.start:
            leading = _LEADING.match(piece)
            if leading and _known(leading[1].upper(), closed):
                at = begin + leading.start(1)
                return Extracted(
                    text[at : at + len(leading[1])],
                    leading[1].upper(),
                    "stated as the answer",
                    (at, at + len(leading[1])),
                )
        if _NEGATED.search(piece) and begin == statement.start:
            continue
        named = _named(piece, closed)
        if len(named) == 1:
            letter = next(iter(named))
            return Extracted(piece.strip(), letter, "named in the final statement", (begin, statement.end))
    return Extracted(None, None, "no statement names exactly one choice")


def named_anywhere(text: str, closed: tuple[str, ...]) -> frozenset[str]:
    """Letters of all choices that a text names anywhere."""
    return _named(plain(text), closed)


def _known(letter: str, closed: tuple[str, ...]) -> bool:
    return not closed or any(letter == known for known, _ in labelled(closed))


def _named(text: str, closed: tuple[str, ...]) -> frozenset[str]:
    pairs = labelled(closed)
    found = set()
    for match in _STRICT.finditer(text):
        letter = next(group for group in match.groups() if group)
        if _known(letter, closed):
            found.add(letter)
    words = f" {normal(text)} "
    words = re.sub(r"[.](?=\s)", " ", words)
    words = re.sub(r"\s+", " ", words)
    # longest first, so that `warm air` is not also `air`
    for letter, meaning in sorted(pairs, key=lambda pair: -len(pair[1])):
        if meaning and f" {meaning} " in words:
            found.add(letter)
            words = words.replace(f" {meaning} ", " | ")
    return frozenset(found)
