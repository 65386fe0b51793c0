"""Whether a statement states a text answer: `The capital is **Paris**.` and `It's Paris.` state Paris.

`The capital of France is Lyon.` does not state France, `It is not Paris.` and `Paris or Lyon` do not state Paris. What
a statement names must stand where an answer stands: alone, in bold, behind a copula or preposition at the end of its
clause, at the head before a reason, or as the only thing that the question does not say itself.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tracedistill.answers.asked import stems
from tracedistill.answers.bounds import is_bound
from tracedistill.answers.canonical import canonical, dates, is_date
from tracedistill.answers.cleaning import plain
from tracedistill.answers.denials import AHEAD, BEHIND
from tracedistill.answers.hedges import unsure
from tracedistill.answers.places import left_behind
from tracedistill.answers.refuted import REFUTED
from tracedistill.answers.units import other_symbols
from tracedistill.answers.wording import plain_words, same_words
from tracedistill.answers.words import DOUBT, word_set
from tracedistill.answers.written import alike, is_amount, listed

_BOLD = re.compile(r"\*\*([^*\n]{1,200})\*\*|__([^_\n]{1,200})__|`([^`\n]{1,200})`|[\"“]([^\"”\n]{1,200})[\"”]")
_UNDERLINED = re.compile(r"(?<![\w/])_(?=[^\W_])([^_\n]{1,200})(?<=[^\s_])_(?![\w/])")
"""Emphasis as in `_Paris_`; the parts of `a_b_c` are none."""
_QUOTED = re.compile(r"([\"“«「])[^\"”»」\n]{1,100}[\"”»」]")
"""Quotations: `The line "to be, or not to be" comes from` denies nothing."""
_PICTURE = re.compile("[\U0001f000-\U0001faff\u2600-\u2712\u2728\u2734-\u274b\u2753-\u27bf\ufe0f]")
_SPAN = re.compile(r"(?<=\d)(?:\s?(?:-|–|—|~|〜)\s?|\s(?:to|through|until|bis)\s)(?=[$€£]?\d)")
_FROM = re.compile(r"\b(?:between|from) ([$£€]?\d[\d,.]{0,12}) (?:and|to) (?=[$£€]?\d)", re.IGNORECASE)
_POLAR = word_set("yes no true false")
_POLAR_HEAD = re.compile(
    r"[\s*_\"'`(\[#>-]{0,12}(?:(?:(?:that|this|it)(?:['’]s| is)|(?:the|this|that) (?:statement|claim|sentence"
    r"|assertion) is)"
    r"\s(?:(?:definitely|certainly|indeed|clearly|quite|absolutely) )?[*_]{0,2}(?=true|false))?(yes|no|true"
    r"|false)\b[*_\"'`)\]]{0,12}(?=\s{0,12}(?:[,.;:!)—–-]|\Z|\n)"
    r"|\s{1,12}(?:because|since|as|it|they"
    r"|he|she|there|this|that|the|we|you|i|its)\b)",
    re.IGNORECASE,
)
_POLAR_BOTH = re.compile(
    r"\b(?:yes|no|true|false)\b\s{0,12}(?:and|or|/|but also)\s{0,12}\b(?:yes|no|true"
    r"|false)\b",
    re.IGNORECASE,
)
_LINKS = word_set(
    "is are was were be been being am it's its that's he's she's they're there's called named as to in at on by into "
    "for "
    "the a an says said say states equals becomes became remains means gives get gets got have has had will would "
    "answer "
    "answers option label class category probably likely definitely clearly therefore thus so hence simply actually "
    "just about "
    "feels feel felt seems seem looks look appears sounds "
    "lasts lasted "
    "takes take took costs cost needs need wants likes live lives went go goes come comes came moved made makes picked "
    "chose chooses uses used release releases contain contains produces show shows "
    "exactly precisely turn turned turning go head heading keep bear face facing c'est das het "
    "towards toward onto inside with label: sentiment: namely indeed only also choose pick select predict classified "
    "labeled "
    "labelled tagged ist sind war heißt lautet est sont es son está é è foi fue это является из в на the: und"
)
_UNSTATED = word_set(
    "if although though while whereas when unless despite assuming suppose because since before after until besides"
)
_TIMES = word_set("after before since until")
_END = re.compile(r"[\s*_\"'`).!。]{0,9}")
"""`After two days the jury found him not guilty.` ends in its main clause."""
_DENIED = re.compile(
    r"(?:\b(?:not|never|no longer|neither|nor|hardly|scarcely|by no means|far from|(?:could|might|may) be"
    r"|cannot|rather than"
    r"|instead of|anything but|other than|than|without|except)"
    rf"|n['’]t|{AHEAD}|不)"
    r"(?:\s{1,12}(?:be|been|the|a|an|in|at|to|really|actually|exactly|necessarily|called|about|as|of"
    r"|on)){0,6}[\s*_\"'`(]{0,12}\Z",
    re.IGNORECASE,
)
_DOUBTED = re.compile(
    r"\b(?:do(?:es)?n['’]?t (?:think|believe)|do(?:es)? not (?:think|believe)|" + DOUBT + r"|isn['’]?t true|not true"
    r"|not the case|unlikely|false that"
    r"|wrong to say|(?:one|some|someone|many|people|you|they|others|students) (?:might|may|could|would)"
    r" (?:say|think|guess|expect|assume|argue|claim))\b[^,;.]{0,120}\Z"
    r"|(?:\bnot|\bnever|n['’]t)\b(?! only)(?:(?! is | are | was | were |\bbut\b)[^,;.:]){0,48}\Z",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"[\s*_\"'`).,]{0,6}(?:(?:is|are|was|were|would be|can|could|does|did)\s{0,12}(?:not\b|n['’]t|never|no longer)"
    r"|(?:is"
    r"|are|was|were)n['’]t|cannot|can['’]t"
    r"|,?\s(?:but|and)\s(?:(?:he|she|it|they|is|are|has|have)\s){0,2}(?:now|then|later|since)\b"
    r"|(?:is|was|are|would be)\s{1,12}(?:wrong|incorrect|false|out)|\?\s{0,3}(?:no|nope|not)\b|"
    + REFUTED
    + rf")|\s?(?:不是|错)|[*_\"'`)]{{0,4}}[^\W\da-zA-Z]{{0,4}}?\s?{BEHIND}",
    re.IGNORECASE,
)
_OR_AFTER = re.compile(
    r"[\s*_\"'`)]{0,12}(?:,\s{0,12})?(?:or|and/or|/|oder|ou|o|или|或)\s{1,12}(?!so\b|more\b|less\b"
    r"|rather\b)[\w*_\"'`(]",
    re.IGNORECASE,
)
_OR_BEFORE = re.compile(
    r"[\w*)\"'`]\s{0,12}(?:,\s{0,12})?(?:\bor\b|\band/or\b|/|\boder\b|\bou\b|\bили\b"
    r"|或)\s{0,12}(?:\w{1,8}\s{1,12}){0,2}[\s*_\"'`(]{0,12}\Z",
    re.IGNORECASE,
)
_AND_AFTER = re.compile(
    r"[\s*_\"'`)]{0,12}(?:,?\s{0,12}\band\b|,?\s{0,12}&|\bund\b|\bet\b|\by\b)\s{1,12}(?!not\b|so\b|therefore\b|it\b"
    r"|he\b|she\b|they\b|this\b|that\b|the\s\w{1,24}\s(?:is|are|was)\b)\w",
    re.IGNORECASE,
)
_AND_BEFORE = re.compile(
    r"[\w*)]\s{0,12},?\s{0,12}(?:\band\b|&|\bund\b|\bet\b)\s{0,12}(?:the|a|an"
    r"|in)?\s{0,12}[*_\"'`(]{0,12}\Z",
    re.IGNORECASE,
)
_STOPS_AFTER = re.compile(
    r"[\s*_\"'`)\]]{0,12}(?:\Z|[.!?。！？](?:\s|\Z|[*\"')])|[;:(\[—–\n]|\s-\s|,\s{1,12}(?!(?:[A-Z]\w{0,24}"
    r"|\d{1,24})(?:[.\s]{0,12}\Z|,|\s{1,12}and\b))"
    r"|(?:because|since|as|which|who|where|when|that|due|for|rather|around|circa|during|about|near|over|throughout"
    r"|under|between|to|into|across|instead|not|with|by|in|on|of all|overall|here"
    r"|then|now|today|there|after"
    r"|before|while|but|so|thus|from|given|according|based|without|at)\b)",
    re.IGNORECASE,
)
_WOULD_BE = re.compile(r"\bwould (?:only |also |still )?(?:be|have been)[\s*_\"'`(]{0,6}\Z", re.IGNORECASE)
_ONLY_IF = re.compile(r"[\s*_\"'`)]{0,6}(?:only\s)?(?:if|for|when|unless|in)\b", re.IGNORECASE)
"""`It would be true for odd numbers.` says that it is not."""
_COMES_FROM = re.compile(
    r"\b(?:comes?|came|is|are|was|were|quoted?|taken|originat\w{1,4}|derives?|derived|descends?) from\s{1,3}(?:the\s)?"
    r"[\s*_\"'`(]{0,6}\Z",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    r"[,.;:…–—-]{1,3}\s{0,3}(?:(?:oh|or),? )?(?:(?:no,? )?wait(?:,? no)?|no, sorry|sorry|scratch that|correction|I mean"
    r"|make that)\b[\s,:.…–—-]{0,6}(?:it(?:['’]s| is) )?",
    re.IGNORECASE,
)
"""Phrases that retract the words before them."""
_CLAUSE = re.compile(r"[,;:.!?]\s|\bbut\b|\bso\b|\bthen\b")
_SUBJECT = re.compile(
    r"[\s*_\"'`)]{0,12}(?:is|was|are|were|would be|must be|will be|has|had|won|wrote|went|discovered"
    r"|invented|did|does)\b",
    re.IGNORECASE,
)
_ACTS = re.compile(r"[\s*_\"'`)]{1,6}[a-z]{2,14}(?:s|ed)\b(?! of\b)")
_OTHER_NAME = re.compile(r"\s[A-Z][a-z]")
"""`Elena sits in the middle.` names her, `Elena sits beside Ben.` either of them."""
_COPULA_END = re.compile(
    r"\s{0,12}[*_]{0,2}(?:です|でした|だ|である|입니다|이다|예요|了|的)?[\s。.!！*\"'`」』”)）]{0,12}"
)
_NOT_OTHERS = re.compile(r"[,、]\s?(?:而)?(?:不是|并非)[^。.]{1,12}[。.]?")
_CONTRASTED = re.compile(BEHIND + r"[^\W\d]{0,3}[\s,、。.]{0,3}\Z", re.IGNORECASE)
"""`İstanbul değil, Ankara.`"""
_ELLIPSIS = re.compile(r"[\s*_\"'`)]{0,6}(?:is|was|are|were|does|did|has|can|will)[\s.!*]{0,6}")
"""`Lyon isn't the capital; Paris is.`"""
_SHARE_OF = re.compile(r"\sof (?:the|it|them|all|his|her|its|their)\b[^.,;:]{0,40}[.!*_]{0,3}")
_LISTED_BEFORE = re.compile(
    r"(?:\A|[:.]\s{1,3}|\b(?:is|are|was|were)\s)[*_]{0,2}[A-Z][\w'’-]{1,20}(?: [A-Z][\w'’-]{1,20})?,\s{0,3}\Z"
)
_NOUN_OF = re.compile(
    r"\b(?:is|are|was|were|be)\s{1,12}(?:an?|the|one|my|his|her|its"
    r"|their)\s{1,12}[^,;.]{0,120}\Z",
    re.IGNORECASE,
)
_PLACES = word_set("in on at to for from with about into inside towards toward onto")
"""Words between a noun and what only describes it: a complaint about delivery, a river in Brazil."""
_WHO = re.compile(r"\bwho(?:m|se)?\b", re.IGNORECASE)
_NUMBERS = re.compile(r"\d+(?:[/.:-]\d+)*")
_WORD = re.compile(r"[^\W_][\w'’+#-]*")
MAX = 600
"""Longer statements are compared as a whole only."""


def states(gold: str, statement: str, question: str = "", marked: bool = False) -> str:
    """Return the rule by which a statement states a gold, or nothing; `marked`: it follows `the answer is`."""
    text = plain(statement).strip()
    if same_words(gold, text):
        return "same words"
    rule = _stated(gold, text, question, marked)
    if rule or len(text) > MAX:
        return rule
    other, rewritten = alike(gold, text, question)
    return "" if (other, rewritten) == (gold, text) else _stated(other, rewritten, question, marked)


def _stated(gold: str, text: str, question: str, marked: bool) -> str:
    """Return the rule by which a text states a gold as both are written, or nothing."""
    if "_" in text:
        text = _UNDERLINED.sub(r"\1", text)
    if not text.isascii():
        text = _PICTURE.sub(" ", text).strip()
    gold, text = canonical(gold), canonical(text)
    if same_words(gold, text):
        return "same words"
    if _SPAN.search(gold) and not is_date(gold):  # 15 to 20 years are 15-20 years
        gold, text = (_SPAN.sub(" to ", _FROM.sub(r"\1 to ", one)) for one in (gold, text))
    if len(text) <= MAX:
        kept = [part for part in _TAKEN_BACK.split(text)[1:] if part.strip(" .!\"'*")]
        text = kept[-1].strip() if kept else text  # `80, no wait, 75` states 75
    if len(text) > MAX or not plain_words(gold) or (text.endswith("?") and "?" not in gold and not marked):
        return ""
    wanted = plain_words(gold)
    if wanted in _POLAR:
        head = _POLAR_HEAD.match(text)
        if head and not _POLAR_BOTH.search(text[:60]):
            return "stated first" if head[1].casefold() == wanted else ""
    bold = {plain_words(next(filter(None, match.groups()))) for match in _BOLD.finditer(text)}
    if _bold_rival(gold, text, question):
        return ""
    spans = [span for span in _places(gold, text) if not _inserted(gold, text, *span, question)]
    for begin, end in reversed(spans):
        rule = _stated_at(text, begin, end, wanted in bold and len(bold) == 1, marked, question)
        if rule:
            return rule
    return ""


def _bold_rival(gold: str, text: str, question: str) -> bool:
    """Return whether the only words in bold are another name or number than the gold, and none of the question's."""
    marked = re.findall(r"\*\*([^*\n]{1,200})\*\*:?", text)
    if len(marked) != 1 or f"**{marked[0]}**:" in text or ":" in marked[0]:
        return False
    words = plain_words(marked[0])
    if plain_words(gold) in words or words in plain_words(gold) or not stems(marked[0]) - stems(question):
        return False
    numbers = [any(map(str.isdigit, side)) for side in (gold, marked[0])]
    return numbers[0] == numbers[1] and (numbers[0] or (gold[:1].isupper() and marked[0][:1].isupper()))


