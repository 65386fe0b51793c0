"""Chat messages to tokens: one rendering for training and for inference.

A training row is the tokens that the student is prompted with at inference, followed by the completion's own tokens
and the token that ends the assistant's turn. The prompt is a token prefix by construction; `difference` checks that
the text which comes out is what the model family's template writes for the whole conversation.

The format (formats.FormatName) says how a family that can think is asked: `reasoning` lets it think and gives the
template the trace as `reasoning_content`; `plain` and `tags` ask it not to think (`enable_thinking` false).

What a template leaves to its user is read off the template itself (`_Turn`): white space around the assistant's words
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
from typing import Any

from tracedistill.chat.formats import FormatName, split_reasoning
from tracedistill.errors import InputError
from tracedistill.records import Example, Message

TODAY = "26 Jul 2024"
"""What templates that ask for a `date_string` are given (Llama-3.2 writes it into the prompt): training and inference
may lie days apart, and must not differ. It is the day that Llama's own template falls back to."""
NO_SYSTEM = (
    "its chat template has no place for a system message; leave students.<name>.system out, or put it into the user's "
    "turn with students.<name>.system_role: user"
)
NO_REASONING = "use format: plain, or tags"
"""The remedy for a family that does not keep its thinking apart."""
SENTINEL, THOUGHT = "7310942", "4418830"
"""Stand for an assistant's words and thinking where a template is asked what it writes around them."""
OWN_TEMPLATE = "students.<name>.chat_template replaces it (a file, or the template's text)"
"""The way out for a tokenizer whose template cannot be used."""
_OPENED = re.compile(r"<think>\s*\Z")
"""Thinking that a prompt opens."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One training row in tokens."""

    input_ids: list[int]
    """Prompt, completion, end token."""
    completion_mask: list[int]
    """1 where the loss is taken: the completion and the end token."""


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], prefill: str = "", style: FormatName = "plain"
) -> list[int]:
    """Tokenise the chat up to the assistant's turn, then `prefill` (a completion's beginning).

    Prompt and prefill are cut into tokens apart, as in a training row.
    """
    ids = _tokens(tokenizer, _head(tokenizer, messages, style))
    if not prefill:
        return ids
    turn = _turn(tokenizer, tokenizer.chat_template, style)
    return ids + _tokens(tokenizer, completion_text(tokenizer, messages, prefill, style).removesuffix(turn.trail))


def completion_text(tokenizer: Any, prompt: Sequence[Message], completion: str, style: FormatName = "plain") -> str:
    """Render the assistant's turn as this family writes it, without its end token.

    In the format `reasoning` it is what the template writes behind its own generation prompt for a message with
    `reasoning_content`, or what ends the thinking that the generation prompt has opened; otherwise the completion
    itself between the template's white space, its own ends stripped where the template strips them. Raises InputError
    for a template that knows no reasoning.
    """
    entry, turn = (
        _entry(tokenizer, Message("assistant", completion), style),
        _turn(tokenizer, tokenizer.chat_template, style),
    )
    if "reasoning_content" not in entry:
        strips = _marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token).strips
        return f"{turn.lead}{completion.strip() if strips else completion}{turn.trail}"
    if turn.thinks:
        return f"{entry['reasoning_content']}\n</think>\n\n{entry['content']}{turn.trail}"
    head = _head(tokenizer, prompt, style)
    whole = _template(tokenizer, (*prompt, Message("assistant", completion)), style, generation=False, checked=False)
    text, end, tail = whole[len(head) :].rpartition(_end(tokenizer))
    written = all(entry[key].strip() in text for key in ("content", "reasoning_content"))
    if not (whole.startswith(head) and end and written) or _words(tokenizer, tail):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template does not write a message's reasoning_content and content "
            f"after its own generation prompt; {NO_REASONING}"
        )
    return text


def read_completion(tokenizer: Any, ids: Sequence[int], style: FormatName = "plain", *, begun: bool = False) -> str:
    """Return what these tokens say, as attempts are read: the inverse of `completion_text`, special tokens removed.

    A family that marks its thinking by special tokens (gpt-oss by channels) has think tags in their place. `begun`: the
    tokens go on from a prefill, so that white space at their start is their own.
    """
    marks = _channels(tokenizer, tokenizer.chat_template, style)
    if marks is None:
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        lead = _turn(tokenizer, tokenizer.chat_template, style).lead
        return text if begun else text.removeprefix(lead)
    text = str(tokenizer.decode(ids))
    for mark, tag in zip(marks, ("<think>\n", "\n</think>\n\n", ""), strict=True):
        text = text.replace(mark, tag, 1) if tag else text.replace(mark, "")
    for token in _marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token).special:
        text = text.replace(token, "")
    return text


