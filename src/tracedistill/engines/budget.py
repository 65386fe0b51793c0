"""Hard limits on what a run may spend, counted before a call is sent: in flight means worst case."""

from __future__ import annotations

from dataclasses import dataclass

from tracedistill.cache import Spending
from tracedistill.engines import Request
from tracedistill.engines.usage import Used
from tracedistill.errors import InputError


@dataclass(frozen=True, slots=True)
class Prices:
    """What a teacher costs, in US dollars per million tokens."""

    usd_per_million_in: float = 0.0
    """Prompt tokens."""
    usd_per_million_out: float = 0.0
    """Generated tokens, thinking included."""
    usd_per_million_in_cached: float | None = None
    """Prompt tokens that the server took from its own prompt cache; None: like the others."""

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars for so many tokens, none of them cached."""
        return (tokens_in * self.usd_per_million_in + tokens_out * self.usd_per_million_out) / 1e6

    def charge(self, used: Used) -> float:
        """US dollars for a reply: by these prices, or what the server itself names where that is more."""
        cached = self.usd_per_million_in if self.usd_per_million_in_cached is None else self.usd_per_million_in_cached
        saved = used.cached_in * (self.usd_per_million_in - cached) / 1e6
        return max(self.cost(used.tokens_in, used.tokens_out) - saved, used.usd or 0.0)

    def scaled(self, factor: float) -> Prices:
        """These prices times a factor (a batch's discount)."""
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
    """Tokens in and out together."""
    calls: int | None = None
    """Answers bought; a call that the server refused or failed (429, 4xx, 5xx) costs none."""
    scope: str = ""
    """Name under which the cache adds spending up over runs; empty: each run counts for itself."""


class BudgetReachedError(InputError):
    """The next call could exceed the budget; what was bought is kept, and a larger budget goes on from there."""


@dataclass(frozen=True, slots=True)
class Worst:
    """The most that one call can cost."""

    tokens_in: int
    """Upper bound of the prompt's tokens."""
    tokens_out: int
    """The request's `max_tokens`."""


def worst_case(request: Request, extra: int = 0) -> Worst:
    """Upper bounds of tokens: no tokenizer needs more tokens than bytes, and templates add a few per message."""
    text = sum(len(message.content.encode("utf-8", "surrogatepass")) + 16 for message in request.messages)
    schema = 0 if request.schema is None else len(str(request.schema))
    return Worst(text + len(request.prefill) * 4 + schema + extra + 16, request.sampling.max_tokens)


class Meter:
    """What was spent and what may yet be spent by calls in flight."""

    def __init__(self, budget: Budget, prices: Prices, before: Spending | None = None) -> None:
        if budget.usd is not None and prices == Prices():
            raise InputError("budget.usd: the teacher has no prices; add them to the recipe, or limit tokens or calls")
        self.budget, self.prices = budget, prices
        self.before = before or Spending()
        """Spent by earlier runs under the budget's scope."""
        self.spent = Spending()
        """Spent by this run, calls without an answer at their worst case."""
        self.unreported_usd = 0.0
        """The part of `spent.usd` that no usage report supports: time-outs, cut connections."""
        self._reserved = Spending()
        self._unsaved = Spending()

    def reserve(self, worst: Worst) -> bool:
        """Set the worst case of one call aside; False where it would not fit."""
        more = self._amount(worst.tokens_in, worst.tokens_out)
        total = self.before + self.spent + self._reserved + more
        limits = self.budget
        if (
            (limits.usd is not None and total.usd > limits.usd * (1 + 1e-9))
            or (limits.tokens is not None and total.tokens > limits.tokens)
            or (limits.calls is not None and total.calls > limits.calls)
        ):
            return False
        self._reserved += more
        return True

    def settle(self, worst: Worst, billed: Used | None, *, reported: bool = True) -> None:
        """A reserved call is over: `billed` is what it used; None: it cost nothing."""
        back = self._amount(worst.tokens_in, worst.tokens_out)
        left = self._reserved
        self._reserved = Spending(left.calls - back.calls, left.tokens - back.tokens, left.usd - back.usd)
        if billed is not None:
            cost = Spending(1, billed.tokens_in + billed.tokens_out, self.prices.charge(billed))
            self.spent += cost
            self._unsaved += cost
            if not reported:
                self.unreported_usd += cost.usd

    def unsaved(self) -> Spending | None:
        """What was spent since the last call of this, for the cache's ledger; None: nothing."""
        more, self._unsaved = self._unsaved, Spending()
        return more if more.calls else None

    def refusal(self, worst: Worst) -> BudgetReachedError:
        """Why a call was not sent, in the user's words."""
        total, limits = self.before + self.spent, self.budget
        parts = [
            f"{used:{form}} of {limit:{form}} {name} spent"
            for name, used, limit, form in (
                ("usd", total.usd, limits.usd, ".4f"),
                ("tokens", total.tokens, limits.tokens, ",d"),
                ("calls", total.calls, limits.calls, ",d"),
            )
            if limit is not None
        ]
        need = self._amount(worst.tokens_in, worst.tokens_out)
        return BudgetReachedError(
            f"budget: {', '.join(parts)}; the next call may take {need.tokens:,d} tokens, {need.usd:.4f} usd. "
            "What was answered is kept; raise the budget and run again to go on, nothing is paid twice"
        )

    def _amount(self, tokens_in: int, tokens_out: int) -> Spending:
        return Spending(1, tokens_in + tokens_out, self.prices.cost(tokens_in, tokens_out))
