"""How a statement joins two numbers: a choice (`15 or 20`), a range (`15 to 20`), or neither."""

from __future__ import annotations

import re
from typing import Literal

from tracedistill.answers.words import word_set

JOINERS = word_set(
    "or oder ou o u lub albo eller veya ya between zwischen entre tra tussen to through bis and und et y e possibly "
    "perhaps maybe alternatively do a al ao ate hasta tot till til ila ile sampai hingga though but while whereas give "
    "plus minus"
)
"""Words one of which every pair in plain letters needs."""
_NOUNS = r"[\s*)%\"'`]{0,12}(?:[A-Za-z'-]{1,24}\s{1,12}){0,3}?"
_OR = re.compile(
    _NOUNS
    + r"[\s,;(–—-]{1,4}(?:or |and )?(?:possibly|perhaps|maybe|alternatively|if not)[\s$(*€£]{1,6}\Z|"
    + _NOUNS
    + r",?\s{0,12}(?:\b(?:or|oder|ou|o|u|или|або|lub|albo|eller|veya|ya da|atau|hoặc|e/o|and/or)\s|或(?:者)?|または"
    r"|か(?=\d)|또는|أو\s|या\s)\s{0,12}"
    r"(?:(?:about|maybe|possibly|even|perhaps|else|just|alternatively)\s{1,12})?[\s$(*€£]{0,12}\Z",
    re.IGNORECASE,
)
_AND = re.compile(r"[\s*)%$]{0,12}(?:,|;|\band\b|&|和|与|و|y|e|und|et|и)[\s$(*€£]{0,12}\Z", re.IGNORECASE)
_COUNTER = r"\s?(?:[个個枚本人冊匹台元円块岁歳分天日年页頁杯件只条张張颗开名개명원권살]|小时|公里|時間|公斤|시간)\s?"
"""A counter of Chinese, Japanese or Korean, between a number and what ties it to another."""
_TO = re.compile(
    r"[\s*%$]{0,12}(?:[A-Za-z]{1,24}\s{1,12}|"
    + _COUNTER
    + r")?(?:\bto\b|\bthrough\b|\bbis\b|\bà\b|\bto about\b|\btot\b|\btill?\b|\bila\b|\bsampai\b|\bhingga\b"
    r"|\bđến\b|\bhasta\b|\baté\b|到|至|から|에서|부터|〜|~|～|-|--|…|\.\.\.)[\s$(*€£]{0,12}(?:(?:page|day|chapter|level|floor|week)\s)?\Z",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"\b(?:ratio|chang\w{0,24}|increas\w{0,24}|decreas\w{0,24}|go|goes|went|rose|rise\w{0,24}|drop\w{0,24}|fell"
    r"|add\w{0,24}|convert\w{0,24}|compar\w{0,24}|round\w{0,24}|reduc\w{0,24}|grew|grow\w{0,24}|proportion|odds|equal"
    r"|sub[ei]\w{0,4}|pas[aó]\w{0,4}|aument\w{0,6}|baj[aó]\w{0,4}|stei?g\w{0,4}|stieg\w{0,4}|sank|sinkt|monte|passe"
    r"|wzr\w{0,6}|spad\w{0,4}|cresc\w{0,4}|stijgt|daalt|ökar|øker|naik|turun)\b|вырос|упал|увелич|уменьш",
    re.IGNORECASE,
)
_CHANGED = re.compile(r"\W{0,3}[^\W\d]{0,4}?(?:涨|增|升|降|减|変|变|に[^ん]|로\s)")
"""What follows the second number of a change: `15円から20円に`."""
_ANYWHERE = re.compile(r"\b(?:anywhere|somewhere|ranges?|ranging) from[\s$(*€£]{0,12}\Z", re.IGNORECASE)
_BETWEEN = re.compile(
    r"\b(?:between|zwischen|entre|между|tra|fra|tussen|mellan|mellem|między|antara)[\s$(*€£]{0,12}\Z|介于\s{0,12}\Z",
    re.IGNORECASE,
)
_FROM = re.compile(
    r"(?<!\w)(?:od|de|da|dal|desde|от|с|van|von|från|fra|từ|dari|din|entre)\s{1,3}[$(*€£]{0,3}\Z", re.IGNORECASE
)
_UNTIL = re.compile(
    r"(?:\s[^\W\d]{1,12})?\s(?:do|a|à|al|ao|até|hasta|bis|tot|till|til|đến|до|sampai|jusqu['’]à)\s[$(*€£]{0,3}",
    re.IGNORECASE,
)
"""`od 10 do 14`, `de 10 a 14`: ranges whose second word is too short to mean a range by itself."""
_SEVERAL = re.compile(
    r"\b(?:candidates|options|possibilities|alternatives|possible (?:answers|values|results)"
    r"|(?:two|three|several|both) (?:answers|values|results|numbers|amounts))\b[^.\d]{0,24}\Z",
    re.IGNORECASE,
)
_AS_GOOD = re.compile(
    r"[^.;\d]{0,24}\b(?:though|but|and|or|while|whereas)\s[$€£]?#\s?(?:\w{1,12}\s)?(?:is|are|seems|would be|looks"
    r"|remains)\s(?:just as|equally|also|no less|as)\s(?:plausible|likely|possible|valid|defensible|correct|acceptable"
    r"|good|probable)\b",
    re.IGNORECASE,
)
"""`15, though # is just as plausible`: the sign stands for the second number."""
_GIVE_OR_TAKE = re.compile(
    r"[\s*)]{0,3}(?:[A-Za-z]{1,15},?\s)?(?:±|\+/-|\+-|\\pm|give or take|plus or minus)[\s$(*€£]{0,4}\Z"
)


def joined(between: str, ahead: str, behind: str, strict: bool) -> Literal["", "choice", "range"]:
    """Return the relation of two adjacent numbers by what stands between, ahead of and behind them.

    `strict`: the statement is marked as the answer, in which `15 and 20` is no single value either.
    """
    between = " ".join(between.replace("{", " ").replace("}", " ").split()).join("  ") if "}" in between else between
    if _OR.match(between) or _AS_GOOD.match(f"{between}#{behind}"):
        return "choice"
    if (_AND.match(between) and _BETWEEN.search(ahead)) or _GIVE_OR_TAKE.match(between):
        return "range"
    calculated = behind.lstrip(" )*$}")[:1] in ("=", "≈")
    if _TO.match(between):
        minus = calculated and between.strip(" *$%").startswith("-")
        if not minus and (_ANYWHERE.search(ahead) or not (_CHANGE.search(ahead) or _CHANGED.match(behind))):
            return "range"
    if _FROM.search(ahead) and _UNTIL.fullmatch(between) and not _CHANGE.search(ahead):
        return "range"
    if _AND.match(between) and not calculated and (strict or _SEVERAL.search(ahead)):
        return "choice"
    return ""
