"""A family's chat template: what it writes around the texts of a chat, and its special tokens.

`turn_of` tries the template on a short chat to find out: white space around the assistant's text (Llama-2, Mistral), a
turn that the generation prompt does not open, and thinking that the generation prompt opens and that the template
removes from a finished conversation (DeepSeek-R1).
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tracedistill.chat.formats import Format, split_reasoning
from tracedistill.errors import InputError
from tracedistill.records import Message

TODAY = "26 Jul 2024"
"""Fixed date for templates that write one into the prompt (Llama-3.2), so that training and inference do not differ. It
is the default of Llama's template."""
DAY = datetime.strptime(TODAY, "%d %b %Y").replace(tzinfo=UTC)
_DAY_CALL = re.compile(r"""strftime_now\(\s*(["'])([^"']*)\1\s*\)""")
"""A template's call for today's date in a literal format."""
NO_SYSTEM = (
    "its chat template has no place for a system message; leave students.<name>.system out, or put it into the user's "
    "turn with students.<name>.system_role: user"
)
SENTINEL, THOUGHT = "7310942", "4418830"
"""Placeholders for an assistant's text and thinking when a template is tried."""
NO_THOUGHTS = "take another format, or shots_with_traces: false"
"""Remedy for a template that drops the thinking of earlier turns."""
OWN_TEMPLATE = "students.<name>.chat_template replaces it (a file, or the template's text)"
"""Remedy for a template that cannot be used."""
OPENED = re.compile(r"<think>\s*\Z")
"""Thinking opened at the end of a prompt."""


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """The special tokens of a tokenizer, and how its template uses them."""

    special: tuple[str, ...]
    """All special tokens."""
    end: int | None
    """Id of the token after the assistant's text; the tokenizer's end token if the template writes none."""
    strips: bool
    """Whether the template strips white space from the ends of the assistant's text."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Text that a template writes around an assistant's text."""

    opening: str = ""
    """Text to add to the template's generation prompt: the beginning of the turn, or the end of its thinking."""
    lead: str = ""
    """White space before the text."""
    trail: str = ""
    """White space between the text and the end token."""
    thinks: bool = False
    """Whether the generation prompt opens thinking that is missing from a finished conversation."""
    ends_open: bool = False
    """Whether the template writes nothing after the text, so that the end token must be added (GLM-4)."""


def marks_of(tokenizer: Any) -> SpecialTokens:
    """Return the tokenizer's special tokens."""
    return _read_marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token)


def turn_of(tokenizer: Any, format: Format) -> Turn:
    """Return what the tokenizer's template writes around an assistant's text in this format."""
    return _read_turn(tokenizer, tokenizer.chat_template, format)


def end_id(tokenizer: Any) -> int:
    """Return the id of the template's end-of-turn token, which may differ from the tokenizer's end token.

    Gemma's turns end with <end_of_turn>, its texts with <eos>. Raises InputError if there is neither.
    """
    end = marks_of(tokenizer).end
    if end is None:
        raise InputError(
            f"{tokenizer.name_or_path}: no end-of-turn token: the tokenizer has no EOS and the chat template writes "
            "none after the assistant's turn, so the student could never learn to stop"
        )
    return end


def added_end(tokenizer: Any) -> str:
    """Return the end token if rows have it and the template does not write it; else an empty text."""
    return end_token(tokenizer) if turn_of(tokenizer, "plain").ends_open else ""


def knows_reasoning(tokenizer: Any) -> bool:
    """Return whether the template separates thinking: it writes `reasoning_content`, or its prompts open it."""
    if turn_of(tokenizer, "reasoning").thinks:
        return True
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", **thought(SENTINEL)}]
    return SENTINEL in _apply(tokenizer, chat, "reasoning", generation=False)


def writes_the_day(tokenizer: Any) -> bool:
    """Return whether the template writes the rendering date into the prompt and offers no way to fix it."""
    template = tokenizer.chat_template or ""
    return "strftime_now" in template and "date_string" not in template and with_fixed_day(template) == template


@functools.lru_cache(maxsize=8)
def with_fixed_day(template: str) -> str:
    """Return a chat template that writes a fixed date instead of today's (SmolLM3, gpt-oss)."""
    formats = dict.fromkeys(call[2] for call in _DAY_CALL.finditer(template))
    if "date_string" in template or "strftime_now(" in _DAY_CALL.sub("", template) or not formats:
        return template  # it reads the date from a variable, or calls the function with a computed format
    cases = "".join(f"{{% if form == {json.dumps(form)} %}}{DAY.strftime(form)}{{% endif %}}" for form in formats)
    return f"{{% macro strftime_now(form) %}}{cases}{{% endmacro %}}{template}"


def template_hash(tokenizer: Any) -> str:
    """Return the first 16 hexadecimal digits of the chat template's SHA-256."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:16]


def system_in_user_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Move the system message to the beginning of the first turn."""
    if not messages or messages[0].role != "system":
        return tuple(messages)
    system, first, *rest = messages
    return (Message(first.role, f"{system.content}\n\n{first.content}"), *rest)


