"""Hard limits on the spending of a run, kept in the cache file's ledger; calls in flight count at their worst case."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from tracedistill.engines import Request
from tracedistill.engines.ledger import PASSING, Balance, Booking, Spending, holder_name
from tracedistill.engines.usage import TokenUsage
from tracedistill.errors import InputError

_METERS = itertools.count()  # distinguishes several runs of one process

BATCH_DISCOUNT = 0.5
"""Price factor of the Batch API relative to single calls."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices of a teacher, in US dollars per million tokens."""

    usd_per_million_in: float = 0.0
    """Prompt tokens."""
    usd_per_million_out: float = 0.0
    """Generated tokens, thinking included."""
    usd_per_million_in_cached: float | None = None
    """Prompt tokens served from the server's prompt cache; None: the normal price."""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Compute US dollars for these tokens, none of them cached."""
        return (tokens_in * self.usd_per_million_in + tokens_out * self.usd_per_million_out) / 1e6

    def charge(self, usage: TokenUsage) -> float:
        """Compute US dollars for a reply: by these prices, or as the server reports if that is more."""
        cached = self.usd_per_million_in if self.usd_per_million_in_cached is None else self.usd_per_million_in_cached
        saved = usage.cached_in * (self.usd_per_million_in - cached) / 1e6
        return max(self.cost(usage.tokens_in, usage.tokens_out) - saved, usage.usd or 0.0)

    def spending(self, usage: TokenUsage) -> Spending:
        """Return the spending of a reply."""
        return Spending(1, usage.tokens_in + usage.tokens_out, self.charge(usage))

    def scaled(self, factor: float) -> Prices:
        """Scale these prices by a factor (a batch's discount)."""
        cached = self.usd_per_million_in_cached
        return Prices(
            self.usd_per_million_in * factor,
            self.usd_per_million_out * factor,
            None if cached is None else cached * factor,
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that are never exceeded; None: no limit."""

    usd: float | None = None
    """US dollars, by the recipe's prices."""
    tokens: int | None = None
    """Prompt and generated tokens together."""
    calls: int | None = None
    """Answers bought; a call that the server rejected or failed (429, 4xx, 5xx) costs none."""
    scope: str = ""
    """Name under which the ledger sums spending over runs; empty: each run counts separately."""

    def fits(self, total: Spending) -> bool:
        """Return whether a total is within the limits."""
        return (
            (self.usd is None or total.usd <= self.usd * (1 + 1e-9))
            and (self.tokens is None or total.tokens <= self.tokens)
            and (self.calls is None or total.calls <= self.calls)
        )

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return not (self.usd is None and self.tokens is None and self.calls is None)


class BudgetReachedError(InputError):
    """The next call could exceed the budget; bought answers are kept, and a run with a larger budget continues."""


def worst_case(request: Request) -> TokenUsage:
    """Bound a request's tokens: no tokenizer needs more tokens than bytes, and templates add a few per message."""
    text = sum(len(message.content.encode("utf-8", "surrogatepass")) + 16 for message in request.messages)
    schema = 0 if request.schema is None else len(str(request.schema))
    return TokenUsage(text + len(request.prefill) * 4 + schema + 16, request.sampling.max_tokens)


class SpendMeter:
    """A run's side of the ledger: the cost of its calls, and the worst case of those in flight.

    Some servers generate more than `max_tokens` (hidden thinking), or read more than the prompt. `overrun` is the most
    by which a reply exceeded its worst case; later stakes include it.
    """

    def __init__(self, budget: Budget, prices: Prices, overrun: tuple[int, int] = (0, 0), holder: str = "") -> None:
        self.budget, self.prices, self.overrun = budget, prices, overrun
        process = holder_name(next(_METERS))
        self.holder = holder or process
        """Holder of the stakes: this process, or batches that outlive it."""
        self.scope = budget.scope or PASSING + process
        self.spent = Spending()
        """Spent by this run, with unanswered calls at their worst case."""
        self.unreported_usd = 0.0
        """The part of `spent.usd` without a usage report: time-outs, cut connections."""
        self._at_stake = self._unsaved = Spending()
        self._changed = False

    def stake(self, worst: TokenUsage) -> Spending:
        """Return the amount to reserve for a call."""
        tokens_in, tokens_out = worst.tokens_in + self.overrun[0], worst.tokens_out + self.overrun[1]
        return Spending(1, tokens_in + tokens_out, self.prices.cost(tokens_in, tokens_out))

    def sent(self, stake: Spending) -> None:
        """Record that a call with this granted stake was sent."""
        self._at_stake += stake

    def resume(self, under_way: Spending) -> None:
        """Set the stakes to the work in progress, including an earlier process's."""
        self._changed = self._changed or under_way != self._at_stake
        self._at_stake = under_way

    def charge(self, amount: Spending) -> None:
        """Add costs besides the settled calls."""
        self.spent += amount
        self._unsaved += amount
        self._changed = True

    def settle(self, stake: Spending, worst: TokenUsage, billed: bool, usage: TokenUsage | None) -> Spending:
        """Settle a finished call and return its charge. `usage` None: unknown, so the whole stake."""
        self._at_stake -= stake
        self._changed = True
        if usage is not None:
            over_in, over_out = usage.tokens_in - worst.tokens_in, usage.tokens_out - worst.tokens_out
            self.overrun = max(self.overrun[0], over_in), max(self.overrun[1], over_out)
        if not billed:
            return Spending()
        cost = self.prices.spending(usage) if usage is not None else stake
        if usage is None:
            self.unreported_usd += cost.usd
        self.charge(cost)
        return cost

    def booking(self, wanted: Mapping[bytes, Spending] | None = None, *, always: bool = False) -> Booking | None:
        """Return the change of the account for the next transaction; None if nothing changed or none is kept."""
        if not self.budget.scope and not self.budget.limited:
            return None
        if not (wanted or self._changed or always):
            return None
        spent, self._unsaved, self._changed = self._unsaved, Spending(), False
        fits = self.budget.fits if self.budget.limited else None
        return Booking(self.scope, self.holder, spent, self._at_stake, wanted or {}, fits)

    def refusal(self, stake: Spending, balance: Balance) -> BudgetReachedError:
        """Explain why a call was not sent."""
        total, limits = balance.spent, self.budget
        parts = [
            f"{used:{form}} of {limit:{form}} {name} spent"
            for name, used, limit, form in (
                ("usd", total.usd, limits.usd, ".4f"),
                ("tokens", total.tokens, limits.tokens, ",d"),
                ("calls", total.calls, limits.calls, ",d"),
            )
            if limit is not None
        ]
        others = balance.others
        if others.calls:
            parts.append(
                f"{others.calls:,d} calls of other runs and batches in progress ({others.usd:.4f} usd at most)"
            )
        return BudgetReachedError(
            f"budget: {', '.join(parts)}; the next call may need {stake.tokens:,d} tokens, {stake.usd:.4f} usd. "
            "Answers so far are kept; raise the budget and run again to continue, nothing is paid twice"
        )
