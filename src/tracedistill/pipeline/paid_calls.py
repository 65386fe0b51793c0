"""Paid answers: cached or bought, within the study's budget, announced, shown and summed up."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracedistill.engines import Engine, Generation, Request
from tracedistill.files import content_id
from tracedistill.recipes import TeacherConfig

if TYPE_CHECKING:
    from tracedistill.engines.budget import Prices
    from tracedistill.engines.cache import GenerationCache
    from tracedistill.pipeline.study_run import StudyRun

LOOKED_AT = 2_000
"""Requests examined before the first call; if there are more, these are extrapolated."""


@dataclass(slots=True)
class Usage:
    """Cost of a teacher's or judge's answers, cached ones at the price once paid."""

    requests: int = 0
    """Answers requested."""
    bought: int = 0
    """Of these, bought by this run folder, including by killed runs; the rest came from the cache."""
    tokens_in: int = 0
    """Prompt tokens."""
    tokens_out: int = 0
    """Generated tokens."""
    cached_in: int = 0
    """Prompt tokens served from the server's prompt cache."""
    usd: float = 0.0
    """US dollars charged, including batch discounts, cached prompts and paid calls without an answer."""
    seconds: float = 0.0
    """Total seconds of the calls; 0: not timed (a batch)."""
    models: dict[str, int] = field(default_factory=dict)
    """Answers by the reply's model name, with provider and fingerprint if given."""

    def add(self, generation: Generation, buyer: str, prices: Prices) -> None:
        """Count one answer. `prices`: for answers bought before prices were recorded."""
        from tracedistill.engines.usage import TokenUsage

        self.requests += 1
        self._add_model(generation)
        self.bought += generation.buyer == buyer
        self.tokens_in += generation.tokens_in
        self.tokens_out += generation.tokens_out
        self.cached_in += generation.cached_in
        self.seconds = round(self.seconds + generation.seconds, 4)
        usage = TokenUsage(generation.tokens_in, generation.tokens_out, generation.cached_in)
        self.usd = round(self.usd + (prices.charge(usage) if generation.usd is None else generation.usd), 12)

    def _add_model(self, generation: Generation) -> None:
        name = " as ".join(filter(None, (generation.model, generation.fingerprint)))
        if name and name not in self.models and len(self.models) >= 50:
            name = "others"  # a server that names another one each time
        if name:
            self.models[name] = self.models.get(name, 0) + 1

    def mixture(self) -> str:
        """Describe the models or builds of the answers if there were several; else empty."""
        if len(self.models) < 2:
            return ""
        names = {name.partition(" as ")[0] for name in self.models}
        what = f"{len(names)} models" if len(names) > 1 else f"{len(self.models)} builds of one model"
        shares = sorted(self.models.items(), key=lambda item: -item[1])[:5]
        return f"answers came from {what}: {', '.join(f'{name} ({count})' for name, count in shares)}"


class HandedOver(Exception):  # noqa: N818 - no error: the way out of a stage whose answers are made elsewhere
    """Raised when a stage's requests were handed over, so that it cannot be made now."""

    def __init__(self, lacking: int) -> None:
        super().__init__(f"{lacking} requests lack an answer")
        self.lacking = lacking
        """Requests without an answer."""


def prices_of(config: TeacherConfig) -> Prices:
    """Return a teacher's prices for single calls."""
    from tracedistill.engines.budget import Prices

    return Prices(config.usd_per_million_in, config.usd_per_million_out, config.usd_per_million_in_cached)


def cost_of(config: TeacherConfig, tokens_in: int, tokens_out: int) -> float:
    """Compute the US dollars of these tokens at the teacher's prices, for single calls or batches."""
    from tracedistill.engines.budget import BATCH_DISCOUNT

    return prices_of(config).scaled(BATCH_DISCOUNT if config.mode == "batch" else 1.0).cost(tokens_in, tokens_out)


def open_cache(work: StudyRun) -> GenerationCache:
    """Open the study's cache."""
    from tracedistill.engines.cache import GenerationCache

    return GenerationCache(work.study.cache_path)


def buy(
    work: StudyRun,
    label: str,
    config: TeacherConfig,
    engine: Engine,
    requests: Iterable[Request],
    usage: Usage,
    total: int | None = None,
) -> Iterator[Generation]:
    """Yield generations through the client, in any order, and sum them up in `usage`.

    Raises HandedOver if the answers are made elsewhere.
    """
    from tracedistill.engines.budget import Budget
    from tracedistill.engines.client import generate

    if work.hand_over is not None:
        place = next((name for name, teacher in work.study.teachers.items() if teacher is config), label)
        raise HandedOver(work.hand_over(f"teachers.{place}", label, config, engine, requests))
    limits = work.study.budget
    budget = Budget(limits.usd, limits.tokens, limits.calls, scope=work.study.study)
    prices, buyer = prices_of(config), content_id(work.run.identity, label)
    rest = iter(requests)
    first = list(itertools.islice(rest, LOOKED_AT))
    total = len(first) if len(first) < LOOKED_AT else total
    with open_cache(work) as cache:
        announce(work, label, first, engine, cache, total)
        with work.screen.panel(label) as on_progress:
            for generation in generate(
                itertools.chain(first, rest),
                engine,
                cache,
                budget,
                on_progress,
                total=total,
                prices=prices,
                retry_failed=config.retry_failed and work.asks_again,
                retry_cut_off=config.retry_cut_off and work.asks_again,
                buyer=buyer,
            ):
                usage.add(generation, buyer, prices)
                yield generation
        if mixture := usage.mixture():
            work.screen.say(f"  {label}: {mixture}")


def announce(
    work: StudyRun,
    label: str,
    requests: Iterable[Request],
    engine: Engine,
    cache: GenerationCache,
    total: int | None = None,
) -> None:
    """Show the first prompt and the run's maximum cost; the given requests are extrapolated to `total`."""
    from tracedistill.engines.cost_forecast import forecast

    say, plan = work.screen.say, forecast(requests, engine, cache)
    part = total is not None and total > plan.requests
    if part:
        say(f"  {label}: {total} requests; {plan.cached} of the first {plan.requests} are in the cache")
    else:
        say(f"  {label}: {plan.requests} requests, {plan.cached} of them in the cache; {plan.calls} calls to make")
    if plan.first is None:
        return
    for message in plan.first.messages:
        say(f"  first prompt, {message.role}: {message.content}")
    scale = total / plan.calls if total is not None and part else 1.0
    money = f", at most ${plan.usd_most * scale:.2f}" if plan.usd_most else " (no prices in the recipe)"
    tail = f", if the others are like the first {plan.calls}" if part else ""
    tokens_in, tokens_out = round(plan.tokens_in * scale), round(plan.tokens_out_most * scale)
    say(f"  about {tokens_in} tokens in, at most {tokens_out} out{money}{tail}")
