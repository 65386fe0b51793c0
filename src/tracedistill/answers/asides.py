"""Statements beside the answer: questions back, offers, notes, checks, other ways, suppositions."""

from __future__ import annotations

import re

from tracedistill.answers.words import holds_any, word_set

_OPENS = (
    r"[\s>*_#\"'(\[✓✔✅☑🔍🔎💡📝\ufe0f-]{0,12}(?:(?:so|and|now|then|also|finally|but|well|ok|okay|great|indeed|yes|please"
    r"|thus)[,!]?\s{1,12})?"
)
_NOTE = re.compile(
    _OPENS + r"(?:(?:note|notes|nb|n\.b\.|p\.?s\.?|remark|remarks|reminder|tip|hint|fun fact|disclaimer|caveat"
    r"|confidence|explanation"
    r"|reasoning|reason|rationale|justification|assumptions?(?: made| used)?(?=[\s*_]{0,4}[:,])"
    r"|givens?(?=[\s*_]{0,4}:)|source|sources|interpretation|context|comparison"
    r"|for (?:comparison|reference|context|example|instance)|by the way|incidentally|as a (?:side note|bonus)|side note"
    r"|in (?:contrast|comparison)|note that|keep in mind|remember|be aware|interestingly"
    r"|注|注意|备注|说明|解释|Hinweis|Anmerkung|Nota|Remarque|Erklärung|Explicación|Примечание)"
    r"\b[\s*_]{0,12}(?::|that\b|,|(?=\d))|(?:注意|注|备注|说明|解释|解析)[：:，])",
    re.IGNORECASE,
)
_OFFER = re.compile(
    r"\b(?:would you like|do you want|do you need|shall i|should i|can i help|may i|let me know|feel free"
    r"|if you(?:'d| would)? "
    r"(?:like|have|need|want|prefer)|i can also|i could also|i'm happy|i am happy|happy to|i hope|hope (?:this|that)|"
    r"any (?:other |more |further )?questions|need (?:any )?(?:more |further )?help|don't hesitate|thank you"
    r"|thanks for|"
    r"good luck|great job|well done|try (?:it|another|solving)|you (?:can|could|might|may) (?:also |now )?try"
    r"|next problem|another problem|ask (?:me|away|if))\b",
    re.IGNORECASE,
)
_CHECKING = (
    r"(?:(?:as|we|i|you|let'?s|let us|let me|to|can|could|should|may|also|now|quickly|quick|just|final|a|by|first|will"
    r"|i'll|we'll|our|the"
    r"|this|answer|result|work|solution|please)\s{1,12}){0,5}"
    r"(?:(?:double|cross|sanity)[ -]?)?(?:check|checking|verify|verifying|verification|validate|validating|confirm"
    r"|confirming|"
    r"proof|sanity|re-?check|(?:plug(?:ging)?|substitut(?:e|ing))\s(?:\w{1,24}\s){0,4}back)\b"
)
_CHECK = re.compile(
    _OPENS + r"(?:" + _CHECKING + r"|this (?:checks out|makes sense|is (?:consistent|correct|reasonable)|matches"
    r"|fits|agrees)|"
    r"(?:which|that) (?:matches|agrees|checks|fits)|检验|验证|验算|检查|検算|確認|확인|검산|Проверка|Проверим|Перевірка"
    r"|(?:(?:Zur |Die |La |Una )?(?:Probe|Kontrolle|Gegenprobe|Überprüfung|Prova"
    r"|Comprobación|Verificación|Vérification|Verifica|Verificação))\b"
    r"|(?:Vérifions|Vérifiez|Contrôlons|Verifichiamo|Controlliamo|Infatti"
    r"|Comprobemos|Comprobamos|Verifiquemos|Verificamos|Verificando"
    r"|En effet|En efecto|De fato|Com efeito|Überprüfen wir|Prüfen wir|Sprawdźmy|Sprawdzenie|Controle)\b)",
    re.IGNORECASE,
)
_OTHER_WAY = re.compile(
    _OPENS + r"(?:alternative(?:ly)?\b|another (?:way|method|approach|option)\b|(?:a |one )?(?:different|second"
    r"|other|quicker|faster|shorter)"
    r" (?:way|method|approach)\b|you (?:could|can|might) also\b|we (?:could|can|might) also\b|if (?:instead"
    r"|we instead)\b"
    r"|(?:with|at|for|in)\s[^.]{1,60}\byou(?: would|'d)\b"
    r"|otherwise\b|或者|另一种|另外|alternativ\b|alternativement\b|alternativamente\b)",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(
    _OPENS + r"(?:it|this|that|the answer|the result|they) would (?:then |only |also |instead )?(?:be|have been)\b"
    r"[^.!?]{1,80}\b(?:if|when|unless|without|only (?:in|for)|for (?:negative|positive|other|odd|even|larger"
    r"|smaller))\b"
    r"|"
    + _OPENS
    + r"(?:if|suppose|supposing|had|assuming|imagine|even if|unless|were)\b.{0,200}\b(?:would|had|were|could"
    r"|might)\b|[（(「\s]{0,4}(?:如果|假如|假设|要是|若|もし|만약|만일)",
    re.IGNORECASE | re.DOTALL,
)
_OTHER_CASE = re.compile(
    _OPENS + r"(?:if|what if|had|suppose|supposing|imagine|were|in case)\b[^.!?\n]{0,200}?"
    r"\bwould(?: then| instead| rather| also)? (?:be|have been)\b",
    re.IGNORECASE,
)
_ONLY_THEN = re.compile(
    r"\b(?:answer|result|it|this|that) would (?:then |only |also |instead )?(?:be|have been)\b[^.!?;\n]{1,60}?"
    r"\b(?:only (?:if|for|when|in)|if|unless|in case)\b",
    re.IGNORECASE,
)
_CONFIRMS = re.compile(
    r"\bwhich (?:matches|agrees|fits|checks|confirms|is correct|is consistent|is the same|is what|equals the (?:given"
    r"|original|total))\b"
)
_AS_EXPECTED = re.compile(
    _OPENS
    + r"[A-Za-z]{3,12}ing\b[^.!?\n]{1,160}?, (?:just |exactly )?as (?:expected|it should|they should|stated|given"
    r"|required|needed|claimed|in the (?:problem|question))\b",
    re.IGNORECASE,
)
"""`Subtracting 20 gives 135, which is 9 times 15, as expected.`"""
_MEANS = re.compile(
    _OPENS + r"(?:in other words|put differently|put another way|equivalently|to put it|i\.e\.|that is to say)\b"
    r"|(?:つまり|すなわち|言い換えれば|即|也就是说|也就是|换句话说|换言之|즉|다시 말해)[，、,:：]?"
    r"|(?:das heißt|d\.h\.|mit anderen worten"
    r"|c['’]est-à-dire|autrement dit|es decir|o sea|en otras palabras|cioè|in altre parole|ou seja|isto é"
    r"|то есть|иными словами)\b"
    r"|"
    + _OPENS
    + r"(?:that|this|it|which)(?:'s| is| means| works out to| comes out to| comes to| amounts to| represents"
    r"| corresponds to)?"
    r"(?: that)?(?: is| it is| it's)? (?:about|roughly|approximately|around|almost|nearly|just|only|well|slightly"
    r"|a (?:bit|little)|"
    r"more than|less than|over|under|half|twice|double|triple|enough|equivalent|the same as|equal to about)\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[a-z]+")
COMPARISON = "a comparison"
RATE = "a rate"
_RATED = re.compile(
    _OPENS
    + r"(?:that|this|it|which)(?:['’]s| is| was| means| makes| averages?| works out| comes| amounts| gives| leaves)\b"
    r"[^.;\d]{0,24}?(?:\ban? (?:average|mean|rate) of (?:about |roughly )?[$€£]?\d"
    r"|[$€£]?\d[\d.,]{0,12}(?:\s[a-z]{1,12}){0,2}\s(?:per|apiece|each|for (?:each|every)|an? (?:day|week|month|year"
    r"|hour|minute|person|piece))\b)",
    re.IGNORECASE,
)
"""`That's an average of $27 per lamp.`"""
_COMPARES = re.compile(
    _OPENS + r"(?:that|this|it)(?:'s| is| was| makes it)\s(?:about |just |only |exactly )?[$€£]?\d[^.;]{0,40}?"
    r"\b(?:more|less|fewer|higher|lower|greater|longer|shorter|larger|smaller|older|younger|above|below)\b",
    re.IGNORECASE,
)
_HINTS = word_set(
    "note notes nb n p s ps remark remarks reminder tip hint fun disclaimer caveat confidence assumption assumptions "
    "given givens source sources interpretation context comparison reference example instance way incidentally "
    "bonus side contrast "
    "remember aware mind interestingly explanation reasoning reason rationale justification check checking recheck "
    "verify verifying verification validate validating confirm confirming proof sanity plug plugging substitute "
    "substituting checks makes consistent correct reasonable matches fits agrees alternative alternatively another "
    "different second other quicker faster shorter could might instead otherwise if suppose supposing had assuming "
    "imagine unless with at for in were words put equivalently that this it which controle infatti "
    "verifica verifichiamo controlliamo comprobemos comprobamos verifiquemos verificamos verificando prova kontrolle "
    "gegenprobe zur die la una en de com hinweis anmerkung nota remarque probe"
)
_OFFERED = (
    "you", "shall i", "should i", "may i", "let me know", "feel free", "also", "happy", "hope", "question", "help",
    "hesitate", "thank", "luck", "great job", "well done", "try", "next problem", "another problem", "ask ",
)  # fmt: skip
"""Parts of every phrase of `_OFFER`."""
_PARAGRAPH = 1200
"""Characters before a statement in which a check that it belongs to may begin."""
_PARAGRAPH_HINTS = (
    "check", "verif", "confirm", "valid", "proof", "sanity", "plug", "substitut", "makes sense", "consistent",
    "reasonabl", "probe", "prova", "kontroll", "infatti", "comprob",
    "matches", "fits", "agrees", "altern", "another", "different", "quicker", "faster", "shorter",
)  # fmt: skip


def aside(text: str, start: int, end: int) -> str:
    """Return what a statement is, if it is beside the answer (question, offer, note, check, ...).

    Empty if it is not.
    """
    if text[max(start, end - 6) : end].rstrip(" *_)\"'\n").endswith(("?", "？")):
        return "a question"
    stop = min(end, start + 400)
    inner = text[start:end].strip(" *_\n")
    if inner[:1] in ("(", "（") and inner[-1:] in (")", "）") and inner[1:2].isalpha() and inner.count(inner[0]) == 1:
        return "a note"
    low = text[start:stop].lower()
    if (
        _under_remark(text, start)
        or _in_side_section(text, start)
        or (start > 0 and "complement" in low[:40] and _COMPLEMENT.match(text, start, end))
    ):
        return "a note"
    if not low.isascii() or not _HINTS.isdisjoint(_WORDS.findall(low[:80])):
        for name, pattern in _OPENERS:
            if pattern.match(text, start, stop):
                return name
    if "which " in low and _CONFIRMS.search(low):
        return "a check"
    if ", " in low and " as " in low and _AS_EXPECTED.match(text, start, stop):
        return "a check"
    if _offers(low):
        return "an offer"
    return ""


def _offers(low: str) -> bool:
    """Return whether a text in lower case offers something, or takes its leave."""
    return holds_any(low, _OFFERED) and _OFFER.search(low) is not None


def _under_remark(text: str, start: int) -> bool:
    """Return whether a paragraph opens with `**Remark.**` or the like, which its sentences belong to."""
    floor = max(0, start - _PARAGRAPH)
    head = max(text.rfind("\n\n", floor, start) + 2, text.rfind("\n", floor, start) + 1)
    return _REMARK.match(text, head, head + 40) is not None


def _in_side_section(text: str, start: int) -> bool:
    """Return whether a statement is an item under `Assumptions made:`, or in a section headed `## Extra`."""
    floor = max(0, start - _PARAGRAPH)
    if not start:
        return False
    own = text[text.rfind("\n", 0, start) + 1 : start + 12]
    is_item = _ITEM.match(own.lstrip("\n")) or _ITEM.match(text[start : start + 24].lstrip("\n"))
    # plain searches first: the pattern of all words costs most
    if not is_item and text.find("#", floor, start) < 0 and text.find("**", floor, start) < 0:
        return False
    low = text[floor:start].lower()
    if not holds_any(low, _SIDE_PARTS):
        return False
    heading = None
    for heading in _HEADED.finditer(text, floor, start):  # noqa: B007  (the last is wanted)
        pass
    if heading is not None and heading.start() > 0 and _SIDE_HEAD.match(text, heading.start(), heading.end()):
        return True
    lines = text[floor:start].splitlines()
    if text[start - 1] != "\n" and lines:
        lines.pop()  # of the statement's own line
    if not is_item:
        return False
    above = next((line for line in reversed(lines) if line.strip() and not _ITEM.match(line)), "")
    return above.rstrip(" *_").endswith(":") and _SIDE_HEAD.match(above) is not None


_SIDE = (
    r"(?:(?:my|our|key|some|further|additional|underlying|other|side)\s)?(?:assumptions?|caveats?|extras?|bonus|sources?"
    r"|notes?|remarks?|comments?|what if|follow[- ]?ups?|extensions?|fun facts?|going further|limitations?)"
)
_SIDE_PARTS = (
    "assumption", "caveat", "extra", "bonus", "source", "note", "remark", "comment", "what if", "follow", "extension",
    "fun fact", "going further", "limitation",
)  # fmt: skip
"""Parts of every word of `_SIDE`."""
_SIDE_HEAD = re.compile(rf"[\s*_#>]{{0,8}}{_SIDE}\b[^\n.]{{0,30}}", re.IGNORECASE)
_HEADED = re.compile(r"^[ >]{0,4}(?:#{1,6}\s[^\n]{1,60}|\*\*[^*\n]{1,60}\*\*:?)[ ]{0,3}$", re.MULTILINE)
"""Lines that head a section."""
_ITEM = re.compile(r"\s{0,6}(?:[-*•+]|\(?\d{1,2}[.)])\s")
_REMARK = re.compile(
    r"[\s*_#>(]{0,8}(?:remark|note|comment|observation|generali[sz]ation|corollary|aside|side note|extension"
    r"|bemerkung|anmerkung|remarque|nota|observación|замечание)s?[*_]{0,3}[.:][*_\s]",
    re.IGNORECASE,
)
_COMPLEMENT = re.compile(
    r"[\s*_(]{0,6}(?:the|its|their)\s(?:probability of the )?complement(?:ary)?\b(?!.{0,200}\b(?:so|hence|thus"
    r"|therefore"
    r"|1\s?-)\b)",
    re.IGNORECASE,
)
"""`The complementary probability is 3/8.` behind an answer."""


_OPENERS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a note", _NOTE), ("a check", _CHECK), ("another way", _OTHER_WAY), ("a supposition", _SUPPOSED),
    (RATE, _RATED), ("an interpretation", _MEANS), (COMPARISON, _COMPARES),
)  # fmt: skip


