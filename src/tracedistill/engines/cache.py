"""The cache of paid generations: one SQLite file (WAL) for all studies and processes of a workspace.

A finished answer is committed before it is counted, so kill -9 loses only what was in flight. Nothing is overwritten:
refusals, cut-offs and failures are kept beside a later success. A claim (a row with an owner and a lease) keeps two
processes from buying the same answer at the same time. The file also holds the ledger (ledger.py), which is changed in
the same transactions.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill.engines import Generation, Request, ledger
from tracedistill.engines.cache_rows import SCHEMA, UPGRADE, chunks, insert_rows, select_rows
from tracedistill.engines.ledger import Balance, Booking
from tracedistill.errors import InputError
from tracedistill.files import locked

_APPLICATION_ID = 0x54444743  # "TDGC": distinguishes our file from other SQLite databases
_VERSION = 2
_OPENED = itertools.count()  # distinguishes several caches of one process


@dataclass(frozen=True, slots=True)
class Claims:
    """Result of claiming keys."""

    granted: frozenset[bytes] = frozenset()
    """Keys that this process may buy, until stored, released or the lease ends."""
    answered: Mapping[bytes, Generation] = field(default_factory=dict)
    """Answers bought by other processes since the last lookup."""
    unaffordable: frozenset[bytes] = frozenset()
    """Keys whose worst case exceeds the limits of the booking."""
    balance: Balance = field(default_factory=Balance)
    """The booking's account before its wanted calls were granted."""


def content_key(*parts: Any) -> bytes:
    """Hash the canonical JSON of the parts with SHA-256 (32 bytes).

    Lone surrogates differ from the pairs they would form. Raises ValueError for NaN, TypeError for what is not JSON.
    """
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def request_key(engine_name: str, request: Request) -> bytes:
    """Return the cache key of a request: everything the engine receives, and the engine's description."""
    sampling = request.sampling
    return content_key(
        engine_name,
        [[message.role, message.content] for message in request.messages],
        [sampling.max_tokens, float(sampling.temperature), float(sampling.top_p), list(sampling.stop)],
        [request.seed, request.sample],
        request.schema if request.schema is None else dict(request.schema),
        request.prefill,
    )


