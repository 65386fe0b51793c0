"""Tokens drawn for a batch of prompts, row by row: what evaluation and training have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from tracedistill.chat.templates import end_id
from tracedistill.engines import Finish, Sampling
from tracedistill.engines.stepping import Batch

Ended = Callable[[list[int], int], bool]
"""(tokens so far, row) -> whether the row has ended by itself."""


class Draw:
    """Draws one row's next token with a generator of its own, so that a row's draws do not depend on its neighbours."""

    def __init__(self, sampling: Sampling, seed: int, sample: int, device: torch.device) -> None:
        self.sampling = sampling
        self.generator = torch.Generator(device=device)
        self.generator.manual_seed(hash_seed(seed, sample))

    def pick(self, logits: torch.Tensor) -> int:
        """Draw a token by these logits."""
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
    """Write (ids, how it ended) for each row of a batch; the ids begin with `starts`.

    A row without a draw is greedy. `limits`: tokens that each row may have, its start included. `prompts`: which of the
    batch's prompts each row is written behind, where several rows share one, which is then read once; None: each its
    own. Rows that have ended leave the batch.
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
    # the template's own end of a turn need be neither of them (Gemma's)
    known = (*ids, tokenizer.eos_token_id, end_id(tokenizer))
    found = {int(token) for token in known if token is not None}
    return tuple(sorted(found))