def special_in(tokenizer: Any, text: str) -> str | None:
    """Return a special token of this tokenizer that stands in the text; None if none does."""
    special = _marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token).special
    return next((token for token in special if token in text), None)


def render_example(tokenizer: Any, example: Example, style: FormatName = "plain") -> Rendered:
    """Render a training row."""
    prompt = prompt_ids(tokenizer, example.prompt, style=style)
    text = completion_text(tokenizer, example.prompt, example.completion, style)
    completion = [*_tokens(tokenizer, text), end_id(tokenizer)]
    return Rendered(prompt + completion, [0] * len(prompt) + [1] * len(completion))


def difference(tokenizer: Any, example: Example, style: FormatName = "plain") -> str:
    """Describe where prompt + completion + end token differs from the template's text for the whole conversation.

    Empty where it is. White space and special tokens behind the end token are the template's own and not compared.
    """
    assistant = Message("assistant", example.completion)
    whole = _template(tokenizer, (*example.prompt, assistant), style, generation=False, checked=False)
    turn = _turn(tokenizer, tokenizer.chat_template, style)
    head = _template(tokenizer, example.prompt, style, generation=True)
    if turn.thinks:  # the template shows no thinking of a finished turn; all else must be its own
        head = _OPENED.sub("", head)
        content = _entry(tokenizer, assistant, style)["content"]
        ours = f"{head}{turn.lead}{content}{turn.trail}{_end(tokenizer)}"
    else:
        ours = head + turn.opening + completion_text(tokenizer, example.prompt, example.completion, style)
        ours += "" if turn.ends_open else _end(tokenizer)
    if whole.startswith(ours) and not _words(tokenizer, whole[len(ours) :]):
        return ""
    both = min(len(ours), len(whole))
    at = next((place for place in range(both) if ours[place] != whole[place]), both)
    start = max(0, at - 20)
    return f"the row has {ours[start : at + 40]!r} where the template writes {whole[start : at + 40]!r}"


def same_as_template(tokenizer: Any, example: Example, style: FormatName = "plain") -> bool:
    """Return whether the row is what the template writes (see `difference`)."""
    return not difference(tokenizer, example, style)


def knows_reasoning(tokenizer: Any) -> bool:
    """Return whether the template separates thinking: it writes `reasoning_content`, or its prompts open it."""
    if _turn(tokenizer, tokenizer.chat_template, "reasoning").thinks:
        return True
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", **_thought(SENTINEL)}]
    return SENTINEL in _apply(tokenizer, chat, "reasoning", generation=False)


def writes_the_day(tokenizer: Any) -> bool:
    """Return whether the template writes the rendering date into the prompt and offers no way to fix it."""
    template = tokenizer.chat_template or ""
    return "strftime_now" in template and "date_string" not in template


def added_end(tokenizer: Any) -> str:
    """Return the end token that rows have and the template does not write; empty if it writes one."""
    return _end(tokenizer) if _turn(tokenizer, tokenizer.chat_template, "plain").ends_open else ""


