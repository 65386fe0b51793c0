"""Merge an adapter into its base, and check that the result answers as the separate adapter does."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tracedistill.chat.formats import Format
from tracedistill.chat.templates import TODAY
from tracedistill.engines import Request
from tracedistill.engines.weights import PREFIX
from tracedistill.errors import InputError
from tracedistill.files import disk_error, read_json, write_json
from tracedistill.recipes import StudentConfig
from tracedistill.tools.export import plain_transformers
from tracedistill.tools.export.files import (
    base_ends,
    copy_companions,
    hub_name,
    keep_config,
    source_folder,
    write_generation,
)
from tracedistill.tools.open_study import shown_model

if TYPE_CHECKING:
    from tracedistill.engines.local import LocalEngine
    from tracedistill.engines.parity import Judge, Parity

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""Files of an adapter; nothing else in its folder is weights."""
BASE = "base"
"""Folder of an exported adapter with a base that is on no hub."""


def write_merged(student: StudentConfig, format: Format, adapter: Path, place: Path, max_tokens: int) -> None:
    """Write base and adapter as one model: summed in fp32, cast once to the student's dtype, in safetensors.

    A 4-bit student is loaded unquantised for this. Raises InputError if the adapter cannot be merged (fully tuned
    modules, weights that two modules share) or the disk is full.
    """
    from tracedistill.engines.adapters import BaseModel, load_base

    base, _ = load_base(student.model, student.dtype, revision=student.revision, chat_template=student.chat_template)
    _check_room(place, sum(weight.nbytes for weight in base.parameters()))
    if not BaseModel(base, student.model).set_adapter(adapter, merge=True):
        raise InputError(
            f"{adapter}: cannot be merged into '{student.model}': it tunes modules whole, or weights that two modules "
            "share; export the adapter without --merge"
        )
    _save(base, student, format, place, max_tokens)


def write_tuned(student: StudentConfig, format: Format, tuned: Path, place: Path, max_tokens: int) -> None:
    """Write a fully tuned model unchanged."""
    from tracedistill.engines.adapters import load_base

    base, _ = load_base(str(tuned), student.dtype, chat_template=student.chat_template)
    _check_room(place, sum(weight.nbytes for weight in base.parameters()))
    _save(base, student, format, place, max_tokens)


def write_adapter(student: StudentConfig, format: Format, adapter: Path, place: Path, max_tokens: int) -> None:
    """Copy an adapter with everything beside its base's weights, and its generation settings.

    The base is named portably: by its hub id, else by the last part of its path. A package's base is on no hub: it is
    copied to `base/`. rsLoRA's scale is written as an ordinary alpha, since converters read nothing else.
    """
    from tracedistill.engines.tokenizers import tokenizer_of

    missing = [name for name in ADAPTER_FILES if not (adapter / name).is_file()]
    if missing:
        raise InputError(f"{adapter}: {missing[0]} is missing; only adapters in safetensors are exported")
    config, weights = ADAPTER_FILES
    hub, commit = hub_name(student)
    settings = {
        **plain_scale(read_json(adapter / config)),
        "base_model_name_or_path": hub or shown_model(student.model),
        "revision": commit,
    }
    write_json(place / config, settings)
    shutil.copyfile(adapter / weights, place / weights)
    copy_companions(student, format, place)
    write_generation(tokenizer_of(student), place, max_tokens, base_ends(student))
    if student.model.startswith(PREFIX):
        folder = source_folder(student)
        _check_room(place, sum(path.stat().st_size for path in folder.iterdir()))
        shutil.copytree(folder, place / BASE, ignore=shutil.ignore_patterns("student.json"))


def plain_scale(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert rsLoRA's scale, alpha / sqrt(r), to a plain one, written as alpha sqrt(r) / r."""
    if not settings.get("use_rslora"):
        return settings
    ranks = settings.get("rank_pattern") or {}
    alphas = {key: alpha * math.sqrt(ranks.get(key, settings["r"])) for key, alpha in _alphas(settings).items()}
    scaled = {"use_rslora": False, "lora_alpha": settings["lora_alpha"] * math.sqrt(settings["r"])}
    return {**settings, **scaled, "alpha_pattern": alphas}


def _alphas(settings: Mapping[str, Any]) -> dict[str, float]:
    """Return layer pattern -> alpha for every pattern with its own rank or alpha."""
    own, ranks = settings.get("alpha_pattern") or {}, settings.get("rank_pattern") or {}
    return {key: own.get(key, settings["lora_alpha"]) for key in (*ranks, *own)}


def compare(
    student: StudentConfig,
    format: Format,
    adapter: Path,
    merged: Path,
    requests: Sequence[Request],
    judge: Judge,
    batch_size: int,
) -> Parity:
    """Compare the merged folder with the separate adapter on the student as the study runs it (4-bit if so).

    Both are loaded fresh, one after the other, as any user would load them.
    """
    from tracedistill.engines.local import LocalEngine
    from tracedistill.engines.parity import parity

    ways = _Ways(
        lambda: LocalEngine.load(str(merged), student.dtype, format=format),
        lambda: LocalEngine.load(
            student.model,
            student.dtype,
            adapter,
            student.quantization,
            merge=False,
            format=format,
            revision=student.revision,
            chat_template=student.chat_template,
        ),
    )
    return parity(cast("LocalEngine", ways), adapter, requests, judge, batch_size)


def texts_outside(
    student: StudentConfig, format: Format, folder: Path, requests: Sequence[Request], *, whole: bool
) -> list[str]:
    """Generate with the exported folder in a process that has only transformers and PEFT.

    Raises InputError if it cannot be opened.
    """
    base = str(folder / BASE) if (folder / BASE).is_dir() else str(source_folder(student))
    job = {
        "folder": str(folder),
        "base": None if whole else base,
        "dtype": student.dtype,
        "chats": [[{"role": turn.role, "content": turn.content} for turn in request.messages] for request in requests],
        "options": {"enable_thinking": format == "reasoning", "date_string": TODAY},
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "questions.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-I", str(plain_transformers.__file__), str(path)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        made = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)  # noqa: S603
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{folder.name}: transformers and PEFT cannot open what was exported: {last}")
    texts: list[str] = json.loads(made.stdout.splitlines()[-1])
    return texts


class _Ways:
    """Two engines that `parity` sees as one: merged, the folder; separate, the base with the adapter.

    One is in memory at a time.
    """

    def __init__(self, merged: Callable[[], LocalEngine], apart: Callable[[], LocalEngine]) -> None:
        self._makers = {True: merged, False: apart}
        self._engine: LocalEngine | None = None
        self._merged = False

    def set_adapter(self, adapter: Path | None, merge: bool = True) -> None:  # noqa: ARG002 - the adapter is known
        self._engine = None
        self._engine, self._merged = self._makers[merge](), merge

    def describe(self) -> dict[str, Any]:
        return {"adapter": "merged" if self._merged else "adapter"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_engine"], name)


def _save(model: Any, student: StudentConfig, format: Format, place: Path, max_tokens: int) -> None:
    from tracedistill.engines.tokenizers import tokenizer_of

    known = model.generation_config.eos_token_id
    try:
        model.save_pretrained(str(place), safe_serialization=True)
        keep_config(student, place)
        copy_companions(student, format, place)
        write_generation(tokenizer_of(student), place, max_tokens, known)
    except OSError as error:
        raise disk_error(place, error) from error


def _check_room(place: Path, wanted: int) -> None:
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise InputError(f"{place.parent}: {wanted / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
