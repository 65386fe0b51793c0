"""What stands behind a finished answer: lists of sources, and a further question that the writer makes up."""

from __future__ import annotations

import re

from tracedistill.answers.cleaning import plain
from tracedistill.answers.marks import last_mark
from tracedistill.answers.words import holds_any

_SOURCES = re.compile(
    r"\n[ \t]{0,4}[#*_]{0,5}[ \t]?(?:sources|references|footnotes|citations|bibliography|works cited|further reading"
    r"|quellen|literatur|fuentes|referencias|références|fonti|参考文献|参考资料|来源|出典|источники)"
    r"[ \t]?[:：]?[*_]{0,3}[:：]?[ \t]{0,4}\n",
    re.IGNORECASE,
)
_NOTES = re.compile(r"\n[ \t]{0,4}\[\^?1\]:?[ \t]{1,4}[^\W\d]")
"""The first of numbered notes at the end."""
_FURTHER = re.compile(
    r"(?:\n|(?<=[.!?)*。]) )[ \t]{0,4}[#*_>]{0,5}[ \t]?(?:(?:extension|bonus"
    r"|follow[- ]?up|challenge"
    r"|variation|going further|further question|extra)(?: question| problem| challenge)?"
    r"[*_]{0,3}[ \t]?[:：?—–-][*_ \t]{0,4}\s{0,4}"
    r"(?=(?:what|how|if|suppose|imagine|had|could|can|would|try|consider|let|with)\b)"
    r"|(?:and |but |now,? )?what if\b)",
    re.IGNORECASE,
)
_HINTS = (
    "[1]", "[^1]", "ources", "eferenc", "ootnotes", "itations", "ibliography", "orks cited",
    "uellen", "iteratur", "uentes", "onti", "xtension", "onus", "ollow", "hallenge", "ariation", "urther", "xtra",
    "hat if",
)  # fmt: skip
_WIDE_HINTS = ("参考", "来源", "出典", "сточники", "éférences")
_GOES_ON = re.compile(r"\b(?:therefore|thus|hence|so)\b|####|\\boxed|final answer", re.IGNORECASE)
_REFERENCE = re.compile(
    r"(?<=[\w.,:;!?)*\"'%])(?:\[\^?\d{1,2}\]){1,6}(?![\w({])|[ \t](?:\[\^?\d{1,2}\]){2,6}(?![\w({])"
)
"""References that stand on a word or number, or several side by side; `The answer is [1]` has none."""


def ending(text: str) -> int:
    """Return where sources, notes or a further question follow what a text states; else its length.

    What states an answer of its own (`Sources: ... The answer is 5`) is no ending.
    """
    if not holds_any(text, _HINTS) and (text.isascii() or not holds_any(text, _WIDE_HINTS)):
        return len(text)
    end = len(text)
    for pattern in (_SOURCES, _NOTES, _FURTHER):
        match = pattern.search(text, 0, end)
        if match is None or not any(map(str.isalnum, text[: match.start()])):
            continue
        tail = plain(text[match.start() : end])
        mark = last_mark(tail, 0, len(tail))
        supposed = pattern is _FURTHER and mark is not None and "would" in tail[max(0, mark - 24) : mark]
        if (mark is None or supposed) and not _GOES_ON.search(tail):
            end = match.start()
    return end


def unreferenced(text: str) -> str:
    """Return a text with its references to numbered notes (`1969 [1][2]`) blanked; same length."""
    if "[1]" not in text and "[^1]" not in text:
        return text
    return _REFERENCE.sub(lambda match: " " * len(match.group()), text)
