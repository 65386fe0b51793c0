"""Decode tokens for a batch of prompts, for evaluation and training: padding, cached states, sampling.

Padding is to the left of the whole row. A row whose own part is shorter than the longest one of its batch recomputes
the end of the shared prefix instead of being padded. The distance between two positions is thus the distance between
two tokens in every row, as sliding windows and chunked attention count it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

from tracedistill.engines import Finish, Sampling

Layout = Literal["shared prefix", "padded", "equal lengths"]
"""How rows may be run together. shared prefix: computed once, the rest padded; padded: every row whole; equal lengths:
only rows that need no padding, for models whose results it changes."""

CACHE_NAMES = ("past_key_values", "cache_params")
"""Models' names for the state kept between two tokens."""

Ended = Callable[[list[int], int], bool]
"""(tokens so far, row) -> whether the row has ended."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The common first tokens of many prompts, with the keys and values that a model computed for them."""

    tokens: list[int]
    cache: DynamicCache
    """One row; layers with a window keep all of it, since rows need different parts."""


def read_prefix(model: Any, tokens: list[int], device: torch.device) -> Prefix:
    """Run a prefix once."""
    cache = DynamicCache()  # with the model's settings it would keep a window only
    ids = torch.tensor([tokens], device=device)
    model(input_ids=ids, past_key_values=cache, use_cache=True, **_logits_option(model, 1))
    return Prefix(tokens, cache)


class Batch:
    """Prompts that are run together."""

    def __init__(
        self, model: Any, prompts: Sequence[list[int]], pad: int, device: torch.device, prefix: Prefix | None = None
    ) -> None:
        """Prepare a batch. Every prompt must begin with the prefix and continue after it."""
        self.model = model
        known = _parameters(model)
        self._name = next((name for name in CACHE_NAMES if name in known), CACHE_NAMES[0])
        self._positions = "position_ids" in known
        head = [] if prefix is None else prefix.tokens
        own = [len(prompt) - len(head) for prompt in prompts]
        shifts = [max(own) - length for length in own]
        width = max(own)
        blocks = [[pad] * max(0, width - len(prompt)) + prompt[-width:] for prompt in prompts]
        self._ids = torch.tensor(blocks, device=device)
        full = len(head) + width
        self._mask = torch.tensor([[0] * shift + [1] * (full - shift) for shift in shifts], device=device)
        self._cache: Any = None if prefix is None else _shifted(prefix.cache, shifts, device)

    def first(self, keep: int = 1) -> torch.Tensor:
        """Return logits [rows, keep, vocabulary] at the last `keep` positions of the prompts."""
        return self._run(keep)

    def next(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return logits [rows, vocabulary] after one more token per row."""
        self._ids = torch.tensor([[token] for token in tokens], device=self._ids.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(tokens), 1))], dim=1)
        return self._run(1)[:, -1]

    def keep(self, places: Sequence[int]) -> None:
        """Continue with these rows only; a row named several times continues as several rows."""
        rows = torch.tensor(places, dtype=torch.long, device=self._ids.device)
        self._ids, self._mask = self._ids[rows], self._mask[rows]
        # beside recurrent layers, batch_select_indices selects in attention layers only; reorder_cache handles both
        recurrent = any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in self._cache.layers)
        (self._cache.reorder_cache if recurrent else self._cache.batch_select_indices)(rows)

    def _run(self, keep: int) -> torch.Tensor:
        options: dict[str, Any] = {self._name: self._cache, **_logits_option(self.model, keep)}
        if self._positions:
            positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -self._ids.shape[1] :]
        if self._cache is None or self._name == CACHE_NAMES[0]:
            options["attention_mask"] = self._mask  # a model that keeps only a state has read the padding by then
        output = self.model(input_ids=self._ids, use_cache=True, **options)
        self._cache = getattr(output, self._name)
        logits: torch.Tensor = output.logits[:, -keep:]
        return logits


def _parameters(model: Any) -> frozenset[str]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters)


def _logits_option(model: Any, keep: int) -> dict[str, int]:
    """Ask a model for the logits of the last positions only, if it supports that."""
    return {"logits_to_keep": keep} if "logits_to_keep" in _parameters(model) else {}


def _shifted(cache: DynamicCache, shifts: Sequence[int], device: torch.device) -> DynamicCache:
    """Shift the prefix's keys and values right for every row; what falls out is recomputed."""
    length = cache.get_seq_length()
    places = torch.arange(length, device=device)[None] - torch.tensor(shifts, device=device)[:, None]
    places = places.clamp(min=0)  # masked there
    out = DynamicCache()
    for number, layer in enumerate(cache.layers):
        if not layer.is_initialized:
            continue  # layers that use another one's keys and values
        keys, values = (part[0][:, places].transpose(0, 1).contiguous() for part in (layer.keys, layer.values))
        out.update(keys, values, number)
    return out


class Draw:
    """Samples one row's next token with its own generator, so that rows do not depend on their neighbours."""

    def __init__(self, sampling: Sampling, seed: int, sample: int, device: torch.device) -> None:
        self.sampling = sampling
        self.generator = torch.Generator(device=device)
        # a 63-bit hash, so that neighbouring seeds and samples have unrelated generators
        mixed = seed * 0x9E3779B97F4A7C15 + sample * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB
        self.generator.manual_seed(mixed & (2**63 - 1))

    def pick(self, logits: torch.Tensor) -> int:
        """Sample a token from these logits."""
        probabilities = (logits.float() / self.sampling.temperature).softmax(-1)
        if self.sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            outside = ordered.cumsum(-1) - ordered >= self.sampling.top_p
            probabilities[order[outside]] = 0
        return int(torch.multinomial(probabilities, 1, generator=self.generator))


def decode(
    batch: Batch,
    draws: Sequence[Draw | None],
    starts: Sequence[list[int]],
    limits: Sequence[int],
    ended: Ended,
    prompts: Sequence[int] | None = None,
) -> list[tuple[list[int], Finish]]:
    """Return (ids, finish) for each row of a batch; the ids begin with `starts`.

    A row without a draw is greedy. `limits`: most tokens of each row, its start included. `prompts`: index of each
    row's prompt, if several rows share one, which is then read once; None: each its own. Finished rows leave the batch.
    """
    done: list[tuple[list[int], Finish]] = [(list(start), "length") for start in starts]
    alive = list(range(len(starts)))
    logits = batch.first()[:, -1]
    if prompts is not None:
        batch.keep(prompts)
        logits = logits[list(prompts)]
    while True:
        chosen = logits.argmax(-1).tolist()
        keep = []
        for place, row in enumerate(alive):
            draw = draws[row]
            if draw is not None:
                chosen[place] = draw.pick(logits[place])
            tokens, _ = done[row]
            tokens.append(chosen[place])
            if ended(tokens, row):
                done[row] = (tokens, "stop")
            elif len(tokens) < limits[row]:
                keep.append(place)
        if not keep:
            return done
        if len(keep) < len(alive):
            batch.keep(keep)
            alive = [alive[place] for place in keep]
        logits = batch.next([chosen[place] for place in keep])
