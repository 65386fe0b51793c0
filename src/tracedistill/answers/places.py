"""Where somebody was before: `She left the kitchen`, `She was in the kitchen, but has gone to the garden`."""

from __future__ import annotations

import re

_MOVED_ON = re.compile(
    r"[\s*_\"'`),;:.-]{0,6}(?:(?:but|and|until|before|then|yet|so|later|afterwards|now|has|have|had|since|is|are|was|she|he"
    r"|it|they|[A-Z][a-z]{1,12})[\s,]{1,3}){0,5}(?:(?:gone|went|goes|going|moved|moves|moving|travell?ed|journeyed|headed"
    r"|walked|relocated|returned)\s(?:on |back |over |away |out )?(?:to|into|for)\b|left\b"
    r"(?!\s(?:it|the\s\w+\s(?:in|on|at)\b)))"
    r"|[\s*_\"'`),;:.-]{0,6}(?:but\s|and\s|then\s){0,2}now[\s,]{1,3}(?:she|he|it|they|[A-Z][a-z]{1,12})\s(?:is|are|lives?"
    r"|works?|stays?)\b|[\s*_\"'`),;:-]{0,4}(?:but|and)\s(?:(?:she|he|it|they)\s)?(?:is|are)\s(?:now\s)?(?:in|at|on)\b"
    r"|\sbefore\s(?:the|she|he|it|going|moving)\b"
)
_LEFT_BEHIND = re.compile(
    r"\b(?:(?:has |had |have )?(?:left|departed|exited)|leaves|leaving|used to (?:be|live|work|stay|sit|stand)(?: (?:in"
    r"|at|on))?|no longer (?:\w{1,12} )?(?:in|at|on)|away from|out of)\s(?:the\s)?[*_\"']{0,3}\Z",
    re.IGNORECASE,
)
_EARLIER_ASKED = re.compile(
    r"\b(?:left|leave|leaving|before|from|first|earlier|previous\w*|was|were|did|used|out|origin\w*)\b|\A\Z",
    re.IGNORECASE,
)
"""A question of an earlier place, or none that is known."""
_FROM_PLACE = re.compile(r"\bfrom\s(?:the\s)?[*_\"']{0,3}\Z", re.IGNORECASE)
_TO_ANOTHER = re.compile(r"[\s*_\"'`)]{1,6}(?:to|for|into)\s(?:the\s)?\w")


def left_behind(before: str, after: str, question: str) -> bool:
    """Return whether the words around a place say that it is left, and the question asks for no earlier one."""
    if _EARLIER_ASKED.search(question):
        return False
    if _MOVED_ON.match(after) or _LEFT_BEHIND.search(before):
        return True
    return _FROM_PLACE.search(before) is not None and _TO_ANOTHER.match(after) is not None
