"""Find out which rows may share a batch, by a trial on the model itself.

A few rows are run together and each alone. If their logits differ by more than rounding, padding changes the model's
output, or it has state that a shared prefix does not restore. Then the next simpler layout is tried.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import psutil
import torch

from tracedistill.engines.decoding import Batch, Layout, read_prefix
from tracedistill.engines.weights import brief_cause
from tracedistill.errors import InputError

TOLERANCE, HALF_TOLERANCE = 1e-3, 0.1
"""Largest difference of a logit, in standard deviations of the logits: in float32, and in half precision if memory does
not suffice for float32."""
STATE_TOLERANCE = 0.1
"""The same between a pass per token and one pass over all tokens, which recurrent layers compute differently."""
ELSEWHERE = "use another model, or serve it elsewhere and set students.<name>.base_url"
"""Advice for a model that cannot be run here."""
WINDOW = 4
"""Size of a sliding window during a trial, so that a short row exceeds it."""
PREFIX, TAILS = 8, (1, 8, 12)
"""Tokens of the prefix and of the trial rows after it: one row gets more padding than the prefix is long, one less, one
none."""
WORDS = "Mary took 3 apples to the office, then went back; how many are there? Answer: 12, I think (or 7)."
"""Source of the trial tokens."""
NARROWED = ("sliding_window", "attention_chunk_size")
"""Settings that limit an attention layer's window."""


@dataclass(frozen=True, slots=True)
class LayoutTrial:
    """The result of trying a model."""

    layout: Layout
    """The fastest layout in which rows give the same results as alone."""
    note: str
    """Why faster ones are not used; empty if there are none."""


def try_layouts(model: Any, tokenizer: Any, name: str) -> LayoutTrial:
    """Find the fastest layout in which every row gives the same results as alone.

    Computes in float32 if memory allows, else in the model's dtype. Raises InputError for a model that cannot be run
    token by token.
    """
    ids = tokenizer(WORDS, add_special_tokens=False)["input_ids"]
    draw = random.Random(0)
    prefix = draw.choices(ids, k=PREFIX)
    rows = [prefix + draw.choices(ids, k=length) for length in TAILS]
    forced = draw.choices(ids, k=2)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ids[0]
    device = model.get_input_embeddings().weight.device
    # inference mode comes last: weights converted inside it could not be tuned or merged afterwards
    with in_float32(model) as exact, _narrowed(model.config.get_text_config()), torch.inference_mode():
        try:
            alone = [_logits(model, [row], pad, device, forced) for row in rows]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a model's code may raise anything
            raise InputError(
                f"student '{name}': models of type {model.config.model_type} cannot run here "
                f"({type(error).__name__}: {brief_cause(error)}); {ELSEWHERE}"
            ) from error
        spread = float(torch.cat([part for row in alone for part in row]).float().std())
        whole = []
        for row in rows:
            ids = torch.tensor([row + forced], device=device)
            whole += model(input_ids=ids, use_cache=False).logits[0, -len(forced) - 1 :]
        if _drift([whole], [[part for row in alone for part in row]]) > STATE_TOLERANCE * spread:
            raise InputError(
                f"student '{name}': models of type {model.config.model_type} give other results token by token "
                f"than in one pass; {ELSEWHERE}"
            )
        notes: list[str] = []
        for layout in get_args(Layout)[:-1]:
            try:
                together = _together(model, layout, rows, prefix, pad, device, forced)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                notes.append(f"{layout}: its layers do not support it ({type(error).__name__}: {brief_cause(error)})")
                continue
            drift = _drift(together, alone) / spread
            if drift <= (TOLERANCE if exact else HALF_TOLERANCE):
                return LayoutTrial(layout, "; ".join(notes))
            notes.append(
                f"{layout}: changes logits by {drift:.2g} standard deviations "
                f"(allowed: {TOLERANCE if exact else HALF_TOLERANCE:g})"
            )
    return LayoutTrial("equal lengths", "; ".join(notes))


def _together(
    model: Any,
    layout: Layout,
    rows: Sequence[list[int]],
    prefix: list[int],
    pad: int,
    device: torch.device,
    forced: list[int],
) -> list[list[torch.Tensor]]:
    shared = read_prefix(model, prefix, device) if layout == "shared prefix" else None
    batch = Batch(model, rows, pad, device, shared)
    steps = [batch.first()[:, -1], batch.next(forced[:1] * len(rows))]
    batch.keep([0, len(rows) - 1])  # rows leave a batch when they end
    ends = batch.next(forced[1:] * 2)
    out = [[step[number] for step in steps] for number in range(len(rows))]
    out[0].append(ends[0])
    out[-1].append(ends[1])
    return out


def _logits(
    model: Any, rows: Sequence[list[int]], pad: int, device: torch.device, forced: Sequence[int]
) -> list[torch.Tensor]:
    batch = Batch(model, rows, pad, device)
    return [batch.first()[0, -1], *(batch.next([token])[0] for token in forced)]


def _drift(together: Sequence[Sequence[torch.Tensor]], alone: Sequence[Sequence[torch.Tensor]]) -> float:
    pairs = [
        (a, b) for row, other in zip(together, alone, strict=True) for a, b in zip(row, other, strict=False)
    ]  # a row that left the batch has one step less
    # `max` does not keep a NaN after a number
    worst = torch.stack([(a.float() - b.float()).abs().max() for a, b in pairs]).max()
    return float(worst) if bool(torch.isfinite(worst)) else float("inf")


@contextmanager
def in_float32(model: Any) -> Iterator[bool]:
    """Convert half-precision weights to float32 within the block if memory allows; yield whether they are exact.

    Converting back restores every weight bit by bit.
    """
    weights = [*model.parameters(), *model.buffers()]
    half = [(weight, weight.dtype) for weight in weights if weight.dtype in (torch.bfloat16, torch.float16)]
    wanted = sum(weight.numel() for weight, _ in half) * 4
    if any(not weight.is_floating_point() for weight in model.parameters()) or wanted > _free(weights[0].device):
        yield False
        return
    try:
        for weight, _ in half:
            weight.data = weight.data.float()
        yield True
    finally:
        for weight, dtype in half:
            weight.data = weight.data.to(dtype)


def _free(device: torch.device) -> float:
    """Return the bytes of a device that may be used temporarily."""
    if device.type == "cuda":
        return 0.8 * float(torch.cuda.mem_get_info(device)[0])
    return 0.6 * float(psutil.virtual_memory().available)


@contextmanager
def _narrowed(config: Any) -> Iterator[None]:
    """Shorten attention windows within the block, if attention reads them from the settings at every call."""
    own = {key: getattr(config, key, None) for key in NARROWED}
    own = {key: value for key, value in own.items() if value and value > WINDOW}
    if not str(getattr(config, "_attn_implementation", None)).endswith(("sdpa", "eager")):
        own = {}  # other implementations copy the window into their layers
    try:
        for key in own:
            setattr(config, key, WINDOW)
        yield
    finally:
        for key, value in own.items():
            setattr(config, key, value)