def system_in_user_turn(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Move the system message to the head of the first turn."""
    if not messages or messages[0].role != "system":
        return tuple(messages)
    system, first, *rest = messages
    return (Message(first.role, f"{system.content}\n\n{first.content}"), *rest)


def end_id(tokenizer: Any) -> int:
    """Return the id of the template's end-of-turn token, which may differ from the tokenizer's end token.

    (Gemma's turns end with <end_of_turn>, its texts with <eos>.)
    """
    found = _marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token).end
    if found is None:
        raise InputError(
            f"{tokenizer.name_or_path}: neither the tokenizer has an end token nor the chat template one behind the "
            "assistant's turn: the student could never learn to stop"
        )
    return found


def prompt_template(tokenizer: Any, style: FormatName = "plain") -> str:
    """Return a chat template whose generation prompt has all that this format needs, for other programs."""
    template = str(tokenizer.chat_template)
    opening = _turn(tokenizer, template, style).opening
    if not opening:
        return template
    return f"{template}{{% if add_generation_prompt %}}{{{{ {json.dumps(opening, ensure_ascii=False)} }}}}{{% endif %}}"


def for_other_programs(
    tokenizer: Any, messages: Sequence[Message], style: FormatName = "plain"
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return (messages, variables) for which `prompt_template`, filled in elsewhere, writes `prompt_ids`."""
    return [_entry(tokenizer, message, style) for message in messages], _variables(style)


def template_hash(tokenizer: Any) -> str:
    """Return the first 16 hexadecimal digits of the chat template's SHA-256."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:16]


# ---- inside


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a template writes around an assistant's words."""

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


@dataclass(frozen=True, slots=True)
class _Marks:
    """What in a tokenizer's vocabulary is no text."""

    special: tuple[str, ...]
    """Tokens that structure a chat."""
    end: int | None
    """Id of the one behind the assistant's words; the tokenizer's end token where the template writes none."""
    strips: bool
    """Whether the template strips white space from the ends of what the assistant says."""


@functools.lru_cache(maxsize=8)  # looked up for every message, and a vocabulary has thousands of added tokens
def _marks(tokenizer: Any, template: str | None, eos: str | None) -> _Marks:
    """Find the template's special marks; the cache key holds what a caller may change on the tokenizer."""
    added = tokenizer.added_tokens_decoder
    special = {str(token) for token in added.values() if token.special} | set(tokenizer.all_special_tokens)
    end = None if eos is None else int(tokenizer.convert_tokens_to_ids(eos))
    strips = False
    if template:
        try:
            _, found, tail = _said(tokenizer, SENTINEL).rpartition(SENTINEL)
            padded = f"  {SENTINEL}  "
            strips = bool(found) and padded not in _said(tokenizer, padded)
        except InputError:
            found = tail = ""
        tail = tail.lstrip() if found else ""
        behind = [token for token in special if tail.startswith(token)]
        if behind:
            end = int(tokenizer.convert_tokens_to_ids(max(behind, key=len)))
    return _Marks(tuple(sorted(special)), end, strips)


def _said(tokenizer: Any, words: str) -> str:
    """Build a conversation in which the assistant says these words."""
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": words}]
    return _apply(tokenizer, chat, "plain", generation=False)


@functools.lru_cache(maxsize=8)
def _turn(tokenizer: Any, template: str | None, style: FormatName) -> _Turn:
    """Read off a conversation of two turns, with the template's generation prompt and without."""
    if not template:
        return _Turn()
    asked = [{"role": "user", "content": "a"}]
    said = {"role": "assistant", "content": SENTINEL}
    if style == "reasoning":
        said |= _thought(THOUGHT)
    try:
        head = _apply(tokenizer, asked, style, generation=True)
        whole = _apply(tokenizer, [*asked, said], style, generation=False)
    except InputError:
        return _Turn()  # said where the template is used
    before, words, behind = whole.partition(SENTINEL)
    if not words:
        return _Turn()
    end = _end(tokenizer)
    trail = behind[: len(behind) - len(behind.lstrip())] if behind.lstrip().startswith(end) else ""
    ends_open = not _words(tokenizer, behind) and end not in behind
    if THOUGHT in before:
        return _Turn("", "", trail, False, ends_open)  # it writes the thinking of this format itself
    if before.startswith(head):
        gap = before[len(head) :]
        return _Turn("", gap, trail, False, ends_open) if not gap.strip() else _Turn(gap, "", trail, False, ends_open)
    opened = _OPENED.search(head)
    if opened and before.startswith(head[: opened.start()]) and not before[opened.start() :].strip():
        closing = "" if style == "reasoning" else "\n</think>\n\n"
        return _Turn(closing, before[opened.start() :], trail, True, ends_open)
    return _Turn("", "", trail, False, ends_open)


@functools.lru_cache(maxsize=8)
def _channels(tokenizer: Any, template: str | None, style: FormatName) -> tuple[str, str, str] | None:
    """Find the text before the thinking, between it and the answer, and before an answer without thinking.

    None unless these are special tokens, which a decoded text would not show.
    """
    if style != "reasoning" or not template:
        return None
    asked = (Message("user", "a"),)
    try:
        whole = completion_text(tokenizer, asked, f"<think>\n{THOUGHT}\n</think>\n\n{SENTINEL}", style)
        alone = _said(tokenizer, SENTINEL)[len(_head(tokenizer, asked, style)) :].partition(SENTINEL)[0]
    except InputError:
        return None
    opening, _, rest = whole.partition(THOUGHT)
    closing = rest.partition(SENTINEL)[0]
    if special_in(tokenizer, opening) is None or special_in(tokenizer, closing) is None:
        return None
    return opening, closing, alone


def _head(tokenizer: Any, messages: Sequence[Message], style: FormatName) -> str:
    """Render a prompt up to the assistant's words."""
    text = _template(tokenizer, messages, style, generation=True)
    return text + _turn(tokenizer, tokenizer.chat_template, style).opening


def _end(tokenizer: Any) -> str:
    """Return the token that ends the assistant's turn, as text."""
    return str(tokenizer.convert_ids_to_tokens(end_id(tokenizer)))


def _words(tokenizer: Any, tail: str) -> str:
    """Strip special tokens and white space from a text."""
    for token in _marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token).special:
        tail = tail.replace(token, "")
    return tail.strip()


def _as_text(tokenizer: Any, content: str) -> str:
    """Break special tokens in the content by a space, so that a story cannot end the user's turn."""
    for token in _marks(tokenizer, tokenizer.chat_template, tokenizer.eos_token).special:
        if token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def _tokens(tokenizer: Any, text: str) -> list[int]:
    try:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    except TypeError as error:  # the tokenizer's word for a lone surrogate
        raise InputError(f"a text contains characters that a tokenizer cannot encode: {text[:80]!r}") from error


def _template(
    tokenizer: Any, messages: Sequence[Message], style: FormatName, *, generation: bool, checked: bool = True
) -> str:
    """Render the chat by the family's template. `checked`: raise InputError if it leaves out part of a message."""
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; use an instruction-tuned model, or give "
            "one with students.<name>.chat_template (a file, or the template's text)"
        )
    chat = [_entry(tokenizer, message, style) for message in messages]
    try:
        text = _apply(tokenizer, chat, style, generation=generation)
    except InputError as error:
        if _has_system(messages) and _takes(tokenizer, system_in_user_turn(messages), style):
            raise InputError(f"{tokenizer.name_or_path}: {NO_SYSTEM}") from error
        raise
    for entry in chat if checked else ():
        if all(entry.get(key, "").strip() in text for key in ("content", "reasoning_content")):
            continue
        if entry["role"] == "system":
            raise InputError(f"{tokenizer.name_or_path}: {NO_SYSTEM}")
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template leaves out part of what the {entry['role']} says in "
            f"{entry['content'][:60]!r}, such as the thinking of earlier turns; take another format, or "
            "shots_with_traces: false"
        )
    return text