def _inserted(gold: str, text: str, begin: int, end: int, question: str) -> bool:
    """Return whether a gold is in a clause about another name or date: `Ada Lovelace, who worked with Babbage`."""
    clause = _INSERTION.search(text[max(0, begin - 160) : begin])
    if clause is None:
        return False
    if is_date(gold):
        return bool(dates(text[:begin] + text[end:]) - {gold})
    ahead = text[: max(0, begin - 160) + clause.start()]
    asked = question.casefold()
    names = [name.group().strip("*_") for name in _NAME.finditer(ahead)]
    names = [name for name in names if name.casefold() not in asked]
    return gold[:1].isupper() and bool(names)


_INSERTION = re.compile(
    r"(?:,|\s?\()\s?(?:who|whom|whose|which|where|an?|the|his|her|their|its|son|daughter|near|not far|born|made"
    r"|built|led"
    r"|known|written|\w{3,14}(?:ed|ing|en))\b[^,;()]{0,120}\Z",
    re.IGNORECASE,
)
_NAME = re.compile(
    r"(?<=[a-z,;] )[*_]{0,2}([A-Z][\w'’-]{1,24}(?: [A-Z][\w'’-]{1,24})*)|([A-Z][\w'’-]{1,24} [A-Z][\w'’-]{1,24})"
)


