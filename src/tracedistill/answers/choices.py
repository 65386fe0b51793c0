"""Reads which of several choices a text settles on, by letter or by the words of the choice.

What is marked as the answer goes first, whatever explanation follows it; then a first line that is nothing but a
letter; then the last statement that names exactly one choice. A choice that is denied (`not A`, `A is wrong`) is not
named, and of `A or B` neither is.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from functools import lru_cache

from tracedistill.answers.asides import aside, of_other_case
from tracedistill.answers.choice_labels import label_of, labelled, undressed
from tracedistill.answers.cleaning import plain
from tracedistill.answers.marks import corrected, denied, last_mark
from tracedistill.answers.policy import Extracted
from tracedistill.answers.refuted import REFUTED
from tracedistill.answers.statements import Statement, backwards
from tracedistill.answers.words import DOUBT, word_set

_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,4}\{")
_CHOICE_MARK = re.compile(
    r"\b(?:correct|right|best|final|chosen|selected|most (?:likely|accurate|appropriate))\s(?:option|choice|letter"
    r"|one|alternative|statement)s?\b"
    r"[\s*_\"']{0,4}(?:is|was|would be|:|=)[\s:*_\"'(]{0,8}"
    r"|(?:(?<=\n)|\A)[\s*_#>-]{0,6}(?:option|choice|letter|selection|pick|prediction"
    r"|label)[\s*_\"']{0,4}[:=][\s:*_\"']{0,8}"
    r"|[\"'](?:choice|option|label|letter|prediction|selected|final_answer|selection)[\"']\s?:\s?[\"']?"
    r"|(?<![会能误错多人不别])(?:正确选项|应选|故选|选择|答案选|选(?!项|择))(?:是|为|:)?\s{0,3}"
    r"|(?:选项|選択肢)(?:是|为|:|は)\s{0,3}"
    r"|\b(?:opción|opcion|alternativa|opzione|option) (?:correcta|correta|corretta|correcte)\s(?:es|é|è|est"
    r"|:)?[\s:*]{0,4}"
    r"|\b(?:i(?:['’](?:d|ll)| would| will)?|we(?:['’](?:d|ll)| would| will)?)"
    r" (?:pick|choose|chose|select|go with|opt for)[\s:*_\"'(]{0,8}"
    r"|\bmy (?:pick|choice|selection|guess|vote) is[\s:*_\"'(]{0,8}"
    r"|правильный (?:вариант|ответ)\s?[-—–:]?\s{0,3}|richtig ist\s{0,3}",
    re.IGNORECASE,
)
_SETTLES = re.compile(
    r"\b(?:only|clearly|definitely|obviously|certainly|probably|surely|must be|has to be|should be|would be|will be"
    r"|is definitely|is clearly|is|it's|be|pick|choose|chose|select"
    r"|selected|choosing|picking"
    r"|selecting|go with|going with|going for|opt for|answer|answering|say|saying|settle on|leaves|leaving|left with"
    r"|remains|conclude|favou?rs?"
    r"|points to|matches|corresponds to|therefore|so|thus|hence|option|choice)\b[\s,:*_\"'(]{0,6}(?:us with\s|only\s"
    r"|with\s|option\s|choice\s|answer\s|letter\s)?"
    r"[\s*_\"'(]{0,4}\Z",
    re.IGNORECASE,
)
_LABEL_FIRST = re.compile(r"\s{0,9}[*(]{0,3}([A-Z])[).:]{1,2}[*]{0,2}\s{1,4}(?=[A-Z])")
_LABEL_LATER = re.compile(r"(?:[.;!?]\s|\n)[\s*(-]{0,6}[A-Z][).:]{1,2}[*]{0,2}\s")
_TICKED = re.compile(
    r"^[\s*•>(-]{0,9}([A-Za-z])[).:*]{1,3}\s[^\n✗✘❌]{0,200}"
    r"(?:[✅✓✔☑]|[-–—:(]\s{0,3}(?:the\s)?(?:correct|right|true)\b)[^\n]{0,80}$",
    re.MULTILINE,
)
_CROSSED = re.compile(
    r"^[\s*•>(-]{0,9}[A-Za-z][).:*]{1,3}\s[^\n]{0,200}(?:[✗✘❌]|\bincorrect\b|\bwrong\b)", re.MULTILINE
)
_WRONG = re.compile(r"\b(?:wrong|incorrect|not|false|no)\b", re.IGNORECASE)
_CHOSEN = re.compile(
    r"\b(?:only|pick|choose|chose|select|go with|going with|opt for|answer is|must be"
    r"|(?:has|have|had|got|ought) to be|so it's|so it is)[\s:*_\"'(]{1,6}\Z",
    re.IGNORECASE,
)
_THOUGHT = re.compile(r"\b(?:thought|assumed|guessed|believed|suspected)\b[^.;,]{0,28}\Z", re.IGNORECASE)
_PROVEN = re.compile(
    r"[\s)*_\"'.:,]{0,6}(?:is|are|seems|looks|appears|fits|must be|would be|it is\b|makes the most sense|works"
    r"|remains)\s?"
    r"(?:(?:the|a|an|to be|most|likely|definitely|clearly|therefore|thus|obviously)\s){0,4}"
    r"(?:correct|right|best|answer|true|only|one|most|good|better|appropriate|accurate|valid|choice|option|\Z|[.!])?",
    re.IGNORECASE,
)
_NOT_BEFORE = re.compile(
    r",\s{0,3}not\s(?!only\b|just\b)(?:(?!\bbut\b|\brather\b)[^.;:]){0,60}\Z|"
    r"\b(?:" + DOUBT + r"|do(?:es)?n['’]t (?:think|believe)|do(?:es)? not (?:think|believe)|unlikely)\b[^.;,]{0,30}\Z|"
    r"(?:\b(?:not|never|neither|nor|rather than|instead of|than|except|unlike|besides|other than|aside from"
    r"|eliminat\w{0,24}|ruled? out|ruling out"
    r"|rules out|exclud\w{0,24}|reject\w{0,24}|discard\w{0,24}|dismiss\w{0,24}|cannot be|without|against|over|wrong"
    r"|incorrect|nicht"
    r"|no es|n'est pas|pas|не|non è|não é|kein)"
    r"|n['’]t|不是|而不是|不选|ではなく)(?:\s{0,3}(?:be|been|to|option|choice|answer|letter|the|a|an|it|is|for|with|by|from|in|on|of|due|because|through"
    r"|its|their|his|her|both|either"
    r"|[:(*\"'_])){0,6}[\s(*\"'_:]{0,6}\Z",
    re.IGNORECASE,
)
_AUX = r"(?:is|are|was|were|can|could|would|does|do|did|has|have|seems?|looks?|must|should|will|may|might)"
_NOT_AFTER = re.compile(
    r"[\s)*_\"'.,:]{0,6}(?:(?:which|that|it|this|also|both|all|choice|option)\s){0,2}"
    rf"(?:{_AUX}\s?(?:be\s)?(?:also\s|clearly\s|both\s|all\s|simply\s|probably\s|definitely\s)?(?:not\b(?! only)"
    rf"|n['’]t\b|never\b)"
    rf"|(?:{_AUX}\s?)?(?:be\s)?(?:also\s|clearly\s|both\s|all\s|simply\s|probably\s|definitely\s)?"
    r"(?:the\s|an?\s)?(?:incorrect|wrong|false|eliminated|ruled out|excluded|unlikely|impossible|irrelevant|too\b)"
    r"|(?:can|wo)(?:not|['’]t)\b|is out\b|fails?\b|不对|错|不正确|不是|ist nicht|ist falsch|no es|n['’]est pas|не"
    r"|" + REFUTED + r")",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"[\s)*_\"'.]{0,6}(?:,|/|&|\band\b|\bor\b|\bas well as\b|\boder\b|\bund\b|\bo\b|\by\b|\bou\b|\bet\b|或|和|または"
    r"|и\b|или\b)[\s(*_\"']{0,6}"
    r"(?:(?:or|and|both|maybe|perhaps|possibly|either|option|choice|the|a|an)\s){0,3}[(*_\"']{0,3}\Z",
    re.IGNORECASE,
)
_OR = re.compile(
    r"[\s)*_\"'.,]{0,6}(?:/|\bor\b|\boder\b|\bo\b|\bou\b|或者?|还是|または|か|또는|\bили\b)[\s(*_\"']{0,6}"
    r"(?:(?:maybe|perhaps|possibly|even|else|option|choice|选项)\s?){0,2}[(*_\"']{0,3}\Z",
    re.IGNORECASE,
)
_EITHER = re.compile(r"\b(?:either|both|neither|between)\s[^.]{0,20}\Z", re.IGNORECASE)
_DRESS = re.compile(
    r"[\s:*_\"'`(\[«“-]*+(?:(?:the|an?|option|choice|letter|answer|is|definitely|clearly|number"
    r"|probably|most likely|la|el|le|il|lo|o|die|der|das|het|lettre|letra|lettera|buchstabe|opción|opção|opzione"
    r"|antwort|réponse|respuesta|risposta|resposta|вариант|буква|ответ)\b\s*+[\s:*_\"'`(\[]*+)*",
    re.IGNORECASE,
)
_NAMED_LETTER = word_set(
    "vitamin hepatitis plan group point class type grade team box block figure part section step blood"
)
_LOOK_BACK = 40


@dataclass(frozen=True, slots=True)
class _Named:
    """A choice that a text names at a place."""

    start: int
    end: int
    letter: str
    by_words: bool


def read_choice(text: str, closed: tuple[str, ...] = ()) -> Extracted:
    """Return the choice that a text settles on, its `value` the letter."""
    clean = plain(text)
    short = clean.strip()
    whole = label_of(short, closed) if len(clean) <= 400 and "\n" not in short else None
    if whole is not None:
        return Extracted(text.strip(), whole, "the whole text", (0, len(text)))
    reader = _ChoiceReader(text, undressed(clean), clean, closed)
    return reader.read()


class _ChoiceReader:
    """Finds the choice of one text; `bare` is the text without LaTeX, character for character."""

    def __init__(self, text: str, bare: str, clean: str, closed: tuple[str, ...]) -> None:
        self.text, self.bare, self.clean, self.closed = text, bare, clean, closed
        self.statements: list[Statement] = []

    def read(self) -> Extracted:
        box = self._box()
        ticked = self._ticked() if box is None and _CROSSED.search(self.clean) else None
        if ticked is not None:
            return ticked
        loose: Extracted | None = None
        supposed: Extracted | None = None
        lead = self._first_line()
        refused: set[str] = set()
        for count, statement in enumerate(backwards(self.clean, len(self.clean))):
            if count > _LOOK_BACK:
                break
            if box is not None and statement.end <= box[1] + 1:
                return self._boxed(box, loose)
            begin = self._marked(statement)
            if begin is not None or denied(self.clean, statement.start, statement.end):
                if denied(self.clean, statement.start, statement.end):
                    choice = self._only(self._mentions(statement.start, statement.end, loose=True))
                    if choice is not None:
                        return self._extracted(choice, "stated as the answer")
                    refused |= {one.letter for one in self._mentions(statement.start, statement.end, loose=True)}
                    continue
                if loose is not None and corrected(self.clean, statement.end, len(self.clean)):
                    return loose
                assert begin is not None
                if self.clean[max(begin, statement.end - 3) : statement.end].rstrip(" *\"').").endswith("?"):
                    continue
                marked = self._stated(begin, statement.end)
                if marked is not None and of_other_case(self.clean, statement.start, statement.end):
                    supposed = supposed or marked
                    continue
                if marked is not None:
                    return marked
                refused |= self._refused(statement)
                continue
            if loose is None and aside(self.clean, statement.start, statement.end) not in {"a question", "an offer"}:
                choice = self._one(statement.start, statement.end)
                refused |= self._refused(statement)
                if choice is not None and choice.letter not in refused:
                    loose = self._extracted(choice, "named in the final statement")
        if box is not None:
            return self._boxed(box, loose)
        if lead is None and loose is None:
            lead = self._ticked()
        if (
            lead is not None
            and lead.value not in refused
            and not (loose is not None and corrected(self.clean, 0, len(self.clean)))
        ):
            return lead
        return loose or supposed or Extracted(None, None, "no statement names exactly one choice")

    def _box(self) -> tuple[int, int] | None:
        """Start and end of what the last box holds."""
        box = None
        for box in _BOX.finditer(self.clean, max(0, len(self.clean) - 20_000)):  # noqa: B007  (the last is wanted)
            pass
        if box is None:
            return None
        line = self.clean.find("\n", box.end())
        return box.end(), min(len(self.clean) if line < 0 else line, box.end() + 300)

    def _boxed(self, box: tuple[int, int], loose: Extracted | None) -> Extracted:
        depth, end = 1, box[1]
        for at in range(box[0], box[1]):
            depth += {"{": 1, "}": -1}.get(self.clean[at], 0)
            if depth == 0:
                end = at
                break
        if loose is not None and corrected(self.clean, end, len(self.clean)):
            return loose
        return self._stated(box[0], end) or Extracted(None, None, "the box names no choice")

    def _first_line(self) -> Extracted | None:
        """Return a first line that is a letter, or a letter and its words, before an explanation."""
        head = len(self.bare) - len(self.bare.lstrip())
        line = self.bare.find("\n", head)
        label = _LABEL_FIRST.match(self.bare, head)
        if label and _letters(self.closed).fullmatch(label[1]) and not _LABEL_LATER.search(self.bare, label.end()):
            named = _Named(label.start(1), label.end(1), label[1], by_words=False)
            clause = re.split(r"[.;\n]", self.bare[label.end() : label.end() + 200], maxsplit=1)[0]
            if not self._denied(named) and not _WRONG.search(clause):
                return self._extracted(named, "the first line")
        if line < 0 or line - head > 300:
            return None
        letter = label_of(self.bare[head:line].strip(" *_#"), self.closed)
        return None if letter is None else Extracted(self.text[head:line], letter, "the first line", (head, line))

    def _refused(self, statement: Statement) -> set[str]:
        """Return the letters of the choices that a statement denies."""
        named = self._mentions(statement.start, statement.end, loose=True)
        return {one.letter for one in named if self._denied(one)}

    def _ticked(self) -> Extracted | None:
        """Return the choice of the only ticked line of a list of choices (`B) copper ✅`)."""
        found = [match for match in _TICKED.finditer(self.bare) if _letters(self.closed).fullmatch(match[1])]
        if len(found) != 1:
            return None
        named = _Named(found[0].start(1), found[0].end(1), found[0][1].upper(), by_words=False)
        return self._extracted(named, "the only one ticked")

    def _marked(self, statement: Statement) -> int | None:
        """Return the index where the value of a marked statement begins."""
        at = last_mark(self.clean, statement.start, statement.end)
        for match in _CHOICE_MARK.finditer(self.clean, statement.start, statement.end):
            at = max(at or 0, match.end())
        return at

    def _stated(self, begin: int, end: int) -> Extracted | None:
        """Return the choice right after a mark, else the only one named after it, or None."""
        named = self._mentions(begin, end, loose=True)
        if not named:
            return None
        lead = _DRESS.match(self.bare, begin, end)
        first = named[0]
        if lead is not None and first.start <= lead.end() and not self._denied(first):
            other = next((one for one in named[1:] if one.letter != first.letter), None)
            if other is not None and _JOINED.fullmatch(self.bare, first.end, other.start) and not self._denied(other):
                return Extracted(None, None, "several choices are stated")
            return self._extracted(first, "stated as the answer")
        chosen = self._only(named)
        return None if chosen is None else self._extracted(chosen, "stated as the answer")

    def _one(self, begin: int, end: int) -> _Named | None:
        """Return the one choice that a statement names."""
        return self._only(self._mentions(begin, end, loose=False))

    def _only(self, named: list[_Named]) -> _Named | None:
        kept = [one for one in named if not self._denied(one)]
        if len({one.letter for one in kept}) > 1:
            kept = self._settled(kept)
        if len({one.letter for one in kept}) != 1 or _EITHER.search(
            self.bare[max(0, kept[0].start - 30) : kept[0].start]
        ):
            return None
        # beside a denied one (`A or B`, neither of them) nothing is left over
        for one in named:
            if one.letter != kept[0].letter and one.end <= kept[0].start:
                between = self.bare[one.end : kept[0].start]
                if len(between) < 12 and re.search(r"\b(?:or|nor|and)\b", between):
                    return None
        return next((one for one in kept if not self._tied(one)), None)

    def _tied(self, one: _Named) -> bool:
        """Return whether `or` or a slash ties a choice to another letter, which nothing else vouches for."""
        near = self._mentions(max(0, one.start - 24), one.end + 24, loose=True)
        pairs = itertools.pairwise(near)
        return any(
            left.letter != right.letter
            and one.start in (left.start, right.start)
            and _OR.fullmatch(self.bare, left.end, right.start)
            for left, right in pairs
        )

    def _settled(self, kept: list[_Named]) -> list[_Named]:
        """Return the choice that a word such as `I choose` settles on, unless `or` ties it to another."""
        before = {one: self.bare[max(0, one.start - 40) : one.start] for one in kept}
        chosen = [one for one in kept if _CHOSEN.search(before[one][-30:]) and not _THOUGHT.search(before[one])]
        if len({one.letter for one in chosen}) != 1:
            return kept
        for left, right in itertools.pairwise(kept):
            if left.letter != right.letter and _JOINED.fullmatch(self.bare, left.end, right.start):
                return kept
        return chosen

    def _may_hold(self, words: str) -> bool:
        """Tell whether the words of a choice may stand in the text: a pattern for each choice of each row is dear."""
        if not (self.bare.isascii() and words.isascii()):
            return True
        return words.partition(" ")[0] in self.folded

    @functools.cached_property
    def folded(self) -> str:
        """The bare text in lower case."""
        return self.bare.casefold()

    def _denied(self, one: _Named) -> bool:
        before = self.bare[max(0, one.start - 60) : one.start]
        return _NOT_BEFORE.search(before) is not None or _NOT_AFTER.match(self.bare, one.end, one.end + 60) is not None

    def _extracted(self, one: _Named, reason: str) -> Extracted:
        return Extracted(self.text[one.start : one.end], one.letter, reason, (one.start, one.end))

    def _mentions(self, begin: int, end: int, loose: bool) -> list[_Named]:
        """Return choices named in a range, in order.

        `loose`: a bare letter needs no confirming word.
        """
        pattern = _letters(self.closed)
        mentions = [
            _Named(match.start(1), match.end(), match[1].upper(), by_words=False)
            for match in pattern.finditer(self.bare, begin, end)
            if loose or _vouched(self.bare, match, begin, end)
        ]
        for letter, words in labelled(self.closed):
            if words and words != letter.casefold() and self._may_hold(words):
                mentions += [
                    _Named(match.start(), match.end(), letter, by_words=True)
                    for match in _spoken(words).finditer(self.bare, begin, end)
                ]
        return _untangled(mentions, self.bare)


def _untangled(mentions: list[_Named], text: str) -> list[_Named]:
    """Return the choices in order, without words inside longer ones, and `B. dog` as one."""
    kept: list[_Named] = []
    for one in sorted(mentions, key=lambda item: (item.start, -item.end)):
        last = kept[-1] if kept else None
        if last is not None and one.start < last.end:
            continue
        if last is not None and one.letter == last.letter and not text[last.end : one.start].strip(" .):*_-(\"'"):
            kept[-1] = _Named(last.start, one.end, one.letter, last.by_words)
            continue
        kept.append(one)
    return kept


@lru_cache(maxsize=512)
def _letters(closed: tuple[str, ...]) -> re.Pattern[str]:
    """Return the labels of the choices as words of their own; `a` before a word is an article, not a choice."""
    labels = [known for known, _ in labelled(closed)] or list("ABCDEFGH123456789")
    upper = [re.escape(label) for label in labels if label != "A"]
    article = (
        r"|A(?=[\s)*_\"'.,:;!/\]}]{0,12}(?:\Z|[^\w\s]|[^\x00-\x7f]|\n|[\s)*_.\"']{1,4}(?:is|was|isn|and|or|because"
        r"|since"
        r"|as|not|seems"
        r"|would|can|cannot|must|should"
        r"|fits|nor|rather|instead|but|due|for|doesn)\b))"
        if "A" in labels
        else ""
    )
    lower = "|".join(re.escape(label.lower()) for label in labels if label.isalpha())
    small = rf"|(?<=[(*\"'])(?:{lower})(?=[)*\"'])|\b(?:{lower})(?=\)|\s{0, 12}\Z)" if lower else ""
    return re.compile(rf"(?<![A-Za-z0-9_'’\\.-])((?:{'|'.join(upper)}){article}{small})(?![A-Za-z0-9_'’]|-\w|\.\d)")


@lru_cache(maxsize=4096)
def _spoken(words: str) -> re.Pattern[str]:
    """Compile the pattern of a choice's words."""
    parts = map(re.escape, words.split()[:40])
    return re.compile(r"(?<![\w.])" + r"[^\w]{1,6}".join(parts) + r"(?!\w|\.\d)", re.IGNORECASE)