def fill_in(
    tokenizer: Any, messages: Sequence[Message], format: Format, *, generation: bool, checked: bool = True
) -> str:
    """Render a chat by the family's template. `checked`: raise InputError if it omits part of a message."""
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; use an instruction-tuned model, or give "
            "one with students.<name>.chat_template (a file, or the template's text)"
        )
    chat = [chat_entry(tokenizer, message, format) for message in messages]
    try:
        text = _apply(tokenizer, chat, format, generation=generation)
    except InputError as error:
        if _takes(tokenizer, system_in_user_turn(messages), format):
            raise InputError(f"{tokenizer.name_or_path}: {NO_SYSTEM}") from error
        raise
    # the system message last, since a template that omits every text has another fault
    for entry in sorted(chat, key=lambda entry: entry["role"] == "system") if checked else ():
        if all(entry.get(key, "").strip() in text for key in ("content", "reasoning_content")):
            continue
        if entry["role"] == "system":
            raise InputError(f"{tokenizer.name_or_path}: {NO_SYSTEM}")
        thinking = "reasoning_content" in entry or "</think>" in entry["content"]
        remedy = (
            f"such as the thinking of earlier turns; {NO_THOUGHTS}" if thinking else f"or changes it; {OWN_TEMPLATE}"
        )
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template omits part of the {entry['role']} message "
            f"{entry['content'][:60]!r}, {remedy}"
        )
    return text


def chat_entry(tokenizer: Any, message: Message, format: Format) -> dict[str, str]:
    """Convert a message to a template's input."""
    content = _as_text(tokenizer, message.content)
    parts = split_reasoning(content) if format == "reasoning" and message.role == "assistant" else None
    if parts is None:
        return {"role": message.role, "content": content}
    return {"role": message.role, "content": parts[1]} | thought(parts[0])


def thought(text: str) -> dict[str, str]:
    """Return thinking under both keys that templates read (gpt-oss: `thinking`)."""
    return {"reasoning_content": text, "thinking": text}


def variables_of(format: Format) -> dict[str, Any]:
    """Return a template's variables besides the messages."""
    return {"enable_thinking": format == "reasoning", "date_string": TODAY}


def end_token(tokenizer: Any) -> str:
    """Return the token that ends the assistant's turn, as text."""
    return str(tokenizer.convert_ids_to_tokens(end_id(tokenizer)))


def strip_special(tokenizer: Any, tail: str) -> str:
    """Strip special tokens and white space from a text."""
    for token in marks_of(tokenizer).special:
        tail = tail.replace(token, "")
    return tail.strip()


@functools.lru_cache(maxsize=8)  # looked up for every message, and a vocabulary has thousands of added tokens
def _read_marks(tokenizer: Any, template: str | None, eos: str | None) -> SpecialTokens:
    """Find the special tokens; the parameters hold what a caller may change on the tokenizer."""
    added = tokenizer.added_tokens_decoder
    special = {str(token) for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
    end = None if eos is None else int(tokenizer.convert_tokens_to_ids(eos))
    strips = False
    if template:
        try:
            _, text, tail = render_turn(tokenizer, SENTINEL).rpartition(SENTINEL)
            padded = f"  {SENTINEL}  "
            strips = bool(text) and padded not in render_turn(tokenizer, padded)
        except InputError:
            text = tail = ""
        following = [token for token in special if text and tail.lstrip().startswith(token)]
        if following:
            end = int(tokenizer.convert_tokens_to_ids(max(following, key=len)))
    return SpecialTokens(tuple(sorted(special)), end, strips)


@functools.lru_cache(maxsize=8)
def _read_turn(tokenizer: Any, template: str | None, format: Format) -> Turn:
    """Compare a chat of two turns with the generation prompt of its first turn."""
    if not template:
        return Turn()
    question = {"role": "user", "content": "a"}
    answer = {"role": "assistant", "content": SENTINEL} | (thought(THOUGHT) if format == "reasoning" else {})
    try:
        head = _apply(tokenizer, [question], format, generation=True)
        whole = _apply(tokenizer, [question, answer], format, generation=False)
    except InputError:
        return Turn()  # the error is reported when the template is used
    before, text, after = whole.partition(SENTINEL)
    if not text:
        return Turn()
    end = end_token(tokenizer)
    trail = after[: len(after) - len(after.lstrip())] if after.lstrip().startswith(end) else ""
    ends_open = not strip_special(tokenizer, after) and end not in after
    if THOUGHT in before:
        return Turn("", "", trail, False, ends_open)  # the template writes the thinking of this format
    if before.startswith(head):
        gap = before[len(head) :]
        return Turn("", gap, trail, False, ends_open) if not gap.strip() else Turn(gap, "", trail, False, ends_open)
    opened = OPENED.search(head)
    if opened and before.startswith(head[: opened.start()]) and not before[opened.start() :].strip():
        closing = "" if format == "reasoning" else "\n</think>\n\n"
        return Turn(closing, before[opened.start() :], trail, True, ends_open)
    return Turn("", "", trail, False, ends_open)


def render_turn(tokenizer: Any, text: str) -> str:
    """Render a chat in which the assistant answers with this text."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]
    return _apply(tokenizer, chat, "plain", generation=False)


def _as_text(tokenizer: Any, content: str) -> str:
    """Break special tokens in a content by a space, so that a story cannot end the user's turn."""
    for token in marks_of(tokenizer).special:
        if token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def _apply(tokenizer: Any, chat: list[dict[str, str]], format: Format, *, generation: bool) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                chat,
                chat_template=with_fixed_day(tokenizer.chat_template or ""),
                add_generation_prompt=generation,
                tokenize=False,
                **variables_of(format),
            )
        )
    except Exception as error:  # jinja raises whatever the template's author chose
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template rejects these messages: {error}; {OWN_TEMPLATE}"
        ) from error


def _takes(tokenizer: Any, messages: Sequence[Message], format: Format) -> bool:
    try:
        _apply(tokenizer, [chat_entry(tokenizer, message, format) for message in messages], format, generation=True)
    except InputError:
        return False
    return True
