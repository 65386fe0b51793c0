"""The letters and words of a closed set of choices, and an answer that names one of them as a whole."""

from __future__ import annotations

import re
from functools import lru_cache

from tracedistill.answers.cleaning import plain

_LABELLED = re.compile(r"\s{0,9}\(?([A-Za-z]|\d{1,2})[.):]\s{1,9}(?=\S)")
_LETTER_ONLY = re.compile(r"\s*+[(\[{\"'*$\\]*+(?:text\{)?\s*+\(?([A-Za-z]|\d{1,2})\s*+[)\]}\"'*$.:]*+\s{0,12}\Z")
_PUNCTUATION = re.compile(r"[^\w\s%$./-]")
_LATEX = re.compile(
    r"\\(?:boxed|fbox|text(?:bf|it|rm|sf)?|math(?:rm|bf|sf|it)|mbox|displaystyle|left|right"
    r"|[,;:! ()\[\]])\s?\{?|[{}$]"
)


@lru_cache(maxsize=2048)
def labelled(closed: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (letter, words) of each choice. `B. text` gives both, a letter no words, words their place's letter."""
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
    """Return lower-case words of a choice without punctuation."""
    return " ".join(_PUNCTUATION.sub(" ", plain(text).casefold()).split()).rstrip(".")


def label_of(answer: str, closed: tuple[str, ...]) -> str | None:
    """Return the letter that an answer string names as a whole: the letter, `B. text`, or the words of a choice."""
    pairs = labelled(closed)
    alone = answer.strip()
    if any(alone == known for known, _ in pairs):
        return alone  # a letter alone is a letter, even if a choice's words are a letter too
    bare = undressed(answer).strip(" *_\"'`.")
    for words in {normal(answer), normal(bare)}:
        for known, meaning in pairs:
            if meaning and words == meaning:
                return known
    match = _LETTER_ONLY.match(answer) or _LETTER_ONLY.match(bare)
    if match is None:
        match = _LABELLED.match(bare)
        said = dict(pairs).get(match[1].upper()) if match else None
        if match is None or (said and normal(bare[match.end() :]) != said):
            return None
    letter = str(match[1]).upper()
    return letter if not pairs or any(letter == known for known, _ in pairs) else None


def undressed(text: str) -> str:
    """Return the text with LaTeX commands and braces blanked, character for character."""
    return (
        _LATEX.sub(lambda match: " " * len(match.group()), text) if "\\" in text or "{" in text or "$" in text else text
    )