_NOUN = re.compile(r"(?:选项|選択肢|선택지)\s?\Z")


def _vouched(text: str, match: re.Match[str], begin: int, end: int) -> bool:
    """Return whether a bare letter means a choice: in brackets, after `option` or `must be`, before `is correct`."""
    start, stop = match.start(1), match.end()
    before, after = text[max(begin, start - 40) : start], text[stop : min(end, stop + 60)]
    word = re.search(r"([A-Za-z]{1,24})\s{0,12}\Z", before)
    if word and word[1].lower() in _NAMED_LETTER:
        return False
    if before.endswith(("(", "**", "[", "__", '"', ">")) and after[:1] in tuple(')]*_"<'):
        return True
    if re.match(r"[).:]\s", after) and (
        not before.strip() or before.rstrip()[-1:] in ".!?\n,;:" or before.endswith("(")
    ):
        return True
    if _SETTLES.search(before) or _NOUN.search(before):
        return True
    return (not before.strip(" *_>#-") and _PROVEN.match(after) is not None) or _proven(after)


def _proven(after: str) -> bool:
    proof = _PROVEN.match(after)
    return proof is not None and proof.group().rstrip().lower().endswith(
        (
            "correct",
            "right",
            "best",
            "answer",
            "true",
            "choice",
            "option",
            "sense",
            "appropriate",
            "accurate",
            "one",
            "valid",
        )
    )


def named_anywhere(text: str, closed: tuple[str, ...]) -> frozenset[str]:
    """Return the letters of all choices that a text names anywhere, denied or not."""
    clean = plain(text)
    reader = _ChoiceReader(text, undressed(clean), clean, closed)
    return frozenset(one.letter for one in reader._mentions(0, len(clean), loose=False))