class GenerationCache:
    """The cache file, created with its folder if missing; safe to use from several threads.

    Raises InputError, here and in every method, for a file that is not our cache or is damaged, a folder that cannot be
    written and a full disk.
    """

    def __init__(self, path: str | Path, *, busy_seconds: float = 60.0, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._owner = ledger.holder_name(next(_OPENED))
        self._renewed = self._clock()
        self._write_lock, self._read_lock = threading.Lock(), threading.Lock()
        self._engines: set[str] = set()
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._connect(busy_seconds)
            try:
                self._prepare()
                self._reader = self._connect(busy_seconds)
            except BaseException:
                self._writer.close()
                raise

    def lookup(self, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        """Return the cached answers for keys: the first good one, else the latest.

        Unknown keys are left out. The answers' request_id is empty.
        """
        with self._explained(), self._read_lock:
            return select_rows(self._reader, keys)

    def exchange(
        self,
        finished: Sequence[tuple[bytes, Generation]] = (),
        wanted: Sequence[bytes] = (),
        *,
        engine: str = "",
        released: Iterable[bytes] = (),
        rebuy: frozenset[str] = frozenset(),
        booking: Booking | None = None,
    ) -> Claims:
        """Write finished answers and claim wanted keys, in one transaction, committed on return.

        `engine` is the name of the engine that answered (`record_engine`). `released` gives up claims without an
        answer; `rebuy` names the finishes that count as not answered; `booking` changes a scope's account. Granted
        calls are added to its stake; calls it cannot pay are not granted.
        """
        now = self._clock()
        with self._explained(), self._write_lock, self._transaction() as db:
            insert_rows(db, finished, engine, now)
            ended = [*(key for key, _ in finished), *released]
            db.executemany("DELETE FROM claims WHERE key = ? AND owner = ?", [(key, self._owner) for key in ended])
            self._renew(db, now)
            answered, busy = self._taken(db, wanted, rebuy, now) if wanted else ({}, frozenset())
            free = [key for key in wanted if key not in answered and key not in busy]
            granted, balance = self._book(db, booking, free, now) if booking is not None else (free, Balance())
            rows = [(key, self._owner, now + ledger.LEASE) for key in granted]
            db.executemany("INSERT OR REPLACE INTO claims VALUES (?,?,?)", rows)
            return Claims(frozenset(granted), answered, frozenset(free).difference(granted), balance)

    def stake(self, keys: Sequence[bytes], booking: Booking) -> tuple[list[bytes], Balance]:
        """Reserve calls without claiming their keys; return those that the scope can pay, and its account before."""
        with self._explained(), self._write_lock, self._transaction() as db:
            return self._book(db, booking, list(keys), self._clock())

    def balance(self, scope: str) -> Balance:
        """Return a scope's account over all processes: spent and at stake."""
        with self._explained(), self._write_lock, self._transaction() as db:
            ledger.charge_the_dead(db, self._clock())
            return ledger.balance_of(db, scope)

    def forget(self, scope: str) -> None:
        """Drop a passing scope's account."""
        with self._explained(), self._write_lock, self._transaction() as db:
            ledger.forget(db, scope)

    def record_engine(self, description: Mapping[str, Any]) -> str:
        """Store an engine's description; return its short name."""
        name = content_key(dict(description)).hex()[:16]
        if name not in self._engines:
            text = json.dumps(description, sort_keys=True)
            with self._explained(), self._write_lock, self._transaction() as db:
                db.execute("INSERT OR IGNORE INTO engines (engine, description) VALUES (?,?)", (name, text))
            self._engines.add(name)
        return name

    def overrun(self, engine: str) -> tuple[int, int]:
        """Return the most prompt and generated tokens by which an engine's replies exceeded the worst case."""
        with self._explained(), self._read_lock:
            query = "SELECT over_in, over_out FROM engines WHERE engine = ?"
            row = self._reader.execute(query, (engine,)).fetchone()
        return (row[0], row[1]) if row else (0, 0)

    def record_overrun(self, engine: str, over_in: int, over_out: int) -> None:
        """Store a larger overrun, which later calls take into account."""
        with self._explained(), self._write_lock, self._transaction() as db:
            db.execute(
                "UPDATE engines SET over_in = max(over_in, ?), over_out = max(over_out, ?) WHERE engine = ?",
                (over_in, over_out, engine),
            )

    def close(self) -> None:
        """Give up this process's claims and close the file."""
        with contextlib.suppress(sqlite3.Error), self._write_lock, self._transaction() as db:
            db.execute("DELETE FROM claims WHERE owner = ?", (self._owner,))
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> GenerationCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _taken(
        self, db: sqlite3.Connection, wanted: Sequence[bytes], rebuy: frozenset[str], now: float
    ) -> tuple[dict[bytes, Generation], frozenset[bytes]]:
        """Return which of these keys are answered, and which another process is buying."""
        held = {}
        for some, marks in chunks(wanted):
            query = f"SELECT key, owner, until FROM claims WHERE key IN ({marks})"  # noqa: S608 - question marks
            held.update({bytes(key): (owner, until) for key, owner, until in db.execute(query, some)})
        mine = {key for key, (owner, _) in held.items() if owner == self._owner}  # retried: nobody else answers it
        answers = select_rows(db, [key for key in wanted if key not in mine])
        busy = {
            key for key, (owner, until) in held.items()
            if key not in mine and until > now and ledger.is_alive(owner, until, now)
        }  # fmt: skip
        return {key: answer for key, answer in answers.items() if answer.finish not in rebuy}, frozenset(busy)

    def _book(
        self, db: sqlite3.Connection, booking: Booking, free: list[bytes], now: float
    ) -> tuple[list[bytes], Balance]:
        """Change a scope's account; return the keys that it can pay, which are now part of its stake."""
        scope, holder = booking.scope, booking.holder
        ledger.charge(db, scope, booking.spent)
        granted, balance = free, Balance()
        if free and booking.fits is not None:
            balance = ledger.balance_of(db, scope, holder)
            granted = ledger.affordable(balance, booking, free)
            if len(granted) < len(free):
                ledger.charge_the_dead(db, now)  # changes no sum, but shows whether waiting makes sense
                balance = ledger.balance_of(db, scope, holder)
        stake = ledger.stake_of(db, holder, scope) if booking.at_stake is None else booking.at_stake
        for key in granted:
            stake += booking.worst[key]
        ledger.set_stake(db, holder, scope, stake, now + ledger.LEASE)
        return granted, balance

    def _renew(self, db: sqlite3.Connection, now: float) -> None:
        """Renew the leases: a call may take longer than its claim's."""
        if now - self._renewed > ledger.LEASE / 3:
            self._renewed = now
            db.execute("UPDATE claims SET until = ? WHERE owner = ?", (now + ledger.LEASE, self._owner))

    def _connect(self, busy_seconds: float) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
        try:
            # NORMAL in WAL: a commit survives the death of the process; a power cut may lose the last ones, whole.
            db.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self) -> None:
        """Create the tables in a new file; refuse one that is not ours."""
        db = self._writer
        # two processes that create the file at once would fail on the change to WAL
        with locked(self.path.with_name(f"{self.path.name}.lock"), on_wait=lambda: None):
            application = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables and application != _APPLICATION_ID:
                raise InputError(f"{self.path}: an SQLite file, but not a generation cache; set another file")
            if not tables:
                db.execute("PRAGMA journal_mode = WAL")
                db.executescript(
                    f"BEGIN IMMEDIATE; {SCHEMA} {ledger.SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; "
                    f"PRAGMA user_version = {_VERSION}; COMMIT;"
                )
            if db.execute("PRAGMA user_version").fetchone()[0] == 1:
                db.executescript(
                    f"BEGIN IMMEDIATE; {UPGRADE} {ledger.SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
                )
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise InputError(f"{self.path}: cache version {version}, this program writes {_VERSION}; set another file")
        with self._transaction():  # also checks that the file can be written before anything is paid
            db.execute("DELETE FROM claims WHERE until < ?", (self._clock(),))
            ledger.charge_the_dead(db, self._clock())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = self._writer
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            # SQLite rolls back some failures by itself (full disk); a second ROLLBACK would hide the cause.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn errors of SQLite and the system into one that names the file and the remedy."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(f"{self.path}: {error}; {_remedy(str(error).lower())}") from error


def _remedy(message: str) -> str:
    if "not a database" in message or "malformed" in message or "file is encrypted" in message:
        return "the file is damaged or not a generation cache: move it away or set another; nothing was written to it"
    if "full" in message or "no space" in message or "disk i/o" in message:
        return "free disk space and run again: earlier answers are kept"
    if "locked" in message or "busy" in message:
        return "another process has locked it for too long; stop that one or wait, and run again"
    if "closed" in message:
        return "the cache was closed while in use"
    return "check that the folder exists, is writable and is on a local disk"
