"""An adapter merged into its base, and whether the folder that comes out answers as the adapter does kept apart."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tracedistill.engines import Request
from tracedistill.errors import InputError
from tracedistill.formats import FormatName
from tracedistill.opening import shown_model
from tracedistill.recipes import StudentConfig
from tracedistill.rendering import end_id
from tracedistill.store import disk_error, read_json, write_json

if TYPE_CHECKING:
    from tracedistill.engines.local import LocalEngine
    from tracedistill.engines.parity import Judge, Parity

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What an adapter is; nothing else of its folder is weights."""


def write_merged(student: StudentConfig, adapter: Path, place: Path, max_tokens: int) -> None:
    """Write base and adapter as one model: summed in fp32, cast once to the student's dtype, in safetensors.

    A 4-bit student is loaded unquantised for this. Raises InputError where the adapter cannot be merged (modules
    tuned whole, weights that two modules share) or the disk has no room.
    """
    from tracedistill.engines.adapters import BaseModel, load_base

    base, _ = load_base(student.model, student.dtype)
    _check_room(place, sum(weight.nbytes for weight in base.parameters()))
    if not BaseModel(base, student.model).use(adapter, merge=True):
        raise InputError(
            f"{adapter}: cannot be merged into '{student.model}': it tunes modules whole, or weights that two modules "
            "share; export the adapter without --merge"
        )
    _save(base, student.model, place, max_tokens)


def write_tuned(student: StudentConfig, tuned: Path, place: Path, max_tokens: int) -> None:
    """Write a model all of whose weights were tuned, as it is."""
    from tracedistill.engines.adapters import load_base

    base, _ = load_base(str(tuned), student.dtype)
    _check_room(place, sum(weight.nbytes for weight in base.parameters()))
    _save(base, student.model, place, max_tokens)


def write_adapter(student: StudentConfig, adapter: Path, place: Path) -> None:
    """Copy an adapter, with the tokenizer and chat template that it was tuned with.

    Its base is named as others may know it: a folder of this machine by its last name.
    """
    from tracedistill.train import load_tokenizer

    missing = [name for name in ADAPTER_FILES if not (adapter / name).is_file()]
    if missing:
        raise InputError(f"{adapter}: {missing[0]} is missing; only adapters in safetensors are exported")
    config, weights = ADAPTER_FILES
    settings = read_json(adapter / config)
    write_json(place / config, {**settings, "base_model_name_or_path": shown_model(student.model)})
    shutil.copyfile(adapter / weights, place / weights)
    load_tokenizer(student.model).save_pretrained(str(place))


def compare(
    student: StudentConfig,
    style: FormatName,
    adapter: Path,
    merged: Path,
    requests: Sequence[Request],
    judge: Judge,
    batch_size: int,
) -> Parity:
    """The merged folder against the adapter kept apart on the student as the study runs it (4-bit, if that is so).

    Both are loaded fresh, one after the other, as anybody would load them.
    """
    from tracedistill.engines.local import LocalEngine
    from tracedistill.engines.parity import parity

    ways = _Ways(
        lambda: LocalEngine.load(str(merged), student.dtype, style=style),
        lambda: LocalEngine.load(student.model, student.dtype, adapter, student.quantization, merge=False, style=style),
    )
    return parity(cast("LocalEngine", ways), adapter, requests, judge, batch_size)


class _Ways:
    """Two engines that `parity` takes for one: merged, the folder; apart, the base with the adapter beside it.

    One is in memory at a time.
    """

    def __init__(self, merged: Callable[[], LocalEngine], apart: Callable[[], LocalEngine]) -> None:
        self._makers = {True: merged, False: apart}
        self._engine: LocalEngine | None = None
        self._merged = False

    def use(self, adapter: Path | None, merge: bool = True) -> None:  # noqa: ARG002 - the adapter is known
        self._engine = None
        self._engine, self._merged = self._makers[merge](), merge

    def describe(self) -> dict[str, Any]:
        return {"adapter": "merged" if self._merged else "adapter"}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_engine"], name)


def _save(model: Any, name: str, place: Path, max_tokens: int) -> None:
    from transformers import GenerationConfig

    from tracedistill.train import load_tokenizer

    tokenizer = load_tokenizer(name)
    known = model.generation_config.eos_token_id
    ends = {*(known if isinstance(known, list) else [known]), tokenizer.eos_token_id, end_id(tokenizer)} - {None}
    # as the study asks it: greedy, as long as the arm may write, ended where it was taught to end
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    try:
        model.save_pretrained(str(place), safe_serialization=True)
        tokenizer.save_pretrained(str(place))
    except OSError as error:
        raise disk_error(place, error) from error


def _check_room(place: Path, wanted: int) -> None:
    free = shutil.disk_usage(place).free
    if free < wanted:
        raise InputError(f"{place.parent}: {wanted / 1e9:.1f} GB are to be written, {free / 1e9:.1f} GB are free")
