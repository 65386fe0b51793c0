"""A student's tokenizer: its chat template, its padding token, its control tokens."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from tracedistill.engines.weights import brief_cause, student_folder
from tracedistill.errors import InputError
from tracedistill.recipes import StudentConfig

PADDING = ("<|finetune_right_pad_id|>", "<|endoftext|>", "<pad>", "<unk>")
"""Padding tokens to try, in order, if a tokenizer names none (Llama); if its vocabulary has none, its end token."""


def tokenizer_of(student: StudentConfig) -> Any:
    """Load the tokenizer of a recipe's student; see `load_tokenizer`."""
    return load_tokenizer(student.model, student.revision, student.chat_template)


def load_tokenizer(model: str, revision: str | None = None, chat_template: str | None = None) -> Any:
    """Load a student's tokenizer like `read_tokenizer`, and give it a padding token if it names none."""
    tokenizer = read_tokenizer(model, revision, chat_template)
    if tokenizer.pad_token_id is None:
        vocabulary = tokenizer.get_vocab()
        tokenizer.pad_token = next((token for token in PADDING if token in vocabulary), tokenizer.eos_token)
    return tokenizer


def read_tokenizer(model: str, revision: str | None = None, chat_template: str | None = None) -> Any:
    """Load a student's tokenizer without running code of its folder.

    `chat_template` replaces its own: a template's text, or a name in the tokenizer's list of templates; None: the only
    one, or `default`. Raises InputError if there is no tokenizer, or no such template.
    """
    from transformers import AutoTokenizer

    folder, options = _source(model, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # a damaged file raises a dozen unrelated types
        raise InputError(f"student '{model}': cannot be loaded: no tokenizer: {brief_cause(error)}") from error
    tokenizer.chat_template = _chosen_template(model, tokenizer.chat_template, chat_template)
    return tokenizer


def _chosen_template(model: str, own: str | dict[str, str] | None, wanted: str | None) -> str | None:
    """Choose the chat template from the tokenizer's own (one, or several by name) and the recipe."""
    named = own if isinstance(own, dict) else {}
    if wanted is not None:
        if wanted in named:
            return named[wanted]
        if "{" in wanted:
            return wanted
        known = f"its tokenizer's templates are {', '.join(sorted(named))}" if named else "its tokenizer has no list"
        raise InputError(
            f"student '{model}': chat_template '{wanted}' is neither a file nor a template's text, and {known}"
        )
    if not isinstance(own, dict):
        return own
    if "default" in own:
        return own["default"]
    raise InputError(
        f"student '{model}': its tokenizer has several chat templates and no default; choose one with "
        f"students.<name>.chat_template: {' or '.join(sorted(own))}"
    )


def special_tokens(folder: Path) -> frozenset[str]:
    """Return the texts that a tokenizer converts to control ids, read from its files without loading it.

    Missing or invalid files are skipped; loading the tokenizer reports the error.
    """
    special: set[str] = set()
    for name, place in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "added_tokens_decoder")):
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
            tokens = json.loads((folder / name).read_text(encoding="utf-8")).get(place) or ()
            entries = tokens.values() if isinstance(tokens, dict) else tokens
            special |= {str(entry["content"]) for entry in entries if isinstance(entry, dict) and entry.get("special")}
    return frozenset(token for token in special if len(token.strip()) > 1)


def end_ids(tokenizer: Any, *configured: int | list[int] | None) -> tuple[int, ...]:
    """Return the ids that end an answer: the tokenizer's, the chat template's and those that the model configures."""
    from tracedistill.chat.templates import end_id

    # the template's end of a turn may be neither the tokenizer's nor the model's (Gemma)
    items = (tokenizer.eos_token_id, end_id(tokenizer), *configured)
    flat = [token for item in items for token in (item if isinstance(item, list) else [item])]
    return tuple(sorted({int(token) for token in flat if token is not None}))


def end_ids_of(model: str, revision: str | None, tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that end an answer, without loading weights."""
    from transformers import GenerationConfig

    configured = [getattr(_config_of(model, revision).get_text_config(), "eos_token_id", None)]
    with contextlib.suppress(OSError, ValueError):
        folder, options = _source(model, revision)
        configured.append(GenerationConfig.from_pretrained(folder, **options).eos_token_id)
    return end_ids(tokenizer, *configured)


def window_of(model: str, revision: str | None = None) -> int:
    """Return a model's context window in tokens, without loading weights."""
    window = getattr(_config_of(model, revision).get_text_config(), "max_position_embeddings", None)
    return int(window or 1 << 30)


def _config_of(model: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    folder, options = _source(model, revision)
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, **options)
    except Exception as error:  # a damaged file raises a dozen unrelated types
        raise InputError(f"student '{model}': cannot be loaded: no config.json: {brief_cause(error)}") from error


def _source(model: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Return the name and options that `from_pretrained` needs."""
    folder = student_folder(model, revision)
    return str(folder), {} if isinstance(folder, Path) else {"revision": revision}