def of_other_case(text: str, start: int, end: int) -> bool:
    """Return whether a statement says what would be if something else were asked or given."""
    if text.find("would", start, end) < 0:
        return False
    return _OTHER_CASE.match(text, start, end) is not None or _ONLY_THEN.search(text, start, end) is not None


_REFUSES = re.compile(
    r"\b(?:can(?:no|['’])t|can not|could(?:n['’]t| not)|won['’]t|will not|unable to|not able to|not allowed to"
    r"|do(?:es)?n['’]t|do not)\s(?:\w{1,12} )?"
    r"(?:help|answer|solve|say|determine|tell|provide|assist|know|calculate|identify|comply|be (?:determined"
    r"|answered|known"
    r"|said|calculated|computed|solved))\b"
    r"|(?:\bnot|n['’]t|\bin)[\s-]?(?:enough|sufficient) (?:information|data|detail)",
    re.IGNORECASE,
)
_GOES_ON = re.compile(
    r",? but\b|\bhowever\b|\byet\b|\\boxed|\banswer\b.{0,12}(?:is|:)|####|\b(?:so|therefore|thus|hence)\b",
    re.IGNORECASE,
)
_SORRY = re.compile(
    r"\W{0,4}(?:(?:i am |i['’]m )?(?:very |so )?sorry|unfortunately|hello|hi)\b[^.!?]{0,30}[.!?]", re.IGNORECASE
)
_REFUSAL_HINTS = ("n't", "n’t", "not ", "unable", "insufficient")