def polar_head(text: str) -> str:
    """Return the yes, no, true or false that a text opens with; else nothing."""
    head = _POLAR_HEAD.match(plain(text[:200]))
    return head[1].casefold() if head and not _POLAR_BOTH.search(text[:60]) else ""


@lru_cache(maxsize=4096)
def _pattern(gold: str) -> re.Pattern[str] | None:
    words = plain(gold).strip().rstrip(".").strip("\"'`").removeprefix("**").removesuffix("**").split()
    if not words or len(gold) > 200:
        return None
    body = r"[\s*_]{1,12}".join(map(re.escape, words))
    head = r"(?<![\w+#-])" if re.match(r"[A-Za-z0-9_]", words[0]) else r"(?<![+#])"
    tail = r"(?![A-Za-z0-9_]|[+#/]|-\w|\.\d)" if re.search(r"[\w]\Z", words[-1]) else r"(?![\w+#])"
    if not words[-1].isascii():
        head, tail = "", ""
    return re.compile(head + body + tail, re.IGNORECASE)


def _places(gold: str, text: str) -> list[tuple[int, int]]:
    pattern = _pattern(gold)
    return (
        []
        if pattern is None
        else [match.span() for match in pattern.finditer(text) if not other_symbols(gold, match.group())][-8:]
    )


