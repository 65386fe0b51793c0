"""Decode tokens for a batch of prompts, row by row, for evaluation and training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tracedistill.chat.templates import end_id
from tracedistill.engines import Finish, Sampling
from tracedistill.engines.stepping import Batch

Ended = Callable[[list[int], int], bool]
"""(tokens so far, row) -> whether the row has ended."""


class Draw:
    """Samples one row's next token with its own generator, so that rows do not depend on their neighbours."""

    def __init__(self, sampling: Sampling, seed: int, sample: int, device: torch.device) -> None:
        self.sampling = sampling
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(hash_seed(seed, sample))

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


def hash_seed(seed: int, sample: int) -> int:
    """Return a 63-bit seed for one sample, far from its neighbours'."""
    return (seed * 0x9E3779B97F4A7C15 + sample * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**63 - 1)


def end_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Return the ids that end a completion: the model's own, the tokenizer's, and the template's end of a turn."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    ids = configured if isinstance(configured, list) else [configured]
    # the template's own end of a turn may be neither of them (Gemma's)
    known = (*ids, tokenizer.eos_token_id, end_id(tokenizer))
    found = {int(token) for token in known if token is not None}
    return tuple(sorted(found))
