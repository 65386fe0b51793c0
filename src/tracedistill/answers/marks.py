"""Marks of an answer: `The answer is`, `**Answer**:`, `####`, a heading, JSON, and the words of other languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from tracedistill.answers.words import DOUBT, holds_any

_DRESS = r"[\s*_`\"'»”]{0,8}"
_ENGLISH = (
    # the answer is, my final answer to the question would be, final result:
    r"\b(?:the|my|our|your|final|correct|full|written|this|so|best|right"
    r"|possible)\s{1,4}(?:\w{1,16}\s{1,4})?(?:answers?"
    r"|(?<=final )result)\b"
    r"(?:\s{1,4}(?:to|for)\s[^.:\n]{1,60}?)?" + _DRESS + r"(?:is|are|would be|will be|should be|must be|comes to|=|:"
    r"|->|=>|→)"
    # answer: 5, **Answer**: B, "answer": 5, answer is 5
    r"|\banswer\s[-–—]\s(?=\S)"
    r"|\banswer\b(?:\s?\([^()\n]{1,40}\))?" + _DRESS + r"(?::|=|is\b|->|=>|→)"
    r"|(?:(?<=\n)|\A)[\s*]{0,8}(?:A|Ans|Result|Solution|Output)" + _DRESS + r":(?=[\s*$\\])"
    r"|(?:(?<=\n)|\A)[ \t]{0,4}(?:#{1,6}[ \t]{0,4}|\*\*)(?:the[ \t])?(?:final[ \t]|correct[ \t])?(?:answer"
    r"|result)\**[ \t]{0,4}\n"
    r"|####(?!#)(?!\s{0,4}(?:\d{1,3}[.)]\s|(?:step|part|check|verif|note|expl|solution|calc|concl|altern|summary"
    r"|given|problem"
    r"|question|final answer|answer|reason|understand|identif|find|determin|comput|set)))"
)
_OTHER_LANGUAGES = (
    r"(?:最终答案|最後の答え|正确答案|答案|答え|正解|解答|回答|结果|최종 답|정답|답|答)"
    + _DRESS
    + r"(?:应该是|应为|就是|是|为|為|は|が|을|는|은|:|=|选|選|就)"
    r"|\b(?:antwort|ergebnis|lösung|l[oö]sungsbuchstabe)\b" + _DRESS + r"(?:ist(?: also)?|lautet|beträgt|wäre|:|=)"
    r"|\b(?:respuesta|resultado|resposta|risposta|réponse|reponse|résultat|risultato|solución|antwoord|svar(?:et)?"
    r"|vastaus|odpověď|odpowiedź"
    r"|jawaban|yanıt|cevap|răspuns(?:ul)?|válasz|đáp án|câu trả lời|ответ|відповідь|απάντηση|svaret)\b"
    r"(?:\s\w{3,12}){0,2}"
    + _DRESS
    + r"(?:es|est|è|é|is|är|er|on|je|to|là|adalah|este|is|а|—|–|-|:|=)(?=[\s*:\"'«$\\\d(]|$)"
    r"|(?:الإجابة|الجواب|الاجابة|پاسخ|उत्तर|תשובה|คำตอบ|উত্তর)(?: (?:النهائية|الصحيحة|هي|هو|है|כמות"
    r"|คือ))*" + _DRESS + r"(?:هي|هو|है|คือ|:|=)?"
)
_AROUND = r"[\s:*_\"'`»«“]{0,12}"
_ANSWER = re.compile(rf"(?:{_ENGLISH}|{_OTHER_LANGUAGES}){_AROUND}", re.IGNORECASE)
_ENGLISH_ANSWER = re.compile(rf"(?:{_ENGLISH}){_AROUND}", re.IGNORECASE)
"""Half of the cost; see `_marks`."""
_FOREIGN_HINTS = (
    "ntwort", "rgebnis", "sungsbuch", "espuesta", "esulta", "esposta", "isposta", "eponse", "isultato", "ntwoord",
    "svar", "astaus", "awaban", "evap",
)  # fmt: skip
"""Parts of the other languages' marks in plain letters."""
_HINT = re.compile(
    r"nswer|NSWER|esult|\bA:|\bAns|####|olution|utput|答|结果|正解|답|ntwort|rgebnis|ösung|espuesta|esposta|isposta|éponse"
    r"|eponse|"
    r"ésultat|isultato|olución|ntwoord|[Ss]var|astaus|dpově|dpowied|awaban|anıt|evap|ăspuns|álasz|áp án|âu tr|твет"
    r"|ідповід|πάντηση|"
    r"إجابة|جواب|اجابة|پاسخ|उत्तर|תשובה|คำตอบ|উত্তর|RESPUESTA|ANTWORT|RÉPONSE|ОТВЕТ",
)
_STRONG = re.compile(
    # a line that is nothing but `Answer: 126 loaves`
    r"(?:(?<=\n)"
    r"|\A)[ \t*_#>]{0,6}answer[*_ ]{0,3}:[*_ $]{0,6}-?\d[\d.,]{0,20}[%*_]{0,3}(?: [A-Za-z]{1,15}){0,3}"
    r"[.*_ ]{0,4}(?=\n|\Z)|"
    r"\\boxed|\bfinal(?: numerical| numeric)? answer\b|####(?!#)\s{0,4}[-$€£(]?\d|最终答案|最終的?な?答え|최종 답"
    r"|\bendgültige antwort|\brespuesta final|\bréponse finale|\bresposta final|\brisposta finale|итоговый ответ"
    r"|окончательный ответ",
    re.IGNORECASE,
)
_CORRECTION = re.compile(
    r"\b(?:wait\b|actually\b|correction\b|(?:made|was) an? (?:mistake|error)|apolog|sorry\b|oops\b|scratch that"
    r"|on second thought|"
    r"let me (?:re-?check|redo|recalculate|correct|reconsider|try again)|should (?:actually|instead) be)",
    re.IGNORECASE,
)
_NOT_A_VALUE = re.compile(
    r"[\s*]{0,8}(?:correct|right|wrong|reasonable|accurate|consistent|valid|incorrect|in terms|given by|round|express|"
    r"to\b|obtained|found by|based on|as follows\s*[.\n]|below|above|the same|unknown\b)",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"[\s*]{0,8}(?:not|n['’]t|never|definitely not|certainly not|clearly not|nicht|kein|pas|no es|non|não|не|不是"
    r"|niet)\b(?! (?:only|just))"
    r"|[\s*]{0,8}不是",
    re.IGNORECASE,
)
_CHECKED = re.compile(
    r"\b(?:check|checking|verify|verifying|confirm|round|rounding|write|express"
    r"|(?:thought|assumed|guessed|believed|suspected)(?: that)?)\s{0,4}\Z",
    re.IGNORECASE,
)
_NEGATED_MARK = re.compile(
    r"(?:\banswers?|\bresult|答案)\s{0,4}(?:isn['’]t|is not|is never|cannot be|can['’]t be|can not be|would not be"
    r"|wouldn['’]t be|不是|不为|"
    r"should not be|shouldn['’]t be|must not be|ist nicht|no es|n['’]est pas|не|não é|non è)",
    re.IGNORECASE,
)