def _stated_at(text: str, begin: int, end: int, bold: bool, marked: bool, question: str) -> str:
    """Return the rule by which what is named at a place is stated.

    Empty if it is denied, one of several, or spoken of.
    """
    before, after = _QUOTED.sub(_unquoted, text[max(0, begin - 120) : begin]), text[end : end + 120]
    if _DENIED.search(before) or _DOUBTED.search(before) or unsure(before) or _REFUSED.match(after):
        return ""
    if (
        _OR_AFTER.match(after)
        or _OR_BEFORE.search(before)
        or re.search(
            r"\b(?:either"
            r"|neither)\b[^,;.]{0,120}\Z",
            before,
            re.IGNORECASE,
        )
    ):
        return ""
    if left_behind(before, after, question):
        return ""
    if _WOULD_BE.search(before) and _ONLY_IF.match(after):
        return ""
    if _AND_AFTER.match(after) or _AND_BEFORE.search(before):
        return ""
    amount = is_amount(text[begin:end])
    if amount and is_bound(before[-80:], after[:80], None, question):
        return ""
    if "," in before[-3:] and _LISTED_BEFORE.search(before) and listed(text[begin:end]):
        return ""
    clause = before[max((match.end() for match in _CLAUSE.finditer(before)), default=0) :]
    opening = _WORD.findall(clause.lower())
    if (
        opening
        and opening[0] in _UNSTATED
        and not (opening[0] in _TIMES and len(opening) > 4 and _END.fullmatch(after))
    ):
        return ""
    if bold:
        return "the only words in bold"
    stops = _STOPS_AFTER.match(after) is not None
    ahead = before.strip(" *_\"'`(:>#-")
    if not ahead and (stops or not after.strip() or (amount and _SHARE_OF.fullmatch(after))):
        return "stated first"
    if not text.isascii() and not text[begin:end].isascii():
        ended = _COPULA_END.fullmatch(after) or _NOT_OTHERS.fullmatch(after)
        return "named at the end" if ended or marked else ""
    last = ahead.split()[-1:] or [""]
    word = last[0].strip("*_\"'`(,").casefold()
    linked = word in _LINKS or before.rstrip(" *_\"'`(").endswith((":", "=", "->", "→", "—"))
    if (
        not linked
        and question
        and _WHO.search(question)
        and last[0][:1].isupper()
        and not last[0].endswith(",")
        and text[begin : begin + 1].isupper()
    ):
        # the surname of a person that a `who` question asks for
        ahead = ahead[: -len(last[0])].rstrip()
        linked = ahead.rpartition(" ")[2].casefold() in _LINKS or not ahead
    if _COMES_FROM.search(before) and not re.match(r"[\s*_\"'`)]{0,12}to\b", after):
        linked = True
    if word in _PLACES and _NOUN_OF.search(ahead[: -len(last[0])]):
        linked = False
    if not text.isascii() and _CONTRASTED.search(before):
        linked = True
    if word == "but" and re.search(r"\bnot\b|\bnever\b|n['’]t\b", ahead, re.IGNORECASE):
        linked = True
    if stops and linked and not _of_subject(text, end):
        return "behind the verb"
    if ahead[-1:] in ";," and _ELLIPSIS.fullmatch(after):
        return "the subject"
    if question and word not in _TIMES and _new(text, question) and _new(text, question) == _said(text[begin:end]):
        return "what the question does not say"
    if not ahead and not question and not re.search(r"[;,]|\bbut\b|\bwhile\b", after):
        acts = text[begin].isupper() and _ACTS.match(after) and not _OTHER_NAME.search(after)
        if _SUBJECT.match(after) or acts:
            return "the subject"
    return ""


def _unquoted(match: re.Match[str]) -> str:
    return "".ljust(len(match.group()))


def _of_subject(text: str, end: int) -> bool:
    """Return whether a verb follows soon: then what stood before it was spoken of, not stated."""
    return re.match(r"[\s*_\"'`)]{0,12}(?:is|are|was|were)\b", text[end:], re.IGNORECASE) is not None


def _new(text: str, question: str) -> frozenset[str]:
    """Return the stems and numbers of a statement that are not in its question."""
    return _said(text) - _said(question)


def _said(text: str) -> frozenset[str]:
    numbers = _NUMBERS.findall(text)
    return stems(text).union(numbers) if numbers else stems(text)
