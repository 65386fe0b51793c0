"""What a text names only to refute it, or as what others might think: no answer of any kind.

refuted after a name   `84 can't be right`, `B leaves out the heat`, `Paris is a common mistake`
held by somebody       `Ann says 20, but she forgot the last one.`
struck out             `~~20~~ 25`
imputed to others      `You might think the answer is yes, but ...`, `Many would say B.`, `At first glance it is 20.`
"""

from __future__ import annotations

import re

from tracedistill.answers.words import holds_any, word_set

_NOT = r"(?:\s?n['’]t|\s(?:not|never|hardly|scarcely))"
_WEAKLY = r"(?:(?:possibly|really|quite|even|actually|simply|clearly|obviously|therefore|thus|just|all|both)\s)?"
_RIGHT = (
    r"(?:right|correct|true|valid|accurate|possible|it\b|enough\b|sufficient|an? (?:answer|option|choice|solution)"
    r"|(?:the|our|my|your) (?:\w{1,12} )?(?:answer|total|sum|result|number|value|amount|solution|choice|option|one|case"
    r"|capital|winner|author))\b"
)
_FLAWED = (
    r"(?:wrong|incorrect|false|mistaken|impossible|misleading|absurd|nonsense|out of the question|ruled out|off\b"
    r"|nowhere near\b|(?:very )?far (?:from|off)\b|not even close|a far cry from"
    r"|too (?:high|low|big|small|large|much|many|few|long|short|early|late)"
    r"|an? (?:\w{1,12} )?(?:mistake|error|trap|misconception|misreading|miscalculation|distractor|red herring)\b"
    r"|tempting\b|(?:only|just) (?:the (?:first|second|third|last)|part|half|a part|one (?:part|of)|an? intermediate)\b"
    r"|what (?:you|one|we) (?:would |might )?get (?:if|when|by|without)\b)"
)
REFUTED = (
    r"(?:,?\s?(?:which|that|but (?:this|that|it)|and (?:this|that|it))\s)?"
    r"(?:(?:would|could|might|may|should|must|can|ca(?=n['’])|will|did|does|do|has|had|is|was|are|were|seems?)"
    rf"(?:{_NOT}|(?<=can)not|(?<=ca)n['’]t)\s?{_WEAKLY}(?:be\s|seem\s|look\s)?{_WEAKLY}"
    rf"(?:{_RIGHT}|add up\b|work\b|fit\b|make sense\b|(?:include|count|cover|contain|account for|take|consider|match"
    r"|allow for|satisfy)\b|[.;!]|\Z)"
    rf"|(?:would|must|will|has to|have to|may|might|can only)\s{_WEAKLY}be\s{_WEAKLY}{_FLAWED}"
    rf"|(?:is|was|are|were|seems?)\s{_WEAKLY}{_FLAWED}"
    rf"|(?:would|could) (?:only |just )?(?:have )?(?:be|been|hold|work|fit|apply|follow)\s(?:{_RIGHT}\s|the case )?"
    r"(?:only |just )?(?:if|when|for|were|had|in case)\b"
    r"|(?:seems?|looks?|sounds?|appears?|is|may (?:seem|look|sound))\s(?:\w{1,12}\s{1,40}){1,5}?(?:but"
    r"|yet)\s(?:(?:it|that|this)"
    r"\s?)?(?:is|['’]s|does|was)?(?:\s?n['’]t|\snot|\swrong|\sincorrect)"
    r"|(?:also |still |simply |just )?(?:leaves? out|omits?|misses|ignores?|overlooks?|forgets?|neglects?|skips?"
    r"|excludes?|disregards?|fails? to|(?:would |does |do )?(?:forget|leave out|ignore|omit|miss)s?)\s(?!no\b"
    r"|nothing\b|none\b))"
)
"""Source of a pattern for what refutes a name right before it."""

