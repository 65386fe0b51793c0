"""A lease: an object in the store that says who drives the run folder, renewed while the driver lives.

Leases are numbered. Whoever creates the next number holds the folder; where the store creates exclusively, only one
can. A driver that finds a higher number, or not its own, has lost the folder.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tracedistill.errors import InputError
from tracedistill.files import dumps, from_json
from tracedistill.stores.listing import OWN
from tracedistill.stores.objects import ObjectStore
from tracedistill.stores.push import LostError

LEASE = 180.0
"""Seconds after which a lease that was not renewed has ended."""
RENEWAL = 45.0
"""Seconds between two renewals."""
SETTLE = 1.0
"""Seconds until a new lease is read again, for stores that let two writers create an object."""
SKEW = 600.0
"""Seconds by which two machines' clocks may differ: a lease that ended more recently is watched before it is taken."""
_PREFIX = "lease-"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who drives a run folder."""

    driver: str
    """Random name of the run."""
    copy: str
    """Its working copy."""
    host: str
    """Its machine. Copies of a disk have working copies of one name."""
    who: str
    """User, machine and process."""
    since: float
    """When it began, in seconds since 1970."""
    until: float
    """When the lease ends unless it is renewed."""


class Lease:
    """The lease of one driver."""

    def __init__(
        self,
        objects: ObjectStore,
        copy: str,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._objects, self._clock, self._sleep = objects, clock, sleep
        self._number = 0
        now = clock()
        host = socket.gethostname()
        who = f"{_user()} on {host}, process {os.getpid()}"
        self.holder = Holder(secrets.token_hex(8), copy, host, who, now, now + LEASE)
        """This driver."""

    def acquire(self, say: Callable[[str], object]) -> None:
        """Take the lease; `say` prints why that takes long.

        Raises InputError that names the holder if another run has it.
        """
        latest = max(self._numbers(), default=0)
        holder = self._read(latest)
        own = self.holder
        # a holder in this working copy is dead: its lock is ours
        here = holder is not None and (holder.copy, holder.host) == (own.copy, own.host)
        if holder is not None and not here and self._is_alive(holder, latest, say):
            raise InputError(self._refusal(self._read(latest) or holder, latest))
        self._number = latest + 1
        self._renewed()
        if not self._objects.create(_name(self._number), self._content()):
            raise InputError(self._refusal(self._read(self._number), self._number))
        self._sleep(SETTLE)
        now = self._read(self._number)
        if now is None or now.driver != self.holder.driver:
            raise InputError(self._refusal(now, self._number))
        self._objects.delete(_name(number) for number in self._numbers() if number < self._number)

    def renew(self) -> None:
        """Renew the lease. Raises LostError if another run has taken it."""
        numbers, now = self._numbers(), self._read(self._number)
        if max(numbers, default=0) > self._number or now is None or now.driver != self.holder.driver:
            taker = self._read(max(numbers, default=0))
            raise LostError(
                f"{self._objects.url}: {taker.who if taker else 'another run'} has taken over this run folder, because "
                "the lease was not renewed in time. Nothing more is sent from here"
            )
        self._renewed()
        self._objects.write(_name(self._number), self._content())

    def release(self) -> None:
        """Give the lease back."""
        self._objects.delete([_name(self._number)])

    def _is_alive(self, holder: Holder, number: int, say: Callable[[str], object]) -> bool:
        """Return whether a holder's lease lasts; one that has just ended by this machine's clock is watched."""
        left = holder.until - self._clock()
        if left > 0 or left < -SKEW:
            return left > 0
        watched = 1.5 * RENEWAL
        say(f"the lease of {holder.who}, has ended; watching for {watched:.0f} s whether it is renewed after all")
        self._sleep(watched)
        return self._read(number) != holder

    def _renewed(self) -> None:
        self.holder = replace(self.holder, until=self._clock() + LEASE)

    def _content(self) -> bytes:
        return dumps(self.holder).encode("utf-8")

    def _numbers(self) -> list[int]:
        names = [name.removeprefix(_PREFIX).removesuffix(".json") for name in self._objects.names(OWN)]
        return [int(name) for name in names if name.isdecimal()]

    def _read(self, number: int) -> Holder | None:
        content = self._objects.read(_name(number)) if number else None
        try:
            return None if content is None else from_json(Holder, json.loads(content))
        except ValueError:  # being written, or cut off
            now = self._clock()
            return Holder("", "", "", "a run of another version, or one that has just begun", now, now + LEASE)

    def _refusal(self, holder: Holder | None, number: int) -> str:
        if holder is None:
            return f"{self._objects.url}: another run began at the same moment; run the command again"
        return (
            f"{self._objects.url}: {holder.who}, has been running here since {_time(holder.since)}; two runs in one "
            f"folder are refused. If that run is dead, its lease ends at {_time(holder.until)}, and the same command "
            f"then continues its work. To take it over sooner, delete {self._objects.url}/{_name(number)}"
        )


def _name(number: int) -> str:
    return f"{OWN}/{_PREFIX}{number:06}.json"


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
