"""A family's chat template: what it writes around the words of a chat, and which tokens of it are no text.

What a template leaves to its user is read off the template itself (`turn_of`): white space around the assistant's words
(Llama-2, Mistral), a turn that its generation prompt does not open, thinking that the generation prompt opens and that
the template cuts out of a finished conversation (DeepSeek-R1).
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
"""What templates that ask for a `date_string` are given (Llama-3.2 writes it into the prompt): training and inference
may lie days apart, and must not differ. It is the day that Llama's own template falls back to."""
DAY = datetime.strptime(TODAY, "%d %b %Y").replace(tzinfo=UTC)
_DAY_CALL = re.compile(r"""strftime_now\(\s*(["'])([^"']*)\1\s*\)""")
"""A template asks for today's date in a format that it spells out."""
NO_SYSTEM = (
    "its chat template has no place for a system message; leave students.<name>.system out, or put it into the user's "
    "turn with students.<name>.system_role: user"
)
SENTINEL, THOUGHT = "7310942", "4418830"
"""Stand for an assistant's words and thinking where a template is asked what it writes around them."""
NO_THOUGHTS = "take another format, or shots_with_traces: false"
"""The remedy for a template that drops the thinking of earlier turns."""
OWN_TEMPLATE = "students.<name>.chat_template replaces it (a file, or the template's text)"
"""The way out for a tokenizer whose template cannot be used."""
OPENED = re.compile(r"<think>\s*\Z")
"""Thinking that a prompt opens."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Non-text tokens of a tokenizer's vocabulary."""

    special: tuple[str, ...]
    """Tokens that structure a chat."""
    end: int | None
    """Id of the one behind the assistant's words; the tokenizer's end token where the template writes none."""
    strips: bool
    """Whether the template strips white space from the ends of what the assistant says."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Text that a template writes around an assistant's words."""

    opening: str = ""
    """What a prompt needs behind the template's generation prompt: the turn's own head, or the end of its thinking."""
    lead: str = ""
    """White space before the words."""
    trail: str = ""
    """White space between the words and the end token."""
    thinks: bool = False
    """Whether the generation prompt opens thinking that a finished conversation does not show."""
    ends_open: bool = False
    """Whether nothing stands behind the words: the end token is ours to add (GLM-4)."""


def marks_of(tokenizer: Any) -> Marks:
    """Return what in the tokenizer's vocabulary is no text."""
    return _read_marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token)


def turn_of(tokenizer: Any, format: Format) -> Turn:
    """Return what the tokenizer's template writes around an assistant's words in this format."""
    return _read_turn(tokenizer, tokenizer.chat_template, format)


def end_id(tokenizer: Any) -> int:
    """Return the id of the template's end-of-turn token, which may differ from the tokenizer's end token.

    (Gemma's turns end with <end_of_turn>, its texts with <eos>.)
    """
    found = marks_of(tokenizer).end
    if found is None:
        raise InputError(
            f"{tokenizer.name_or_path}: neither the tokenizer has an end token nor the chat template one behind the "
            "assistant's turn: the student could never learn to stop"
        )
    return found


def added_end(tokenizer: Any) -> str:
    """Return the end token that rows have and the template does not write; empty if it writes one."""
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
    """Return a chat template that writes the same day always, where it asks for today's (SmolLM3, gpt-oss)."""
    formats = dict.fromkeys(found[2] for found in _DAY_CALL.finditer(template))
    if "date_string" in template or "strftime_now(" in _DAY_CALL.sub("", template) or not formats:
        return template  # it is told the day, or asks in a way that cannot be foreseen
    cases = "".join(f"{{% if form == {json.dumps(form)} %}}{DAY.strftime(form)}{{% endif %}}" for form in formats)
    return f"{{% macro strftime_now(form) %}}{cases}{{% endmacro %}}{template}"


def template_hash(tokenizer: Any) -> str:
    """Return the first 16 hexadecimal digits of the chat template's SHA-256."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:16]


def system_in_user_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Move the system message to the head of the first turn."""
    if not messages or messages[0].role != "system":
        return tuple(messages)
    system, first, *rest = messages
    return (Message(first.role, f"{system.content}\n\n{first.content}"), *rest)


