"""One batch of prompts run through a model token by token: where padding stands, what is kept between two tokens.

Padding always stands to the left of everything a row says. A row whose own part is shorter than the longest one of its
batch takes the missing places out of the shared prefix, which is run again there instead of padding. So the distance
between two places is the distance between two tokens in every row, as sliding windows and chunked attention count it.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import DynamicCache
from transformers.cache_utils import LinearAttentionCacheLayerMixin

Layout = Literal["shared prefix", "padded", "equal lengths"]
"""How rows may be run together. shared prefix: computed once, the rest padded; padded: every row whole; equal lengths:
only rows that need no padding, for models that count it."""

CACHE_NAMES = ("past_key_values", "cache_params")
"""What models call the state that they keep between two tokens."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens that many prompts begin with, and the keys and values that a model has computed of them."""

    tokens: list[int]
    """The tokens."""
    cache: DynamicCache
    """One row; layers that look back over a window keep all of it, since rows need different parts."""


def read_prefix(model: Any, tokens: list[int], device: torch.device) -> Prefix:
    """Run a prefix once."""
    cache = DynamicCache()  # without the model's settings, by which it would keep a window only
    ids = torch.tensor([tokens], device=device)
    model(input_ids=ids, past_key_values=cache, use_cache=True, **_kept(model, 1))
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
        """Return logits [rows, keep, vocabulary] at the last `keep` places of the prompts."""
        return self._run(keep)

    def next(self, tokens: Sequence[int]) -> torch.Tensor:
        """Return logits [rows, vocabulary] after one more token per row."""
        self._ids = torch.tensor([[token] for token in tokens], device=self._ids.device)
        self._mask = torch.cat([self._mask, self._mask.new_ones((len(tokens), 1))], dim=1)
        return self._run(1)[:, -1]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with these rows alone; one that is named several times goes on as several."""
        rows = torch.tensor(places, dtype=torch.long, device=self._ids.device)
        self._ids, self._mask = self._ids[rows], self._mask[rows]
        # a recurrent layer beside attention selects the attention's part alone, and reorders both
        recurrent = any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in self._cache.layers)
        (self._cache.reorder_cache if recurrent else self._cache.batch_select_indices)(rows)

    def _run(self, keep: int) -> torch.Tensor:
        options: dict[str, Any] = {self._name: self._cache, **_kept(self.model, keep)}
        if self._positions:
            positions = (self._mask.cumsum(-1) - 1).clamp(min=0)
            options["position_ids"] = positions[:, -self._ids.shape[1] :]
        if self._cache is None or self._name == CACHE_NAMES[0]:
            options["attention_mask"] = self._mask  # what keeps a state alone has read the padding by then
        made = self.model(input_ids=self._ids, use_cache=True, **options)
        self._cache = getattr(made, self._name)
        logits: torch.Tensor = made.logits[:, -keep:]
        return logits


def _parameters(model: Any) -> frozenset[str]:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters)


def _kept(model: Any, keep: int) -> dict[str, int]:
    """Let a model give the logits of the last places only, where it can."""
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
