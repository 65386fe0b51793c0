"""How languages other than English deny a name or number: one vocabulary for numbers, words and choices.

ahead    `nicht 14`, `no es B`, `不是北京`, `ليس 24`
behind   `14ドルではなく`, `B가 아니라`, `14 नहीं`, `B değil`: in these languages the denial follows what it denies
"""

from __future__ import annotations

_COPULA = r"(?:\s(?:è|é|es|est|ist|jest|to|är|er|is|la|le|el|il|lo|die|der|das|que|mà))?"
AHEAD = (
    r"(?:\b(?:nicht|kein(?:e[nmrs]?)?|kaum|statt|anstatt|не|pas|non|não|niet|geen|ikke|inte|nie|nem|bukan"
    r"|no (?:es|son|hay|era|está)|en (?:lugar|vez) de|em vez de|au lieu de|plutôt que|anziché|invece di|không phải)"
    + _COPULA
    + r"\b|\bn['’]est pas|不是|并非|并不是|而非|不等于|不为|不选|ليست?|ไม่ใช่)"
)
"""Source of a pattern for what denies the name behind it."""
BEHIND = (
    r"(?:では(?:な[くい]|ありません)|じゃな[くい]|でな[くい]|[이가]?\s?아[니닙닌]|नहीं|নয়|\bdeğil\b|不是|不对|错误?"
    r"|\b(?:ist (?:nicht|falsch)|no es|n['’]est pas))"
)
"""Source of a pattern for what denies the name before it; particles and counters between them are the caller's."""
ASCII_AHEAD = (
    "nicht kein keine keinen keinem keiner keines kaum statt anstatt pas non niet geen ikke inte nie nem bukan no "
    "invece lugar vez lieu"
)
"""The words of `AHEAD` that a text of ASCII letters can hold."""
