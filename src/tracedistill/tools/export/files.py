"""Files beside a student's weights that are copied unchanged: tokenizer, processors, licence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import prompt_template
from tracedistill.chat.templates import end_id
from tracedistill.engines.identity import identity_of
from tracedistill.engines.sizes import local_folder
from tracedistill.errors import InputError
from tracedistill.files import atomic, read_json, write_json
from tracedistill.recipes import StudentConfig

CONFIG, GENERATION, TEMPLATE = "config.json", "generation_config.json", "chat_template.jinja"
TOKENIZER_CONFIG = "tokenizer_config.json"
KINDS = (".json", ".jinja", ".model", ".tiktoken", ".txt")
"""Suffixes of tokenizers' and processors' files."""
LEGAL = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
"""Prefixes of files with legal terms, which are always copied."""
OWN = (
    CONFIG,
    GENERATION,
    "adapter_config.json",
    "student.json",
    "manifest.json",
    "training.json",
    "trainer_state.json",
)
"""Files of a model folder about other weights than the exported ones, or about how they were made."""


def source_folder(student: StudentConfig) -> Path:
    """Return the folder of a student's own files. Raises InputError if they are not on this machine."""
    folder = local_folder(student.model, student.revision)
    if folder is None:
        raise InputError(f"student '{student.model}': its files are no longer on this machine; evaluate it again")
    return folder


def copy_companions(student: StudentConfig, format: Format, place: Path) -> None:
    """Copy a student's tokenizer, processor and licence files; the chat template is the one used for tuning."""
    from tracedistill.engines.tokenizers import tokenizer_of

    folder = source_folder(student)
    for path in sorted(folder.iterdir()):
        legal = path.name.upper().startswith(LEGAL)
        wanted = path.suffix in KINDS and not path.name.endswith(".index.json") and path.name not in OWN
        if path.is_file() and (legal or wanted):
            shutil.copyfile(path, place / path.name)
    if not (place / TOKENIZER_CONFIG).is_file():  # a bare tokenizer.json does not tell its special tokens
        tokenizer_of(student).save_pretrained(str(place))
    _set_template(place, prompt_template(tokenizer_of(student), format))


def _set_template(place: Path, text: str) -> None:
    """Write a chat template everywhere programs look for one, unless it is already there."""
    settings = read_json(place / TOKENIZER_CONFIG)
    file = place / TEMPLATE
    known = file.read_text(encoding="utf-8") if file.exists() else settings.get("chat_template")
    if known == text:
        return
    with atomic(file) as stream:
        stream.write(text)
    if "chat_template" in settings:
        write_json(place / TOKENIZER_CONFIG, {**settings, "chat_template": text})


def write_generation(tokenizer: Any, place: Path, max_tokens: int, known: Any) -> None:
    """Write the generation settings: greedy, with the arm's max_tokens and the trained end token.

    `known`: the end tokens of the base's own settings, kept besides the trained one.
    """
    from transformers import GenerationConfig

    ends = {*(known if isinstance(known, list) else [known]), tokenizer.eos_token_id, end_id(tokenizer)} - {None}
    GenerationConfig(
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    ).save_pretrained(str(place))


def base_ends(student: StudentConfig) -> Any:
    """Return the end tokens of a student's own settings."""
    folder = source_folder(student)
    for name in (GENERATION, CONFIG):
        if (folder / name).is_file() and (ends := read_json(folder / name).get("eos_token_id")) is not None:
            return ends
    return None


def keep_config(student: StudentConfig, place: Path) -> None:
    """Replace the saved config.json by the student's own, if both describe the same class.

    Older programs read keys that the library has since renamed. Only the weights' dtype is changed, and quantisation is
    removed.
    """
    own, saved = read_json(source_folder(student) / CONFIG), read_json(place / CONFIG)
    if own.get("architectures") != saved.get("architectures") or own.get("model_type") != saved.get("model_type"):
        return
    dtype = saved.get("dtype", saved.get("torch_dtype"))
    kept = {key: value for key, value in own.items() if key not in ("quantization_config", "_name_or_path")}
    write_json(place / CONFIG, {**kept, **{key: dtype for key in ("dtype", "torch_dtype") if key in own}})


def hub_name(student: StudentConfig) -> tuple[str | None, str | None]:
    """Return (id, commit) of a student's base on the hub; (None, None) if it is not on any hub."""
    from tracedistill.engines.weights import PACKAGED, PREFIX

    if student.model.startswith(PREFIX):
        return PACKAGED[student.model.removeprefix(PREFIX)].hub, None
    folder = local_folder(student.model, student.revision)
    if folder is not None and folder.parent.name == "snapshots":
        return folder.parents[1].name.removeprefix("models--").replace("--", "/"), folder.name
    return None, None


def content_facts(student: StudentConfig) -> dict[str, Any]:
    """Return the facts on the base for manifest and card, besides its name."""
    hub, commit = hub_name(student)
    known = identity_of(student.model, student.revision)
    return {
        "hub": hub,
        "revision": commit,
        "sha256": None if known is None else known.sha256,
        "chat_template": "recipe" if student.chat_template is not None else "tokenizer",
    }