_OTHERS = (
    r"(?:you|one|some(?:one|body)?|anyone|many|most|people|others|students|readers|beginners|he|she|they"
    r"|(?:some|many|most|a few|other|careless|hasty|a (?:careless|hasty|quick|casual)) (?:people|students|readers?"
    r"|person"
    r"|learners|of us))"
)
_THINK = (
    r"(?:think|say|guess|assume|believe|argue|claim|suppose|answer|conclude|suspect|imagine|pick|choose|suggest|object)"
)
_CONTRAST = r"\b(?:but|however|yet|actually|in fact|in reality|in truth|instead|nevertheless)\b"
_IMPUTED = re.compile(
    rf"\b{_OTHERS}['’]?\s?(?:might|may|could|would|will|['’]?d)\s(?:well |also |easily |wrongly |first |at first |be "
    rf"(?:tempted|inclined) to )?{_THINK}\b"
    rf"|\b(?:some|many|most|people|others|(?:some|many|most|other) (?:people|students|readers|of us))\s"
    r"(?:often |wrongly |mistakenly |incorrectly |falsely |still )?(?:think|say|guess|assume|believe|claim|answer)\b"
    r"|\b(?:it is|it['’]s) (?:often|commonly|widely|sometimes|usually|frequently|wrongly|generally) "
    r"(?:said|thought|believed|assumed|claimed)\b"
    r"|\b(?:it is|it['’]s|it was|it may be|it might be) tempting to\b"
    r"|\bat first (?:glance|sight),? (?:the (?:correct |right )?answer|it|this|that|one|you)\b"
    r"|\b(?:the|an?) (?:obvious|naive|naïve|tempting|common wrong|common|usual|popular|wrong|incorrect|intuitive"
    r"|hasty) (?:wrong |incorrect )?(?:answer|choice|guess|option|mistake|misconception|error|assumption) "
    r"(?:is|would be|might be|seems to be)\b"
    r"|\bthe answer (?:may|might) (?:seem|appear|look)\b",
    re.IGNORECASE,
)
"""What opens a clause that only says what others think."""
_SEEMING = re.compile(
    r"\b(?:(?:it|this|that|these|they|which|the \w{2,20}(?: \w{2,20}){0,3}?)\s(?:(?:would|might|may|could)\s)?"
    r"(?:(?:at first|first|also|strongly)\s)?"
    r"(?:seems?|looks?|appears?|sounds?|suggests?|point(?:s)? to|indicates?|hints? at|impl(?:y|ies))\b"
    rf"|{_OTHERS}\s?(?:would|might|may|could|['’]d)\s(?:\w{{2,10}}\s)?expect\b|at first\b)",
    re.IGNORECASE,
)
"""What opens a clause that is taken back if a contrast follows."""
_CLAUSE_END = re.compile(
    r"[.!?](?=[\s*\"')\]]|\Z)|[;:](?=\s)|\n|,?\s(?=(?:but|yet|however|whereas|actually)\b)|,\s(?=(?:the (?:correct "
    r"|right "
    r"|actual |true |real |final )?answer|it['’]s|it is)\b)",
    re.IGNORECASE,
)
_TURNS = re.compile(
    rf"[.!?;:,]?\s{{0,3}}(?:,?\s?{_CONTRAST}|[;.]\s{{1,3}}(?:it|the|this|that|they|he|she)\b[^.!?\n]{{0,120}}"
    r"\b(?:is|are|was|has|have)\b)",
    re.IGNORECASE,
)
_CONJUNCTION = re.compile(
    r"[,;–—]?\s{0,3}\b(?:even though|although|though|while|where|whereas|and|or|that|even if)\s\Z", re.IGNORECASE
)
_SHORT = 240
_MODAL = re.compile(
    r"(?:might|may|could|would|will|['’]d)\s(?:\w{2,10}\s){0,3}?"
    + _THINK
    + r"\b|answer (?:may|might) (?:seem|appear|look)"
)
_MODALS = word_set("might may could would will you'd one'd you’d one’d they'd i'd we'd")
_SAYINGS = word_set(
    "often people students readers say think guess believe assume assumed claim commonly widely tempting glance "
    "glance, "
    "sight sight, obvious naive naïve intuitive common wrong incorrect usual popular hasty thought"
)
_SEEMINGLY = word_set(
    "seem seems look looks appear appears sound sounds suggest suggests point points indicate indicates hint hints "
    "imply "
    "implies expect"
)
"""Words that every pattern above needs in a text: finding them costs less."""
_IMPUTED_PARTS = (
    "think", "thought", "say", "said", "guess", "assume", "believe", "argue", "claim", "suppose", "answer", "conclude",
    "suspect", "imagine", "pick", "choose", "suggest", "object", "tempting", "at first", "obvious", "naive", "naïve",
    "common", "usual", "popular", "wrong", "incorrect", "intuitive", "hasty",
)  # fmt: skip
"""Parts of every phrase of `_IMPUTED`."""
_SEEMING_PARTS = (
    "seem", "look", "appear", "sound", "suggest", "point to", "points to", "indicate", "hint at", "hints at", "imply",
    "implies", "expect", "at first",
)  # fmt: skip
"""Parts of every phrase of `_SEEMING`: `point` alone is none."""


