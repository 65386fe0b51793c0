"""Chat messages to tokens: one rendering for training and for inference.

A training row is the tokens that the student is prompted with at inference, followed by the completion's own tokens
and the end token. The prompt is a token prefix by construction; `same_as_template` checks that the text which comes
out is what the model family's template writes for the whole conversation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tracedistill.errors import InputError
from tracedistill.records import Example, Message


@dataclass(frozen=True, slots=True)
class Rendered:
    """One training row in tokens."""

    input_ids: list[int]
    """Prompt, completion, end token."""
    completion_mask: list[int]
    """1 where the loss is taken: the completion and the end token."""


def prompt_ids(tokenizer: Any, messages: Sequence[Message], prefill: str = "") -> list[int]:
    """Token ids of the chat up to where the assistant writes, then of `prefill`."""
    text = _template(tokenizer, messages, generation=True) + prefill
    try:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    except TypeError as error:  # the tokenizer's word for a lone surrogate
        raise InputError(f"a prompt holds characters that no tokenizer reads: {text[:80]!r}") from error


def completion_ids(tokenizer: Any, completion: str) -> list[int]:
    """Token ids of an assistant's turn and the end token."""
    return [*tokenizer(completion, add_special_tokens=False)["input_ids"], end_id(tokenizer)]


def render_example(tokenizer: Any, example: Example) -> Rendered:
    """The row as it is trained on."""
    prompt, completion = prompt_ids(tokenizer, example.prompt), completion_ids(tokenizer, example.completion)
    return Rendered(prompt + completion, [0] * len(prompt) + [1] * len(completion))


def same_as_template(tokenizer: Any, example: Example) -> bool:
    """Whether prompt + completion + end token is the text that the template writes for the whole conversation.

    White space behind the end token is the template's own and not compared.
    """
    whole = _template(tokenizer, (*example.prompt, Message("assistant", example.completion)), generation=False)
    end = tokenizer.convert_ids_to_tokens(end_id(tokenizer))
    ours = _template(tokenizer, example.prompt, generation=True) + example.completion + end
    return bool(whole.rstrip() == ours or (whole.startswith(ours) and not whole[len(ours) :].strip()))


def end_id(tokenizer: Any) -> int:
    """Id of the token that ends the assistant's turn."""
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no end token: the student could never learn to stop")
    return int(tokenizer.eos_token_id)


def template_hash(tokenizer: Any) -> str:
    """First 16 hexadecimal digits of the SHA-256 of the chat template."""
    return hashlib.sha256((tokenizer.chat_template or "").encode()).hexdigest()[:16]


def _as_text(tokenizer: Any, content: str) -> str:
    """The content with special tokens broken by a space: a story must not be able to end the user's turn."""
    for token in tokenizer.all_special_tokens:
        if token in content:
            content = content.replace(token, f"{token[0]} {token[1:]}")
    return content


def _template(tokenizer: Any, messages: Sequence[Message], *, generation: bool) -> str:
    if not tokenizer.chat_template:
        raise InputError(
            f"{tokenizer.name_or_path}: the tokenizer has no chat template; use an instruction-tuned model"
        )
    chat = [{"role": message.role, "content": _as_text(tokenizer, message.content)} for message in messages]
    try:
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=generation, tokenize=False)
    except Exception as error:  # jinja raises whatever the template's author chose
        raise InputError(f"{tokenizer.name_or_path}: its chat template refuses these messages: {error}") from error
    if generation and text == tokenizer.apply_chat_template(chat, add_generation_prompt=False, tokenize=False):
        raise InputError(f"{tokenizer.name_or_path}: its chat template has no generation prompt")
    return str(text)
