"""The grammar of class + retrieval traces, shared by acre, babi, cotempqa and msmarco.

Such a trace names the kind of question, then cites the facts that answer it:

    The temporal relation between the event in question and the event in context is: equal.
    I need to use the following facts to answer the question: ['Ana works for Intel from 1968 to 2004.']
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from tracedistill.chat.formats import MARKER
from tracedistill.records import Step
from tracedistill.tasks._base import ParsedTrace

_HEAD = re.compile(r"\A\s*(?:assistant\b\s*)+", re.IGNORECASE)
_TAG = re.compile(r"</?think>|<answer>", re.IGNORECASE)
_THINK = re.compile(r"</?think>", re.IGNORECASE)
_CLOSES = re.compile(r"""[ \t]*+,?[ \t]*+(?:\n|\Z)|\s*+(?:,\s*+['"“‘]|,?\s*+\])""")
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d{1,3}[.)])\s+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_OPENING_RUN, _BETWEEN, _BLANKS = re.compile(r"[\[ \t\n,;]*+"), re.compile(r"[ \t\n,;]*+"), re.compile(r"[ \t]*+")
_CLOSING_RUN, _BARE = re.compile(r"\]*+"), re.compile(r"[^\]\n]*+")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
_QUOTES = {"'": "'", '"': '"', "“": "”", "‘": "’"}


# ---- comparison


