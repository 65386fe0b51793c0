"""Hard limits on the spending of a run, kept in the ledger of the cache file; calls in flight count as their worst."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from tracedistill.engines import Request
from tracedistill.engines.ledger import PASSING, Balance, Booking, Spending, holder_name
from tracedistill.engines.usage import Used
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

    def charge(self, used: Used) -> float:
        """Compute US dollars for a reply: by these prices, or what the server states if that is more."""
        cached = self.usd_per_million_in if self.usd_per_million_in_cached is None else self.usd_per_million_in_cached
        saved = used.cached_in * (self.usd_per_million_in - cached) / 1e6
        return max(self.cost(used.tokens_in, used.tokens_out) - saved, used.usd or 0.0)

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
    """The next call could exceed the budget; bought answers are kept, and a larger budget continues from there."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that one call can cost."""

    tokens_in: int
    """Upper bound of the prompt's tokens."""
    tokens_out: int
    """The request's `max_tokens`."""


def worst_case(request: Request, extra: int = 0) -> Worst:
    """Bound the tokens of a request: no tokenizer needs more tokens than bytes, and templates add a few per message."""
    text = sum(len(message.content.encode("utf-8", "surrogatepass")) + 16 for message in request.messages)
    schema = 0 if request.schema is None else len(str(request.schema))
    return Worst(text + len(request.prefill) * 4 + schema + extra + 16, request.sampling.max_tokens)


def check_budget(budget: Budget, prices: Prices) -> None:
    """Raise InputError for a budget that cannot be enforced: dollars without prices."""
    if budget.usd is not None and prices == Prices():
        raise InputError("budget.usd: the teacher has no prices; add them to the recipe, or limit tokens or calls")


class SpendMeter:
    """One run's side of the ledger: the cost of its calls, and the worst case of those in flight.

    A server that generates more than `max_tokens` (hidden thinking), or reads more than the prompt, is accounted for
    from its first such reply on: `overrun` is the most by which a reply exceeded its worst case.
    """

    def __init__(self, budget: Budget, prices: Prices, overrun: tuple[int, int] = (0, 0), holder: str = "") -> None:
        self.budget, self.prices, self.overrun = budget, prices, overrun
        process = holder_name(next(_METERS))
        self.holder = holder or process
        """Holder of these stakes: this process, or batches that outlive it."""
        self.scope = budget.scope or PASSING + process
        self.spent = Spending()
        """Spent by this run, with unanswered calls at their worst case."""
        self.unreported_usd = 0.0
        """The part of `spent.usd` without a usage report: time-outs, cut connections."""
        self._at_stake = self._unsaved = Spending()
        self._changed = False

    @property
    def passing(self) -> bool:
        """Whether its account is for this run alone."""
        return not self.budget.scope

    def stake(self, worst: Worst) -> Spending:
        """Return the amount reserved for a call."""
        over_in, over_out = self.overrun
        return self._amount(worst.tokens_in + over_in, worst.tokens_out + over_out)

    def sent(self, stake: Spending) -> None:
        """Record that a call was sent; its stake was granted."""
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

    def settle(self, stake: Spending, worst: Worst, billed: bool, used: Used | None) -> Spending:
        """Settle a finished call and return its charge. `used` None: unknown, so the whole stake."""
        self._at_stake -= stake
        self._changed = True
        if used is not None:
            over = max(0, used.tokens_in - worst.tokens_in), max(0, used.tokens_out - worst.tokens_out)
            self.overrun = max(self.overrun[0], over[0]), max(self.overrun[1], over[1])
        if not billed:
            return Spending()
        cost = stake
        if used is not None:
            cost = Spending(1, used.tokens_in + used.tokens_out, self.prices.charge(used))
        else:
            self.unreported_usd += cost.usd
        self.charge(cost)
        return cost

    def booking(self, wanted: Mapping[bytes, Spending] | None = None, *, always: bool = False) -> Booking | None:
        """Return what the next transaction must write; None if nothing changed or no account is kept."""
        if self.passing and not self.budget.limited:
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

    def _amount(self, tokens_in: int, tokens_out: int) -> Spending:
        return Spending(1, tokens_in + tokens_out, self.prices.cost(tokens_in, tokens_out))
