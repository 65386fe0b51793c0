"""Chat messages to tokens, in the same way for training and inference.

A training row is the tokens of the inference prompt, followed by the completion's tokens and the token that ends the
assistant's turn. The prompt is thus a token prefix by construction. `difference` checks that the resulting text is what
the model family's template writes for the whole conversation.

The format (formats.Format) decides whether a family that can think does so: `reasoning` passes the trace to the
template as `reasoning_content`; `plain` and `tags` switch thinking off (`enable_thinking` false). templates.py finds
out what the template writes around the texts.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.templates import (
    OPENED,
    SENTINEL,
    THOUGHT,
    chat_entry,
    end_id,
    end_token,
    fill_in,
    marks_of,
    render_turn,
    strip_special,
    turn_of,
    variables_of,
    with_fixed_day,
)
from tracedistill.errors import InputError
from tracedistill.records import Example, Message

NO_REASONING = "use format: plain, or tags"
"""Remedy for a family whose template does not separate thinking."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One training row in tokens."""

    input_ids: list[int]
    """Prompt, completion, end token."""
    completion_mask: list[int]
    """1 for the completion and the end token, whose loss is taken."""


def prompt_ids(tokenizer: Any, messages: Sequence[Message], prefill: str = "", format: Format = "plain") -> list[int]:
    """Tokenise the chat up to the assistant's turn, then `prefill` (the beginning of a completion).

    Prompt and prefill are tokenised separately, as in a training row.
    """
    ids = _tokens(tokenizer, _head(tokenizer, messages, format))
    if not prefill:
        return ids
    turn = turn_of(tokenizer, format)
    return ids + _tokens(tokenizer, completion_text(tokenizer, messages, prefill, format).removesuffix(turn.trail))


def completion_text(tokenizer: Any, prompt: Sequence[Message], completion: str, format: Format = "plain") -> str:
    """Render the assistant's turn as this family writes it, without its end token.

    In the format `reasoning`, it is what the template writes after its generation prompt for a message with
    `reasoning_content`, or what ends the thinking that the generation prompt has opened. In others, it is the
    completion within the template's white space. White space at the ends of the text is kept even if the template
    strips it, since code may begin with an indentation. Raises InputError for a template that does not support
    reasoning.
    """
    written = _as_written(tokenizer, prompt, completion, format)
    text = chat_entry(tokenizer, Message("assistant", completion), format).get("reasoning_content", completion)
    bare = text.strip()
    return written if text in written or not bare else written.replace(bare, text, 1)


def _as_written(tokenizer: Any, prompt: Sequence[Message], completion: str, format: Format) -> str:
    """Return what the template itself writes; it may strip white space."""
    entry, turn = chat_entry(tokenizer, Message("assistant", completion), format), turn_of(tokenizer, format)
    if "reasoning_content" not in entry:
        strips = marks_of(tokenizer).strips
        return f"{turn.lead}{completion.strip() if strips else completion}{turn.trail}"
    if turn.thinks:
        return f"{entry['reasoning_content']}\n</think>\n\n{entry['content']}{turn.trail}"
    head = _head(tokenizer, prompt, format)
    whole = fill_in(tokenizer, (*prompt, Message("assistant", completion)), format, generation=False, checked=False)
    text, end, tail = whole[len(head) :].rpartition(end_token(tokenizer))
    written = all(entry[key].strip() in text for key in ("content", "reasoning_content"))
    if not (whole.startswith(head) and end and written) or strip_special(tokenizer, tail):
        raise InputError(
            f"{tokenizer.name_or_path}: its chat template does not write a message's reasoning_content and content "
            f"after its own generation prompt; {NO_REASONING}"
        )
    return text


def read_completion(tokenizer: Any, ids: Sequence[int], format: Format = "plain", *, begun: bool = False) -> str:
    """Decode a completion without special tokens: the inverse of `completion_text`.

    If a family marks its thinking by special tokens (gpt-oss by channels), think tags replace them. `begun`: the tokens
    continue a prefill, so white space at their start belongs to the text.
    """
    marks = _channels(tokenizer, tokenizer.chat_template, format)
    if marks is None:
        text = str(tokenizer.decode(ids, skip_special_tokens=True))
        lead = turn_of(tokenizer, format).lead
        return text if begun else text.removeprefix(lead)
    text = str(tokenizer.decode(ids))
    for mark, tag in zip(marks, ("<think>\n", "\n</think>\n\n", ""), strict=True):
        text = text.replace(mark, tag, 1) if tag else text.replace(mark, "")
    for token in marks_of(tokenizer).special:
        text = text.replace(token, "")
    return text


