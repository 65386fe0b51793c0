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
"""What stands in for a padding token where a tokenizer names none (Llama), if its vocabulary has it; else the end."""


def tokenizer_of(student: StudentConfig) -> Any:
    """Load the tokenizer of a recipe's student, as `load_tokenizer` gives it."""
    return load_tokenizer(student.model, student.revision, student.chat_template)


def load_tokenizer(model: str, revision: str | None = None, chat_template: str | None = None) -> Any:
    """Load the student's tokenizer, with a padding token; raises InputError if there is none."""
    tokenizer = read_tokenizer(model, revision, chat_template)
    if tokenizer.pad_token_id is None:
        vocabulary = tokenizer.get_vocab()
        tokenizer.pad_token = next((token for token in PADDING if token in vocabulary), tokenizer.eos_token)
    return tokenizer


def read_tokenizer(model: str, revision: str | None = None, chat_template: str | None = None) -> Any:
    """Load a student's tokenizer, with this chat template in place of its own; no code of its folder is run.

    `chat_template`: a template's text, or a name out of the tokenizer's list of templates, of which `default` is taken
    otherwise. Raises InputError if there is no tokenizer, or no such template.
    """
    from transformers import AutoTokenizer

    folder = student_folder(model, revision)
    options = {} if isinstance(folder, Path) else {"revision": revision}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, **options)
    except Exception as error:  # a damaged file ends in a dozen unrelated types, `Exception` itself among them
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
    """Return the texts that a tokenizer turns into control ids, read from its files without loading it.

    Files that are missing or of another shape name none: who loads the tokenizer says what is wrong with it.
    """
    found: set[str] = set()
    for name, place in (("tokenizer.json", "added_tokens"), ("tokenizer_config.json", "added_tokens_decoder")):
        with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
            tokens = json.loads((folder / name).read_text(encoding="utf-8")).get(place) or ()
            entries = tokens.values() if isinstance(tokens, dict) else tokens
            found |= {str(entry["content"]) for entry in entries if isinstance(entry, dict) and entry.get("special")}
    return frozenset(token for token in found if len(token.strip()) > 1)


def end_ids_of(model: str, revision: str | None, tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that end an answer: the model's, the tokenizer's and the template's; no weights are loaded."""
    from transformers import GenerationConfig

    from tracedistill.chat.templates import end_id

    folder = student_folder(model, revision)
    options = {} if isinstance(folder, Path) else {"revision": revision}
    config = _config_of(model, revision)
    named = [getattr(config.get_text_config(), "eos_token_id", None), tokenizer.eos_token_id, end_id(tokenizer)]
    with contextlib.suppress(OSError, ValueError):
        named.append(GenerationConfig.from_pretrained(str(folder), **options).eos_token_id)
    flat = [each for item in named for each in (item if isinstance(item, list) else [item])]
    return tuple(sorted({int(each) for each in flat if each is not None}))


def window_of(model: str, revision: str | None = None) -> int:
    """Return how many tokens a model has room for; no weights are loaded."""
    found = getattr(_config_of(model, revision).get_text_config(), "max_position_embeddings", None)
    return int(found or 1 << 30)


def _config_of(model: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    folder = student_folder(model, revision)
    options = {} if isinstance(folder, Path) else {"revision": revision}
    try:
        return AutoConfig.from_pretrained(str(folder), trust_remote_code=False, **options)
    except Exception as error:  # as with tokenizers
        raise InputError(f"student '{model}': cannot be loaded: no config.json: {brief_cause(error)}") from error