def normalise_fact(text: str) -> str:
    """Normalise a fact for comparison: lower-case, single spaces, no final period."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split()).rstrip(" .")


def normalise_class(text: str) -> str:
    """Normalise a class label for comparison: lower-case, words joined by hyphens, no punctuation around it."""
    return re.sub(r"[\s_-]+", "-", text.strip(" \t\n.,:;*'\"`").casefold())


# ---- facts in text


def _protect(fact: str) -> str:
    plain = fact.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "\\n").replace("\r", "\\r")
    # a leading bracket or quote would be parsed as a list or a quoted string
    return "\\" + plain if plain[:1] in {"[", *_QUOTES} else plain


def _unescape(text: str) -> str:
    def character(escape: re.Match[str]) -> str:
        code = escape.group(1)
        if len(code) > 1:
            point = int(code[1:], 16)
            return chr(point) if point <= 0x10FFFF else escape.group(0)
        return _LETTERS.get(code, code)

    return _ESCAPE.sub(character, text) if "\\" in text else text


def read_list(text: str, start: int) -> tuple[tuple[str, ...], int, str]:
    """Parse the list whose bracket is at `start`: its items, its end, and why it is incomplete (else empty).

    Accepts unescaped apostrophes (`['state's attorney']`). The last item of a truncated list is kept as written.
    """
    items: list[str] = []
    at = _end_of(_OPENING_RUN, text, start)
    while at < len(text):
        if text[at] == "]":
            return tuple(items), _end_of(_CLOSING_RUN, text, at), ""
        if text[at] in _QUOTES:
            item, at, closed = _quoted(text, at)
            items.append(item)
            if not closed:
                return tuple(items), at, f"the list of facts is cut off in item {len(items)}"
        else:
            end = _end_of(_BARE, text, at)
            items.append(text[at:end].strip())
            at = end
        at = _end_of(_BETWEEN, text, at)
    return tuple(items), at, f"the list of facts is cut off after item {len(items)}"


def _end_of(run: re.Pattern[str], text: str, start: int) -> int:
    """Return the end of a run of characters that may be empty."""
    return start + len(run.match(text, start)[0])  # type: ignore[index]


def _quoted(text: str, start: int) -> tuple[str, int, bool]:
    """Return the quoted item at `start`, the position after it, and whether its quote was closed."""
    quote = _QUOTES[text[start]]
    at = start + 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
        elif text[at] == quote and _CLOSES.match(text, at + 1):
            return _unescape(text[start + 1 : at]), at + 1, True
        else:
            at += 1
    return _unescape(text[start + 1 :].strip()), len(text), False


def trace_body(text: str) -> str:
    """Return the text between the think tags, either of which may be missing, without a leading "assistant"."""
    start, end = body_span(text)
    return text[start:end]


def body_span(text: str) -> tuple[int, int]:
    """Return the span of the trace of a whole output, without white space at its ends."""
    head = _HEAD.match(text)
    first = head.end() if head else 0
    tags = list(_TAG.finditer(text, first))
    opened = next((tag for tag in tags if tag.group().lower() == "<think>"), None)
    start = opened.end() if opened else first
    stop = next((tag for tag in tags if tag.start() >= start and tag.group().lower() != "<think>"), None)
    end = stop.start() if stop else len(text)
    if stop is not None and not text[start:end].strip():
        start = stop.end()
        answer = re.search(r"<answer>", text[start:], re.IGNORECASE)
        end = start + answer.start() if answer else len(text)
        if stop.group().lower() == "<answer>":
            end = start
    inside = text[start:end]
    start += len(inside) - len(inside.lstrip())
    return start, start + len(inside.strip())


# ---- the grammar


@dataclass(frozen=True, slots=True)
class Grammar:
    """How one task writes its class step and its retrieval step, and how both are recognised.

    `parse(render(steps))` gives the same steps if they were made by `class_step` (of `classes`) and `retrieval_step`.
    Facts must not contain think or answer tags. With `bars` they must be stripped and not empty, with `one_sentence`
    one sentence.
    """

    class_line: str
    """The class step with `{}` for the label."""
    facts_line: str
    """The retrieval step with `{}` for the facts."""
    class_cue: re.Pattern[str]
    """Matches the text before the label: the trained sentence, or a short labelled form; no paraphrase."""
    facts_cue: re.Pattern[str]
    """Matches the text before the facts, in every accepted form."""
    classes: tuple[str, ...]
    bars: bool = False
    """Whether facts are written between bars (else as a Python list); both are parsed."""
    one_sentence: bool = False
    """Whether every fact is one sentence, so that a bare run of sentences can be split."""

    def class_step(self, label: str) -> Step:
        """Return the class step that names this label."""
        return Step("class", self.class_line.format(label), value=label)

    def retrieval_step(self, facts: tuple[str, ...]) -> Step:
        """Return the retrieval step that cites these facts."""
        # bars: fewer tokens, and no quotes to escape; else a Python list, as in the published traces
        written = " | ".join(map(_protect, facts)) if self.bars else repr(list(facts))
        return Step("retrieval", self.facts_line.replace("{}", written).rstrip(), facts=facts)

    def steps(self, label: str, facts: tuple[str, ...]) -> tuple[Step, Step]:
        """Return both steps of a trace."""
        return self.class_step(label), self.retrieval_step(facts)

    def render(self, steps: tuple[Step, ...]) -> str:
        """Write steps in this grammar's own words, one per line; other kinds of steps as they are."""
        return "\n".join(self._line(step) for step in steps)

    def _line(self, step: Step) -> str:
        if step.kind == "class" and step.value is not None:
            return self.class_step(step.value).text
        if step.kind == "retrieval":
            return self.retrieval_step(step.facts).text
        return step.text

    def parse(self, text: str) -> ParsedTrace:
        """Parse the steps of a whole output or its trace. Steps are returned even if `reason` names missing ones."""
        body = trace_body(text)
        steps: list[Step] = []
        reasons: list[str] = []
        done = 0
        label = self.class_cue.search(body)
        facts = self.facts_cue.search(body)
        while True:
            # searched again only once passed: a runaway output repeats one cue thousands of times
            if label and label.start() < done:
                label = self.class_cue.search(body, done)
            if facts and facts.start() < done:
                facts = self.facts_cue.search(body, done)
            if label and (facts is None or label.start() < facts.start()):
                newline = body.find("\n", label.end())
                end = min(newline if newline >= 0 else len(body), facts.start() if facts else len(body))
                value = self._label(body[label.end() : end])
                if value:
                    steps.append(Step("class", body[done:end].strip(), value=value))
                else:
                    reasons.append("the class step names no class")
            elif facts:
                cited, end, reason = self._facts(body, facts.end())
                steps.append(Step("retrieval", body[done:end].strip(), facts=cited))
                if reason:
                    reasons.append(reason)
            else:
                break
            done = end
        if not body:
            reasons.append("empty trace")
        else:
            kinds = {step.kind for step in steps}
            reasons += [f"no {kind} step found" for kind in ("class", "retrieval") if kind not in kinds]
        return ParsedTrace(tuple(steps), "; ".join(reasons))

    def holds_trace(self, text: str) -> bool:
        """Return whether the text contains a step's cue or a think tag, and so is more than an answer."""
        return any(cue.search(text) for cue in (self.class_cue, self.facts_cue, _THINK))

    def _label(self, written: str) -> str:
        plain = normalise_class(written)
        labels = {normalise_class(label): label for label in self.classes}
        if plain in labels:
            return labels[plain]
        named = [label for key, label in labels.items() if re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", plain)]
        return named[0] if len(named) == 1 else written.strip(" \t\n.:*'\"`")

    def _facts(self, body: str, start: int) -> tuple[tuple[str, ...], int, str]:
        """Parse facts at `start` (a list, bars, bullets or a bare string): the facts, their end, and the error."""
        at = _end_of(_BLANKS, body, start)
        if at < len(body) and body[at] == "[":
            items, end, reason = read_list(body, at)
            if len(items) == 1 and body[at + 1 : at + 2] not in _QUOTES:
                items = self._bare(items[0])
            return items, end, reason
        newline = body.find("\n", at)
        end = len(body) if newline < 0 else newline
        line = body[at:end].strip()
        if line:
            following = self.class_cue.search(body, at, end)
            if following and not self.bars:
                end, line = following.start(), body[at : following.start()].strip()
            return self._bare(line), end, ""
        return self._bullets(body, end)

    def _bare(self, line: str) -> tuple[str, ...]:
        parts = re.split(r"(?<!\\)((?:\\\\)*)\|", line)
        # the split keeps the backslashes before each bar: they belong to the preceding part
        joined = [parts[n] + (parts[n + 1] if n + 1 < len(parts) else "") for n in range(0, len(parts), 2)]
        facts: list[str] = []
        for part in (piece.strip() for piece in joined):
            if part[:1] in _QUOTES and part[-1:] == _QUOTES[part[0]] and len(part) > 1:
                facts.append(_unescape(part[1:-1]))
            elif part:
                facts += _SENTENCE.split(_unescape(part)) if self.one_sentence else [_unescape(part)]
        return tuple(facts)

    def _bullets(self, body: str, start: int) -> tuple[tuple[str, ...], int, str]:
        stops = [
            match.start() for cue in (self.class_cue, self.facts_cue, MARKER) if (match := cue.search(body, start))
        ]
        end = min(stops, default=len(body))
        block = body[start:end]
        lead = len(block) - len(block.lstrip())
        if block.lstrip().startswith("["):
            return read_list(body[:end], start + lead)
        lines = [_BULLET.sub("", line).strip() for line in block.splitlines()]
        return tuple(fact for line in lines if line for fact in self._bare(line)), end, ""