_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|<(del|s|strike)>[^<\n]{1,200}</\1>", re.IGNORECASE)
_SPEAKER = (
    r"(?:[A-Z][a-z]{1,14}|(?:[Mm]y|[Tt]he|[Aa]|[Oo]ur|[Hh]is|[Hh]er|[Aa]nother) (?:\w{1,12} )?(?:friend|colleague"
    r"|classmate|teacher|tutor|brother|sister|neighbou?r|student|book|textbook|key|solution|calculator|model|chatbot)|[Ss]he|[Hh]e"
    r"|[Tt]hey|[Ss]ome(?:one|body))"
)
_SAID = re.compile(
    rf"\b{_SPEAKER}(?:['’]s (?:answer|claim|guess|result) (?:of|is|was))?\s?(?:\w{{2,10}}ly )?(?:says?|said"
    r"|claim(?:s|ed)?|thinks?|thought|believe[sd]?|insist(?:s|ed)?|guess(?:es|ed)|argue[sd]?|suggest(?:s|ed)?)\b"
    r"|\b[Aa]ccording to (?!the (?:problem|question|text|passage)\b)[^,.;\n]{1,30}?\b(?= it\b|,| the\b)"
)
_GOT = re.compile(
    rf"\b{_SPEAKER}['’]?s?\s(?:\w{{2,10}}ly )?(?:got|gets|gave|gives|wrote|answered|answer|found|reached)\b"
)
_SAYS = word_set(
    "says said say claims claimed thinks thought believes believed insists insisted guesses guessed argues argued "
    "suggests suggested according"
)
_ERRS = re.compile(
    r"[.!?;:,]?\s{0,3}(?:but|yet|however|though|although|and|unfortunately)?,?\s?(?:[A-Za-z']{1,14}\s){1,2}?"
    r"(?:(?:is|was|are|were|has|have|had)\s)?(?:\w{2,10}ly )?(?:wrong|mistaken|incorrect|in error|not right"
    r"|miscount(?:s|ed)|forg(?:ot|ets|otten)|overlook(?:s|ed)|misread|miscalculated|made an? (?:\w{1,10} )?(?:mistake"
    r"|error)|err(?:s|ed)|ignore[sd]?|left out)\b"
)
_ERRORS = (
    "wrong", "mistak", "incorrect", "error", "not right", "miscount", "forg", "overlook", "misread", "miscalc", "erred",
    "errs", "ignore", "left out",
)  # fmt: skip


def _claimed(text: str, low: str, words: frozenset[str]) -> list[tuple[int, int]]:
    """Return the clauses of what somebody holds that a contrast or reproach takes back: `Ann says 20, but ...`."""
    spans = []
    if not words.isdisjoint(_SAYS):
        for match in _SAID.finditer(text):
            end = _clause_end(text, match.end())
            if _CONTRASTED.match(text, end) or _ERRS.match(text, end):
                spans.append((_opening(text, match.start()), end))
    if holds_any(low, _ERRORS):
        for match in _GOT.finditer(text):
            end = _clause_end(text, match.end())
            if _ERRS.match(text, end):
                spans.append((_opening(text, match.start()), end))
    return spans


_CONTRASTED = re.compile(rf"[;:,]?\s{{0,3}},?\s?{_CONTRAST}", re.IGNORECASE)


def _struck(text: str) -> str:
    """Return a text with what is struck out blanked."""
    return _STRUCK.sub(lambda match: " " * len(match.group()), text)


def stated_only(text: str) -> str:
    """Return a text with the clauses blanked that only say what others think, or what seems so and is not.

    What is struck out is blanked too.
    """
    if "~~" in text or "</" in text:
        text = _struck(text)
    low = text.lower()
    words = frozenset(low.split())
    spans = _claimed(text, low, words)
    said = not words.isdisjoint(_SAYINGS) or (not words.isdisjoint(_MODALS) and _MODAL.search(low) is not None)
    if said and holds_any(low, _IMPUTED_PARTS):
        spans += [(_opening(text, match.start()), _clause_end(text, match.end())) for match in _IMPUTED.finditer(text)]
    if "at first" in low or (not words.isdisjoint(_SEEMINGLY) and holds_any(low, _SEEMING_PARTS)):
        for match in _SEEMING.finditer(text):
            end = _clause_end(text, match.end())
            if _TURNS.match(text, end):
                spans.append((_opening(text, match.start()), end))
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


def _opening(text: str, start: int) -> int:
    """Return where a clause begins, its conjunction (`, although`) included."""
    match = _CONJUNCTION.search(text, max(0, start - 24), start)
    return match.start() if match else start


def _clause_end(text: str, start: int) -> int:
    """Return where the clause ends that a position is in."""
    match = _CLAUSE_END.search(text, start, start + _SHORT)
    return match.start() if match else min(len(text), start + _SHORT)