def refuses(text: str) -> bool:
    """Return whether a text opens with a refusal to answer and states nothing as its answer after it."""
    head = text[:240].lower()
    if not holds_any(head, _REFUSAL_HINTS):
        return False
    first = _SENTENCE.search(text)
    if first is not None and _SORRY.match(text, 0, first.start() + 1):
        first = _SENTENCE.search(text, first.end())
    match = _REFUSES.search(text, 0, min(first.start() + 1 if first else len(text), 240))
    return match is not None and _GOES_ON.search(text, match.end()) is None


def under_aside(text: str, start: int) -> str:
    """Return the aside that an earlier sentence of the same paragraph opens (`Let's verify. 60 + 100 = 160.`).

    Else empty.
    """
    floor = max(0, start - _PARAGRAPH)
    begin = max(text.rfind("\n\n", floor, start) + 2, floor) if "\n\n" in text[floor:start] else floor
    before = text[begin:start]
    if before.isascii() and not holds_any(before.lower(), _PARAGRAPH_HINTS):
        return ""
    for name, pattern in _OPENERS[1:3]:
        if pattern.match(before):
            return name
    for match in _SENTENCE.finditer(before):
        for name, pattern in _OPENERS[1:3]:
            if pattern.match(before, match.end()):
                return name
    return ""


_SENTENCE = re.compile(r"(?:[.!?:。！？][*\"')\]]{0,12}\s|\n)(?=\s{0,12}\S)")
