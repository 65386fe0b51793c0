"""How merging an adapter, or another batch size, changes texts and verdicts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracedistill.engines import Engine, Request, batches_of
from tracedistill.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from tracedistill.engines.local import LocalEngine, WrittenTokens

Judge = Callable[[str, str], str]
"""(request id, text) -> verdict."""

DRIFT_ROWS = 8
"""Rows whose log-probabilities are compared; scoring them twice costs about as much as generating them."""


@dataclass(frozen=True, slots=True)
class Parity:
    """Merged weights compared with the separate adapter, greedily, on the same prompts."""

    n: int
    """Prompts."""
    texts_changed: int
    """Rows in which the separate adapter would choose another token somewhere."""
    verdicts_changed: int
    """Rows of these whose verdict differs."""
    largest_logit_drift: float
    """Largest |log p merged - log p separate| of a generated token given the tokens before it, in nats."""
    mean_logit_drift: float
    """Mean of the same."""
    places: int
    """Generated tokens over which drift is measured."""
    seconds: float
    """Duration of the check, switching included."""


@dataclass(frozen=True, slots=True)
class Determinism:
    """How another batch size changes texts and verdicts."""

    batch_size: int
    """The other size."""
    n: int
    """Prompts."""
    texts_changed: int
    """Rows whose text differs from that in the study's own batches."""
    verdicts_changed: int
    """Rows whose verdict differs."""


def parity(
    engine: LocalEngine, adapter: Path, requests: Sequence[Request], judge: Judge, batch_size: int = 32
) -> Parity:
    """Compare merged weights with the separate adapter on greedy texts.

    The merged weights generate; then the separate adapter scores prompt and text in one pass. If its likeliest token is
    always the generated one, its own greedy text is the same. Otherwise it continues from its own token at the first
    difference. One pass over many tokens rounds differently from a pass per token: in half precision, a near tie may
    thus count as a change.

    Drift is measured on up to DRIFT_ROWS rows of the middle batch. Both score the same tokens in a pass of the same
    shape, so that only merging differs. The separate adapter is active on return. Raises InputError if the adapter
    cannot be merged.
    """
    started = time.perf_counter()
    batches = [[_greedy(request) for request in batch] for batch in batches_of(requests, batch_size)]
    _switch(engine, adapter, requests, merge=True)
    written = [engine.generate_tokens(batch) for batch in batches]
    middle = len(batches) // 2
    sample = (batches[middle][:DRIFT_ROWS], written[middle][:DRIFT_ROWS]) if batches else ([], [])
    merged = engine.score_tokens(*sample)
    _switch(engine, adapter, requests, merge=False)
    drift = [
        abs(a - b)
        for ours, theirs in zip(merged, engine.score_tokens(*sample), strict=True)
        for a, b in zip(ours.log_probabilities, theirs.log_probabilities, strict=True)
    ]
    changed: list[tuple[Request, WrittenTokens, list[int]]] = []
    for batch, rows in zip(batches, written, strict=True):
        for request, row, scores in zip(batch, rows, engine.score_tokens(batch, rows), strict=True):
            pairs = zip(row.tokens, scores.choices, strict=True)
            at = next((place for place, (token, choice) in enumerate(pairs) if token != choice), None)
            if at is not None:
                changed.append((request, row, [*row.tokens[:at], scores.choices[at]]))
    verdicts = 0
    for start in range(0, len(changed), batch_size):
        part = changed[start : start + batch_size]
        others = engine.generate_tokens([request for request, _, _ in part], [begun for _, _, begun in part])
        for (request, row, _), other in zip(part, others, strict=True):
            name = request.request_id
            verdicts += judge(name, engine.text(request, row)) != judge(name, engine.text(request, other))
    return Parity(
        n=len(requests),
        texts_changed=len(changed),
        verdicts_changed=verdicts,
        largest_logit_drift=max(drift, default=0.0),
        mean_logit_drift=statistics.fmean(drift) if drift else 0.0,
        places=len(drift),
        seconds=time.perf_counter() - started,
    )


def allowed(result: Parity, limit: float = 0.01) -> bool:
    """Return whether merged weights may replace the adapter, because at most this share of the verdicts changes."""
    return result.verdicts_changed <= limit * result.n


def determinism(
    engine: Engine, requests: Sequence[Request], batch_size: int, others: Sequence[int], judge: Judge
) -> list[Determinism]:
    """Count how many texts and verdicts each other batch size changes, relative to `batch_size`."""
    own = _texts(engine, batches_of(requests, batch_size))
    verdicts = {name: judge(name, text) for name, text in own.items()}
    out = []
    for size in others:
        texts = _texts(engine, batches_of(requests, size))
        changed = [name for name, text in texts.items() if text != own[name]]
        flips = sum(judge(name, texts[name]) != verdicts[name] for name in changed)
        out.append(Determinism(size, len(requests), len(changed), flips))
    return out


def _texts(engine: Engine, batches: Sequence[Sequence[Request]]) -> dict[str, str]:
    prepare = getattr(engine, "prepare", None)
    if prepare is not None:
        prepare([request for batch in batches for request in batch])
    return {answer.request_id: answer.text for batch in batches for answer in engine.generate(batch)}


def _switch(engine: LocalEngine, adapter: Path, requests: Sequence[Request], *, merge: bool) -> None:
    engine.set_adapter(adapter, merge=merge)
    if merge and engine.describe()["adapter"] != "merged":
        raise InputError(f"{adapter}: cannot be merged into this base, so there is nothing to compare; set parity to 0")
    engine.prepare(requests)


def _greedy(request: Request) -> Request:
    return replace(request, sampling=replace(request.sampling, temperature=0.0))