def _entry(tokenizer: Any, message: Message, style: FormatName) -> dict[str, str]:
    """Convert a message to the templates' form."""
    content = _as_text(tokenizer, message.content)
    parts = split_reasoning(content) if style == "reasoning" and message.role == "assistant" else None
    if parts is None:
        return {"role": message.role, "content": content}
    return {"role": message.role, "content": parts[1]} | _thought(parts[0])


def _thought(text: str) -> dict[str, str]:
    """Return thinking under both names that templates use (gpt-oss reads `thinking`)."""
    return {"reasoning_content": text, "thinking": text}


def _apply(tokenizer: Any, chat: list[dict[str, str]], style: FormatName, *, generation: bool) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                chat,
                add_generation_prompt=generation,
                tokenize=False,
                **_variables(style),
            )
        )
    except Exception as error:  # jinja raises whatever the template's author chose
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template refuses these messages: {error}; {OWN_TEMPLATE}"
        ) from error


def _variables(style: FormatName) -> dict[str, Any]:
    """Return what a template is given besides the messages."""
    return {"enable_thinking": style == "reasoning", "date_string": TODAY}


def _has_system(messages: Sequence[Message]) -> bool:
    return any(message.role == "system" for message in messages)


def _takes(tokenizer: Any, messages: Sequence[Message], style: FormatName) -> bool:
    try:
        _apply(tokenizer, [_entry(tokenizer, message, style) for message in messages], style, generation=True)
    except InputError:
        return False
    return True