_DOUBT = re.compile(
    r"\b(?:do(?:es)?n['’]?t|do(?:es)? not|did not|didn['’]t) (?:think|believe|know|agree|mean)\b|\b"
    + DOUBT
    + r"\b|\bunlikely\b"
    r"|\bnot (?:true|the case|convinced|sure) (?:that|if|whether)\b|\bcan['’]t be (?:true|right) that\b",
    re.IGNORECASE,
)
_NEGATED_PARTS = ("answer", "result", "答案")
_DOUBT_PARTS = ("think", "believe", "know", "agree", "mean", "doubt", "unlikely", "not ", "t be true", "t be right")
"""Parts of every phrase of `_NEGATED_MARK`, and of `_DOUBT`."""
_BUT = re.compile(r"\bbut\b|\binstead\b|\brather\b|[;:]|, so\b|, it\b", re.IGNORECASE)


_ASCII_HINTS = (
    "nswer", "A:", "esult", "####", "NSWER", "Ans", "olution", "utput", "ntwort", "rgebnis", "espuesta", "esposta",
    "isposta", "eponse", "isultato", "ntwoord", "svar", "Svar", "astaus", "awaban", "evap", "RESPUESTA", "ANTWORT",
)  # fmt: skip


_LEAD = 64
"""Most characters of a mark before the part of it that `_HINT` knows: `the best possible` or `###### the final`."""


def _first_hint(text: str, start: int, end: int) -> int:
    """Return where the first part of an answer mark stands in a sentence; -1 if there is none.

    Finding plain strings costs a fifth of the pattern.
    """
    if not text.isascii():
        match = _HINT.search(text, start, end)
        return -1 if match is None else match.start()
    places = [at for at in map(text[start:end].find, _ASCII_HINTS) if at >= 0]
    return start + min(places) if places else -1


def _marks(text: str, start: int, end: int, hint: int) -> Iterator[re.Match[str]]:
    """Yield the marks of a sentence in their order, from the first that the part of a mark at `hint` may belong to."""
    foreign = not text.isascii() or holds_any(text[start:end].lower(), _FOREIGN_HINTS)
    return (_ANSWER if foreign else _ENGLISH_ANSWER).finditer(text, max(start, hint - _LEAD), end)


