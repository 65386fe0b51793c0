"""Trackers for training curves and report tables: W&B and trackio behind one interface."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from tracedistill.errors import InputError
from tracedistill.output import say

PROJECT = "tracedistill"
"""Default project, without WANDB_PROJECT or TRACKIO_PROJECT."""
SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "TRACKIO_WRITE_TOKEN")
"""Variables whose value must not appear in messages."""

Table = tuple[Sequence[str], Sequence[Sequence[Any]]]
"""(heads, rows)."""


class TrackedRun(Protocol):
    """One run at a tracker."""

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the numbers of one optimizer step."""

    def tables(self, tables: Mapping[str, Table]) -> None:
        """Log tables by name, outside the steps of a training."""

    def summarise(self, values: Mapping[str, float | None]) -> None:
        """Log values of the whole run."""

    def close(self, *, failed: bool) -> None:
        """Flush and end the run, so that the next one is separate."""


def check_tracker(tracker: str) -> None:
    """Raise InputError if its package is missing, or W&B has neither a login nor an offline mode; no network."""
    if importlib.util.find_spec(tracker) is None:
        raise InputError(
            f"tracking: {tracker} is not installed: pip install 'tracedistill[{tracker}]', or set tracking: none"
        )
    if tracker != "wandb":
        return
    with _told(tracker):
        import wandb

        # login() itself prints before it can be silenced
        if wandb.setup().settings.mode in ("online", "shared") and not wandb.login(prompt=False, verify=False):
            raise InputError(
                "tracking: wandb has no key here: `wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline needs none"
            )


def open_run(tracker: str, name: str, config: Mapping[str, Any], kind: str = "train") -> TrackedRun:
    """Open a new run of this name. Raises InputError if the tracker cannot start one.

    Project, mode, folder and key come from the environment (WANDB_PROJECT, WANDB_MODE, WANDB_DIR; TRACKIO_PROJECT,
    TRACKIO_DIR). trackio stays on this machine unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL is set.
    """
    check_tracker(tracker)
    with _told(tracker):
        return (_WandbRun if tracker == "wandb" else _TrackioRun)(name, config, kind)


class _WandbRun:
    def __init__(self, name: str, config: Mapping[str, Any], kind: str) -> None:
        import wandb

        project = os.environ.get("WANDB_PROJECT", PROJECT)
        self.wandb = wandb
        self.run = wandb.init(project=project, name=name, job_type=kind, config=dict(config))

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def tables(self, tables: Mapping[str, Table]) -> None:
        made = {
            name: self.wandb.Table(columns=list(heads), data=[list(row) for row in rows])
            for name, (heads, rows) in tables.items()
        }
        self.run.log(made)

    def summarise(self, values: Mapping[str, float | None]) -> None:
        self.run.summary.update(dict(values))

    def close(self, *, failed: bool) -> None:
        self.run.finish(exit_code=1 if failed else 0)


class _TrackioRun:
    def __init__(self, name: str, config: Mapping[str, Any], kind: str) -> None:
        with _unheard():
            import trackio
            from trackio.utils import TRACKIO_DIR

            self.trackio = trackio
            project = os.environ.get("TRACKIO_PROJECT", PROJECT)
            TRACKIO_DIR.mkdir(parents=True, exist_ok=True)  # else trackio warns and loses the run
            # no notebook dashboard, and no sensors, which would sample between the steps
            self.run = trackio.init(
                project=project, name=name, config={"kind": kind, **config}, embed=False, auto_log_gpu=False,
                auto_log_cpu=False,
            )  # fmt: skip
        remote = any(os.environ.get(key) for key in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"))
        place = "" if remote else f" in {TRACKIO_DIR}; to view it: trackio show --project {project}"
        say(f"  tracking: trackio, run {name}{place}", flush=True)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.run.log(dict(values), step=step)

    def tables(self, tables: Mapping[str, Table]) -> None:
        for name, (heads, rows) in tables.items():
            self.run.log({name: self.trackio.Table(columns=list(heads), data=[list(row) for row in rows])}, step=0)

    def summarise(self, values: Mapping[str, float | None]) -> None:
        self.run.log({name: value for name, value in values.items() if value is not None}, step=0)

    def close(self, *, failed: bool) -> None:  # noqa: ARG002 - trackio knows no failed runs
        with _unheard():
            self.trackio.finish()


class Lenient:
    """A tracked run whose later failures print one warning and are then ignored."""

    def __init__(self, run: TrackedRun, tracker: str) -> None:
        self.run: TrackedRun | None = run
        self.tracker = tracker

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log the numbers of one optimizer step."""
        self._try(lambda run: run.log(values, step))

    def tables(self, tables: Mapping[str, Table]) -> None:
        """Log tables by name."""
        self._try(lambda run: run.tables(tables))

    def summarise(self, values: Mapping[str, float | None]) -> None:
        """Log values of the whole run."""
        self._try(lambda run: run.summarise(values))

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self._try(lambda run: run.close(failed=failed))
        self.run = None

    def _try(self, do: Callable[[TrackedRun], None]) -> None:
        if self.run is None:
            return
        try:
            do(self.run)
        except Exception as error:
            self.run = None
            say(f"tracking: {self.tracker} failed: {_plain(error)}; training continues without it", file=sys.stderr)


@contextlib.contextmanager
def _told(tracker: str) -> Iterator[None]:
    """Turn a tracker's errors into InputError, without keys."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        offline = ", or WANDB_MODE=offline" if tracker == "wandb" else ""
        raise InputError(
            f"tracking: {tracker} cannot start a run: {_plain(error)}; set tracking: none{offline}"
        ) from None


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Suppress what trackio prints for each run."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _plain(error: Exception) -> str:
    """Format an error as one line without keys."""
    text = f"{type(error).__name__}: {error}"
    for name in SECRETS:
        secret = os.environ.get(name)
        if secret:
            text = text.replace(secret, f"({name})")
    return " ".join(text.split())[:300]