def fill_in(
    tokenizer: Any, messages: Sequence[Message], format: Format, *, generation: bool, checked: bool = True
) -> str:
    """Render the chat by the family's template. `checked`: raise InputError if it leaves out part of a message."""
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; use an instruction-tuned model, or give "
            "one with students.<name>.chat_template (a file, or the template's text)"
        )
    chat = [entry_of(tokenizer, message, format) for message in messages]
    try:
        text = _apply(tokenizer, chat, format, generation=generation)
    except InputError as error:
        if _has_system(messages) and _takes(tokenizer, system_in_user_turn(messages), format):
            raise InputError(f"{tokenizer.name_or_path}: {NO_SYSTEM}") from error
        raise
    # a system message last: a template that takes no text at all has no want of a place for it
    for entry in sorted(chat, key=lambda each: each["role"] == "system") if checked else ():
        if all(entry.get(key, "").strip() in text for key in ("content", "reasoning_content")):
            continue
        if entry["role"] == "system":
            raise InputError(f"{tokenizer.name_or_path}: {NO_SYSTEM}")
        thinking = "reasoning_content" in entry or "</think>" in entry["content"]
        remedy = (
            f"such as the thinking of earlier turns; {NO_THOUGHTS}" if thinking else f"or changes it; {OWN_TEMPLATE}"
        )
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template leaves out part of what the {entry['role']} says in "
            f"{entry['content'][:60]!r}, {remedy}"
        )
    return text


def entry_of(tokenizer: Any, message: Message, format: Format) -> dict[str, str]:
    """Convert a message to the templates' form."""
    content = _as_text(tokenizer, message.content)
    parts = split_reasoning(content) if format == "reasoning" and message.role == "assistant" else None
    if parts is None:
        return {"role": message.role, "content": content}
    return {"role": message.role, "content": parts[1]} | thought(parts[0])


def thought(text: str) -> dict[str, str]:
    """Return thinking under both names that templates use (gpt-oss reads `thinking`)."""
    return {"reasoning_content": text, "thinking": text}


def variables_of(format: Format) -> dict[str, Any]:
    """Return what a template is given besides the messages."""
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
def _read_marks(tokenizer: Any, template: str | None, eos: str | None) -> Marks:
    """Find the template's special marks; the cache key holds what a caller may change on the tokenizer."""
    added = tokenizer.added_tokens_decoder
    special = {str(token) for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
    end = None if eos is None else int(tokenizer.convert_tokens_to_ids(eos))
    strips = False
    if template:
        try:
            _, found, tail = say(tokenizer, SENTINEL).rpartition(SENTINEL)
            padded = f"  {SENTINEL}  "
            strips = bool(found) and padded not in say(tokenizer, padded)
        except InputError:
            found = tail = ""
        tail = tail.lstrip() if found else ""
        behind = [token for token in special if tail.startswith(token)]
        if behind:
            end = int(tokenizer.convert_tokens_to_ids(max(behind, key=len)))
    return Marks(tuple(sorted(special)), end, strips)


@functools.lru_cache(maxsize=8)
def _read_turn(tokenizer: Any, template: str | None, format: Format) -> Turn:
    """Read off a conversation of two turns, with the template's generation prompt and without."""
    if not template:
        return Turn()
    asked = [{"role": "user", "content": "a"}]
    said = {"role": "assistant", "content": SENTINEL}
    if format == "reasoning":
        said |= thought(THOUGHT)
    try:
        head = _apply(tokenizer, asked, format, generation=True)
        whole = _apply(tokenizer, [*asked, said], format, generation=False)
    except InputError:
        return Turn()  # said where the template is used
    before, words, behind = whole.partition(SENTINEL)
    if not words:
        return Turn()
    end = end_token(tokenizer)
    trail = behind[: len(behind) - len(behind.lstrip())] if behind.lstrip().startswith(end) else ""
    ends_open = not strip_special(tokenizer, behind) and end not in behind
    if THOUGHT in before:
        return Turn("", "", trail, False, ends_open)  # it writes the thinking of this format itself
    if before.startswith(head):
        gap = before[len(head) :]
        return Turn("", gap, trail, False, ends_open) if not gap.strip() else Turn(gap, "", trail, False, ends_open)
    opened = OPENED.search(head)
    if opened and before.startswith(head[: opened.start()]) and not before[opened.start() :].strip():
        closing = "" if format == "reasoning" else "\n</think>\n\n"
        return Turn(closing, before[opened.start() :], trail, True, ends_open)
    return Turn("", "", trail, False, ends_open)


def say(tokenizer: Any, words: str) -> str:
    """Build a conversation in which the assistant says these words."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": words}]
    return _apply(tokenizer, chat, "plain", generation=False)


def _as_text(tokenizer: Any, content: str) -> str:
    """Break special tokens in the content by a space, so that a story cannot end the user's turn."""
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
            f"{tokenizer.name_or_path}: its chat template refuses these messages: {error}; {OWN_TEMPLATE}"
        ) from error


def _has_system(messages: Sequence[Message]) -> bool:
    return any(message.role == "system" for message in messages)


def _takes(tokenizer: Any, messages: Sequence[Message], format: Format) -> bool:
    try:
        _apply(tokenizer, [entry_of(tokenizer, message, format) for message in messages], format, generation=True)
    except InputError:
        return False
    return True
