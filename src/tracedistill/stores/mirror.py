"""A run folder in a store: opened for reading, or driven by one run that sends its files while it works."""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import BusyError, locked
from tracedistill.output import say as print_line
from tracedistill.stores.address import is_url
from tracedistill.stores.copies import WorkingCopy
from tracedistill.stores.lease import RENEWAL, Lease
from tracedistill.stores.objects import ObjectStore
from tracedistill.stores.pull import Say, pull, read_remote
from tracedistill.stores.push import LostError, Pusher

PUSH_SECONDS = "TRACEDISTILL_PUSH_SECONDS"
"""Environment variable: seconds between pushes during a stage."""
_SECONDS = 60.0
_MUCH = 10_000_000
"""Bytes left to send at the end of a run, above which it says so."""
_LOOK = 0.2
"""Seconds between two looks at a working copy in use."""
_REST = 4
"""Times the length of a push until the next one begins."""

_warn = functools.partial(print_line, file=sys.stderr, flush=True)


class Mirror:
    """The run folder at one URL and its working copy."""

    def __init__(self, url: str, say: Say = _warn) -> None:
        self._copy = WorkingCopy.of(url)
        self._say = say
        self._driving: _Driver | None = None

    @property
    def url(self) -> str:
        """The URL, which names the run folder on every machine."""
        return self._copy.url

    @property
    def folder(self) -> Path:
        """The working copy: a run folder like any other."""
        return self._copy.folder

    @functools.cached_property
    def _objects(self) -> ObjectStore:
        return ObjectStore(self.url)

    def refresh(self) -> None:
        """Fetch what the store has, for reading. A working copy in which a run is working is used as it is."""
        if not self.folder.exists() and not read_remote(self._objects, self._copy).version:
            return
        while True:
            try:
                with locked(self._copy.lock):
                    pull(self._copy, self._objects, self._say)
                return
            except BusyError:
                if self._copy.state().driver:
                    return
                time.sleep(_LOOK)  # another command is fetching, or a run is about to begin

    @contextmanager
    def driven(self) -> Iterator[None]:
        """Hold the folder against runs on all machines, and send its files while the block lasts.

        Raises InputError if another run holds it, and at the end if files could not be sent; they stay in the working
        copy, and the next run sends them.
        """
        waiting = functools.partial(self._say, f"{self.folder}: waiting for another command that reads this folder")
        with locked(self._copy.lock, on_wait=waiting):
            self._copy.keep(state := self._copy.state())  # a new copy must keep its name, whatever happens next
            lease = Lease(self._objects, state.copy)
            lease.acquire(self._say)
            try:
                pulled = pull(self._copy, self._objects, self._say)
                if pulled.changed:
                    raise InputError(f"{self.url}: was changed while this command started; run the command again")
                driver = lease.holder.driver
                self._copy.keep(replace(self._copy.state(), index=pulled.index, driver=driver))
                self._driving = _Driver(
                    lease, Pusher(self._copy, self._objects, pulled.index, driver), self._copy, self._say
                )
                with self._driving:
                    yield
            finally:
                driving, self._driving = self._driving, None
                if driving is not None and driving.sent:
                    self._copy.keep(replace(self._copy.state(), driver=""))
                if driving is None or not driving.lost:
                    try:
                        lease.release()
                    except InputError as failure:
                        _warn(f"{failure}. Until the lease ends, only this working copy can be continued")

    def publish(self) -> None:
        """Send what is complete, without waiting for it. Raises LostError if another run has taken the folder."""
        if self._driving is not None:
            self._driving.wake()


def fetched(place: str) -> Path:
    """Return the local folder of a run folder given by path or URL, for reading; of a URL, fetch what the store has."""
    if not is_url(place):
        return Path(place)
    mirror = Mirror(place)
    mirror.refresh()
    if not mirror.folder.exists():
        raise InputError(f"{mirror.url}: no run folder there")
    return mirror.folder


@contextmanager
def changed(place: str) -> Iterator[Path]:
    """Yield the local folder of a run folder given by path or URL, to change it.

    A URL's is held against other runs, and what has changed is sent.
    """
    if not is_url(place):
        yield Path(place)
        return
    mirror = Mirror(place)
    mirror.refresh()
    with mirror.driven():
        yield mirror.folder


class _Driver:
    """The threads of a driven folder: one renews the lease, one pushes."""

    def __init__(self, lease: Lease, pusher: Pusher, copy: WorkingCopy, say: Say) -> None:
        self._lease, self._pusher, self._copy, self._say = lease, pusher, copy, say
        self._pause = float(os.environ.get(PUSH_SECONDS) or _SECONDS)
        self._wake, self._done, self._ended = threading.Event(), threading.Event(), threading.Event()
        self._interrupts = threading.current_thread() is threading.main_thread()
        self._threads = [
            threading.Thread(target=target, name=target.__name__, daemon=True)
            for target in (self._push_regularly, self._renew_regularly)
        ]
        self.lost = ""
        """Why the folder is no longer this run's; empty while it is."""
        self.sent = False
        """Whether everything is in the store."""

    def wake(self) -> None:
        """Push soon."""
        if self.lost:
            raise LostError(self.lost)
        self._wake.set()

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        pushing, renewing = self._threads
        try:
            self._done.set()
            self._wake.set()
            pushing.join()
            if self.lost:
                raise LostError(self.lost) from None
            if (left := self._pusher.unsent()) > _MUCH:
                self._say(f"sending {left / 1e6:.0f} MB to {self._copy.url}")
            try:
                self._pusher.push()
                self.sent = True
            except InputError as failure:
                rest = f"Everything that was made is in {self._copy.folder}; the same command sends it from there"
                if error is None:
                    raise InputError(f"{failure}. {rest}") from failure
                _warn(f"tracedistill: {failure}. {rest}")
        finally:
            self._ended.set()
            renewing.join()

    def _push_regularly(self) -> None:
        pause, failed = self._pause, False
        while True:
            self._wake.wait(pause)
            if self._done.is_set():
                return
            self._wake.clear()
            began = time.monotonic()
            failed = self._try_to(self._pusher.push, failed)
            took = time.monotonic() - began
            pause = max(self._pause, _REST * took)
            self._done.wait(_REST * took)  # a large answer cache is sent whole each time

    def _renew_regularly(self) -> None:
        failed = False
        while not self._ended.wait(RENEWAL):
            failed = self._try_to(self._lease.renew, failed)

    def _try_to(self, work: Callable[[], None], failed: bool) -> bool:
        """Do the work; return whether it failed. A failure is reported once, and the work done later."""
        try:
            work()
        except LostError as error:
            self._lose(str(error))
        except Exception as error:  # the run must not end because a thread beside it does
            if not failed:
                _warn(f"{error}. The run continues; its files are in {self._copy.folder} and are sent later")
            return True
        return False

    def _lose(self, why: str) -> None:
        if not self.lost:
            self.lost = why
            for event in (self._ended, self._done, self._wake):
                event.set()
            if self._interrupts and (main := threading.main_thread().ident) is not None:
                signal.pthread_kill(main, signal.SIGINT)  # as Ctrl-C: it may be waiting for hours