def special_in(tokenizer: Any, text: str) -> str | None:
    """Return a special token of this tokenizer that the text contains; None if it contains none."""
    special = marks_of(tokenizer).special
    return next((token for token in special if token in text), None)


def render_example(tokenizer: Any, example: Example, format: Format = "plain") -> Rendered:
    """Render a training row."""
    prompt = prompt_ids(tokenizer, example.prompt, format=format)
    text = completion_text(tokenizer, example.prompt, example.completion, format)
    completion = [*_tokens(tokenizer, text), end_id(tokenizer)]
    return Rendered(prompt + completion, [0] * len(prompt) + [1] * len(completion))


def difference(tokenizer: Any, example: Example, format: Format = "plain") -> str:
    """Describe where prompt + completion + end token differs from the template's text for the whole conversation.

    Return an empty text if they are equal. White space and special tokens after the end token are not compared.
    """
    assistant = Message("assistant", example.completion)
    whole = fill_in(tokenizer, (*example.prompt, assistant), format, generation=False, checked=False)
    turn = turn_of(tokenizer, format)
    head = fill_in(tokenizer, example.prompt, format, generation=True)
    if turn.thinks:  # the template drops the thinking of a finished turn, so only the rest is compared
        head = OPENED.sub("", head)
        content = chat_entry(tokenizer, assistant, format)["content"]
        ours = f"{head}{turn.lead}{content}{turn.trail}{end_token(tokenizer)}"
    else:
        ours = head + turn.opening + _as_written(tokenizer, example.prompt, example.completion, format)
        ours += "" if turn.ends_open else end_token(tokenizer)
    if whole.startswith(ours) and not strip_special(tokenizer, whole[len(ours) :]):
        return ""
    both = min(len(ours), len(whole))
    at = next((place for place in range(both) if ours[place] != whole[place]), both)
    start = max(0, at - 20)
    return f"the row has {ours[start : at + 40]!r} where the template writes {whole[start : at + 40]!r}"


def prompt_template(tokenizer: Any, format: Format = "plain") -> str:
    """Return a chat template for other programs, whose generation prompt is complete for this format."""
    template = with_fixed_day(str(tokenizer.chat_template))
    opening = turn_of(tokenizer, format).opening
    if not opening:
        return template
    return f"{template}{{% if add_generation_prompt %}}{{{{ {json.dumps(opening, ensure_ascii=False)} }}}}{{% endif %}}"


def for_other_programs(
    tokenizer: Any, messages: Sequence[Message], format: Format = "plain"
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return the messages and variables with which `prompt_template` renders `prompt_ids` elsewhere."""
    return [chat_entry(tokenizer, message, format) for message in messages], variables_of(format)


@functools.lru_cache(maxsize=8)
def _channels(tokenizer: Any, template: str | None, format: Format) -> tuple[str, str, str] | None:
    """Return the text before the thinking, between it and the answer, and before an answer without thinking.

    None unless these are special tokens, which decoding removes.
    """
    if format != "reasoning" or not template:
        return None
    prompt = (Message("user", "a"),)
    try:
        whole = completion_text(tokenizer, prompt, f"<think>\n{THOUGHT}\n</think>\n\n{SENTINEL}", format)
        alone = render_turn(tokenizer, SENTINEL)[len(_head(tokenizer, prompt, format)) :].partition(SENTINEL)[0]
    except InputError:
        return None
    opening, _, rest = whole.partition(THOUGHT)
    closing = rest.partition(SENTINEL)[0]
    if special_in(tokenizer, opening) is None or special_in(tokenizer, closing) is None:
        return None
    return opening, closing, alone


def _head(tokenizer: Any, messages: Sequence[Message], format: Format) -> str:
    """Render a prompt up to the assistant's text."""
    text = fill_in(tokenizer, messages, format, generation=True)
    return text + turn_of(tokenizer, format).opening


def _tokens(tokenizer: Any, text: str) -> list[int]:
    try:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    except TypeError as error:  # a lone surrogate
        raise InputError(f"a text contains characters that a tokenizer cannot encode: {text[:80]!r}") from error
