"""The ledger: spending and stakes of each scope (such as a study), in the cache's SQLite file.

A stake is the worst case of calls in flight, written in the transaction that sends them. Its holder is a process, or a
batch that outlives its process. A dead process's stake is charged in full, since its calls may have been billed. So
spending plus stakes is never below the bill, whatever is killed at any time.
"""

from __future__ import annotations

import functools
import os
import socket
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LEASE = 120.0
"""Seconds without renewal after which a claim or stake of a process elsewhere is void; it is renewed three times as
often."""
PASSING = "run:"
"""Prefix of the scopes of unnamed runs, which end with their process."""
_BATCH = "batch:"
SCHEMA = """
CREATE TABLE stakes (holder TEXT NOT NULL, scope TEXT NOT NULL, until REAL NOT NULL, calls INTEGER NOT NULL,
  tokens INTEGER NOT NULL, usd REAL NOT NULL, PRIMARY KEY (holder, scope)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Spending:
    """An amount: a scope's spending or stake, or a change to it."""

    calls: int = 0
    """Answers bought."""
    tokens: int = 0
    """Tokens in and out."""
    usd: float = 0.0

    def __add__(self, other: Spending) -> Spending:
        return Spending(self.calls + other.calls, self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: Spending) -> Spending:
        return Spending(self.calls - other.calls, self.tokens - other.tokens, self.usd - other.usd)


NOTHING = Spending()


@dataclass(frozen=True, slots=True)
class Booking:
    """One transaction's change of a scope's account."""

    scope: str
    """Name of the account."""
    holder: str
    """Holder of the stake; `batch_holder` for one that outlives its process."""
    spent: Spending = NOTHING
    """Cost of calls since the holder's last booking."""
    at_stake: Spending | None = None
    """The holder's stake without what the transaction grants; None: as stored in the file."""
    worst: Mapping[bytes, Spending] = field(default_factory=dict)
    """Worst-case cost of each wanted call."""
    fits: Callable[[Spending], bool] | None = None
    """Whether a total of spending and stakes is within the limits; None: no limits."""


@dataclass(frozen=True, slots=True)
class Balance:
    """A scope's account."""

    spent: Spending = NOTHING
    """Spent, including dead processes' stakes."""
    others: Spending = NOTHING
    """Stakes of other holders."""
    waiting: bool = False
    """Whether some of these are running processes, whose stakes will soon shrink."""


def holder_name(number: int) -> str:
    """Name this process as a holder of claims or stakes; `number` distinguishes several of its holders."""
    return f"{_place()}|{os.getpid()}|{_start_time(os.getpid())}|{number}"


@functools.cache
def _place() -> str:
    """Identify where this process's number is unique: the machine since its boot, and its process namespace.

    The host name does not: it changes inside a container, and two containers may share it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}.{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return socket.gethostname()


def batch_holder(name: str) -> str:
    """Name a holder that outlives its process."""
    return f"{_BATCH}{name}"


def is_alive(holder: str, until: float, now: float) -> bool:
    """Return whether a holder may still be working; for processes elsewhere, their lease decides."""
    if holder.startswith(_BATCH):
        return True
    host, pid, started, _ = holder.rsplit("|", 3)
    if host != _place():
        return until > now
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return _start_time(int(pid)) == started


def balance_of(db: sqlite3.Connection, scope: str, holder: str = "") -> Balance:
    """Return a scope's account as `holder` sees it."""
    row = db.execute("SELECT calls, tokens, usd FROM spending WHERE scope = ?", (scope,)).fetchone()
    others, waiting = NOTHING, False
    for name, *amount in db.execute("SELECT holder, calls, tokens, usd FROM stakes WHERE scope = ?", (scope,)):
        if name != holder:
            others += Spending(*amount)
            waiting = waiting or (bool(amount[0]) and not name.startswith(_BATCH))
    return Balance(Spending(*row) if row else NOTHING, others, waiting)


def affordable(balance: Balance, booking: Booking, wanted: Sequence[bytes]) -> list[bytes]:
    """Return the calls that the scope can pay at their worst case, in order; all if it has no limit."""
    if booking.fits is None:
        return list(wanted)
    total = balance.spent + balance.others + (booking.at_stake or NOTHING)
    kept = []
    for key in wanted:
        if booking.fits(total + booking.worst[key]):
            total += booking.worst[key]
            kept.append(key)
    return kept


def charge(db: sqlite3.Connection, scope: str, amount: Spending) -> None:
    """Add to a scope's spending."""
    if amount != NOTHING:
        db.execute(
            "INSERT INTO spending VALUES (?,?,?,?) ON CONFLICT (scope) DO UPDATE SET calls = calls + excluded.calls, "
            "tokens = tokens + excluded.tokens, usd = usd + excluded.usd",
            (scope, amount.calls, amount.tokens, amount.usd),
        )


def set_stake(db: sqlite3.Connection, holder: str, scope: str, amount: Spending, until: float) -> None:
    """Store a holder's current stake."""
    if amount.calls <= 0:
        db.execute("DELETE FROM stakes WHERE holder = ? AND scope = ?", (holder, scope))
        return
    values = (holder, scope, until, amount.calls, amount.tokens, max(0.0, amount.usd))
    db.execute("INSERT OR REPLACE INTO stakes VALUES (?,?,?,?,?,?)", values)


def stake_of(db: sqlite3.Connection, holder: str, scope: str) -> Spending:
    """Return a holder's stake."""
    query = "SELECT calls, tokens, usd FROM stakes WHERE holder = ? AND scope = ?"
    row = db.execute(query, (holder, scope)).fetchone()
    return Spending(*row) if row else NOTHING


def charge_the_dead(db: sqlite3.Connection, now: float) -> None:
    """Charge the stakes of dead holders, and void their claims."""
    for holder, scope, until, *amount in db.execute("SELECT * FROM stakes").fetchall():
        if not is_alive(holder, until, now):
            charge(db, scope, Spending(*amount))
            set_stake(db, holder, scope, NOTHING, 0.0)
    for owner, until in db.execute("SELECT owner, max(until) FROM claims GROUP BY owner").fetchall():
        if not is_alive(owner, until, now):
            db.execute("DELETE FROM claims WHERE owner = ?", (owner,))
    for (scope,) in db.execute("SELECT scope FROM spending WHERE scope LIKE ?", (f"{PASSING}%",)).fetchall():
        if not is_alive(scope.removeprefix(PASSING), now + LEASE, now):  # another host's may still run
            forget(db, scope)


def forget(db: sqlite3.Connection, scope: str) -> None:
    """Drop a passing scope's account."""
    db.execute("DELETE FROM spending WHERE scope = ?", (scope,))
    db.execute("DELETE FROM stakes WHERE scope = ?", (scope,))


def _start_time(pid: int) -> str:
    """Return when a process started, in kernel ticks, to distinguish it from a later one with the same number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="latin-1").rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""
