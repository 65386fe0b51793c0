"""Completions drawn from a model in training: one generator per completion, so that no draw depends on its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tracedistill.engines import Sampling
from tracedistill.engines.decoding import Batch, Draw, decode
from tracedistill.engines.packed_linear import pack, unpack
from tracedistill.engines.tokenizers import end_ids

AT_ONCE = 64
"""Completions generated together."""


class CompletionWriter:
    """Completes prompts with a model's current weights."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, temperature: float = 1.0) -> None:
        """`temperature` 0 is greedy; `max_tokens` counts the end token."""
        self.model = model
        self.ends = end_ids(tokenizer, model.generation_config.eos_token_id)
        self.pad = int(tokenizer.pad_token_id)
        self.max_tokens = max_tokens
        self.sampling = Sampling(max_tokens=max_tokens, temperature=temperature)

    def write(self, prompts: Sequence[list[int]], seeds: Sequence[tuple[int, int]]) -> list[list[int]]:
        """Write one completion for each prompt, in tokens, with the end token if it ended by itself.

        `seeds`: (seed, number) of each completion. The same weights and seeds give the same draws, except that a
        batch's padding may change the last bits of a logit.
        """
        device = next(self.model.parameters()).device
        was_training = self.model.training
        self.model.eval()
        pack(self.model)  # the base's weights stay unchanged; a gradient does not pass packed ones
        out: list[list[int]] = []
        try:
            for start in range(0, len(prompts), AT_ONCE):
                part, mine = list(prompts[start : start + AT_ONCE]), seeds[start : start + AT_ONCE]
                draws = [Draw(self.sampling, *pair, device) if self.sampling.temperature > 0 else None for pair in mine]
                with torch.no_grad():
                    # completions of one problem share its prompt, which is most of the computation
                    own = list(dict.fromkeys(map(tuple, part)))
                    places = {prompt: place for place, prompt in enumerate(own)}
                    batch = Batch(self.model, [list(prompt) for prompt in own], self.pad, device)
                    done = decode(
                        batch,
                        draws,
                        [[] for _ in part],
                        [self.max_tokens] * len(part),
                        lambda tokens, _: tokens[-1] in self.ends,
                        [places[tuple(prompt)] for prompt in part],
                    )
                out += [tokens for tokens, _ in done]
        finally:
            unpack(self.model)
            self.model.train(was_training)
        return out