@lru_cache(maxsize=256)
def last_mark(text: str, start: int, end: int) -> int | None:
    """Return the index where the value begins after the last `answer is` of a sentence; None without such a mark."""
    hint = _first_hint(text, start, end)
    if hint < 0:
        return None
    at = None
    for match in _marks(text, start, end, hint):
        if match.end() == match.start():
            continue
        if (
            not _NOT_A_VALUE.match(text, match.end(), end)
            and not _DENIAL.match(text, match.end(), end)
            and not _CHECKED.search(text[max(start, match.start() - 16) : match.start()])
        ):
            at = match.end()
    return at


def denied(text: str, start: int, end: int) -> bool:
    """Return whether a sentence only says what the answer is not."""
    hint = _first_hint(text, start, end)
    if hint < 0:
        return False
    low = text[start:end].lower()
    if holds_any(low, _NEGATED_PARTS) and _NEGATED_MARK.search(text, start, end):
        return True
    doubt = _DOUBT.search(text, start, end) if holds_any(low, _DOUBT_PARTS) else None
    if doubt is not None and not _BUT.search(text, doubt.end(), end):
        return True
    match = next(_marks(text, start, end, hint), None)
    return match is not None and _DENIAL.match(text, match.end(), end) is not None


_BINDING = (
    "\\boxed", "####", "final answer", "answer:", "answer**:", "final numerical answer", "final numeric answer",
    "respuesta final", "resposta final", "risposta finale",
)  # fmt: skip
_BINDING_WIDE = (
    *_BINDING, "最终答案", "最終", "최종 답", "endgültige antwort", "réponse finale", "итоговый ответ",
    "окончательный ответ",
)  # fmt: skip
"""Parts of every mark that binds, in lower case: finding them costs less than the pattern."""


def may_bind(text: str) -> bool:
    """Return whether a text may hold a mark that binds at all."""
    return holds_any(text.lower(), _BINDING if text.isascii() else _BINDING_WIDE)


def last_strong(text: str, end: int, window: int = 8000) -> int:
    """Return the start of the last binding mark; -1 if there is none, or a correction follows it."""
    floor = max(0, end - window)
    part = text[floor:end]
    begin = max(map(part.lower().rfind, _BINDING if part.isascii() else _BINDING_WIDE))
    if begin < 0:
        return -1
    begin = max(0, begin - 12)  # the decoration of a line precedes its mark
    at = -1
    for start in (floor + begin, floor) if begin else (floor,):
        for match in _STRONG.finditer(text, start, end):
            at = match.start()
        if at >= 0:
            break
    return -1 if at >= 0 and _CORRECTION.search(text, at, end) else at


def corrected(text: str, start: int, end: int) -> bool:
    """Return whether a writer takes something back (`wait`, `actually`, `I made a mistake`) between two places."""
    return _CORRECTION.search(text, start, end) is not None


def heading(line: str) -> bool:
    """Return whether a line is a heading that announces the answer, such as `### Final Answer` or `**Answer**`."""
    return len(line) < 60 and _HEADING.fullmatch(line.strip()) is not None


_HEADING = re.compile(
    r"(?:#{1,6}\s{0,4}|\*\*|__)?\s?(?:✅\s?)?(?:the )?(?:final |correct |our )?(?:answer|result|solution|答案|最终答案"
    r"|答え|antwort|respuesta|réponse|ответ)"
    r"\s?[:：]?(?:\*\*|__)?\s?[:：]?",
    re.IGNORECASE,
)
RUN_ON = re.compile(
    r"\n[ \t]{0,4}(?:[#*]{1,6}[ \t]{0,4})?(?:next[ \t]|new[ \t]|another[ \t])?(?:question|problem|q|exercise|user"
    r"|human|input|instruction|问题|問題|题目)"
    r"[ \t]{0,4}(?:\d{1,3})?[*_ \t]{0,4}[:：.]",
    re.IGNORECASE,
)
"""A new problem with which a base model continues after its answer."""


def has_placeholder(text: str) -> bool:
    """Return whether a template's place stands after the last mark; the few places it may be in are looked at first."""
    at = 0
    while not _PLACEHOLDER.match(text, at):
        at = text.find(":", at) + 1
        if not at:
            return False
    mark = last_mark(text, 0, len(text))
    return mark is not None and _PLACEHOLDER.match(text, text.rfind(":", 0, mark) + 1) is not None


_PLACEHOLDER = re.compile(
    r"[\s*_`$]{0,6}(?:[<\[{(]{1,2}\s?(?:(?:your|the|final|numeric|numerical|insert|correct|some|a)\s){0,3}"
    r"(?:answer|number|value|result|letter|choice|option|integer|name|text)(?:\s(?:here|goes here))?\s?[>\]})]{1,2}"
    r"|_{3,}|\?{2,}|\.{3}|…|tbd\b|n/a\b)[\s*_`$.]{0,6}(?:\n|\Z)",
    re.IGNORECASE,
)
"""A template's place for an answer, left as it was."""
