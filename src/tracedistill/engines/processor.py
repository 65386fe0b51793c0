"""This machine's processor, and its training and generation speed per dtype, measured once and cached.

Data sheets do not help, since many processors support bfloat16 but are slower in it than in float32. One layer of a
small student is timed, forward and backward, over prompts and token by token. It is timed in processor seconds of one
thread, so that other load on the machine hardly matters.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from tracedistill.compute import usable_cores
from tracedistill.engines.weights import cache_folder
from tracedistill.errors import InputError
from tracedistill.files import read_json, write_json

Dtype = Literal["float32", "bfloat16"]
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")

BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16", "svebf16")
"""Linux's names of instructions for bfloat16 products (x86, then Arm)."""
CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Environment variables that disable instructions of the processor for torch's libraries."""

WIDTH, INNER, KEYS, HEADS, RANK = 576, 1536, 192, 9, 16
"""A layer of SmolLM2-135M with LoRA."""
ROWS, LENGTH = 2, 64
"""Rows of the training and prompt passes, and tokens per row."""
WRITING = 32
"""Rows that are generated at once, one token each."""
LAYERS = 3
"""Layers per token; in float32 they exceed the processor's cache, as in a real model."""
TRIES, SECONDS = 6, 0.1
"""Most repetitions of each measurement, and the processor seconds after which it is not repeated."""
DISTURBED = 1.6
"""Ratio of median to fastest try above which a measurement is discarded."""
VERSION = 1
"""Incremented when the measurement changes, so that old figures are not reused."""


@dataclass(frozen=True, slots=True)
class Speed:
    """One core's speed in one dtype, in operations of matrix products per second."""

    products: float
    """In the products of a layer's weights alone, forward and backward."""
    train: float
    """In a whole layer with LoRA (norms and softmax included), forward and backward."""
    read: float
    """In a layer over prompts, forward."""
    write: float
    """In layers over one token in each of 32 rows, forward."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The speeds of this machine's CPU."""

    speeds: Mapping[str, Speed]
    """dtype -> speed of one core."""
    trouble: str = ""
    """Why they are unreliable; empty if they are reliable."""

    def factor(self, fast: str, slow: str) -> float:
        """Return how many times faster a study is in one dtype than in another."""
        return _typical(self.speeds[slow]) / _typical(self.speeds[fast])


@dataclass(frozen=True, slots=True)
class Processor:
    """The CPU, as context of measured figures."""

    name: str
    cores: int
    """Cores that this process may use."""
    flags: tuple[str, ...]
    """Its flags among BF16_FLAGS."""
    caps: tuple[str, ...]
    """Environment settings that disable instructions, `NAME=value`."""

    def __str__(self) -> str:
        own = f"bf16 instructions: {', '.join(self.flags) or 'none'}"
        return f"{self.name}, {self.cores} cores, {own}{''.join(f'; {cap}' for cap in self.caps)}"


def this_processor() -> Processor:
    """Describe the CPU that this process runs on."""
    text = ""
    with contextlib.suppress(OSError):  # no Linux
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}
    name = fields.get("model name") or _brand() or platform.processor() or platform.machine()
    if "cpu family" in fields:
        name += f" (family {fields['cpu family']}, model {fields.get('model', '?')})"
    has = set((fields.get("flags") or fields.get("Features") or "").split())
    caps = tuple(f"{cap}={os.environ[cap]}" for cap in CAPS if os.environ.get(cap))
    return Processor(name, usable_cores(), tuple(flag for flag in BF16_FLAGS if flag in has), caps)


@functools.cache
def measured() -> Measurement:
    """Return the CPU's speeds: cached for this processor, torch version and environment, or measured now."""
    return _cached() or measure_anew()


def measure_anew() -> Measurement:
    """Measure, at most twice, and cache a reliable result; an error is reported in `trouble`."""
    result = Measurement({}, "not measured")
    for _ in range(2):
        try:
            result = _measure()
        except Exception as error:  # a missing operation or memory; float32 runs everywhere
            result = Measurement({}, f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
        if not result.trouble:
            _store(result)
            break
    return result


# ---- the cache


def _file() -> Path:
    return cache_folder().with_name("speed.json")


def _key() -> str:
    processor = this_processor()
    parts = (processor.name, f"torch {metadata.version('torch')}", f"{processor.cores} cores", *processor.caps)
    return "; ".join((*parts, f"measurement {VERSION}"))


def _cached() -> Measurement | None:
    try:
        stored = read_json(_file())[_key()]
        speeds: dict[str, Speed] = {dtype: Speed(**stored[dtype]) for dtype in DTYPES}
    except (InputError, OSError, KeyError, TypeError, ValueError):  # missing or damaged
        return None
    figures = [value for speed in speeds.values() for value in asdict(speed).values()]
    return Measurement(speeds) if all(isinstance(value, float) and value > 0 for value in figures) else None


def _store(result: Measurement) -> None:
    known: dict[str, Any] = {}
    with contextlib.suppress(InputError, OSError, ValueError):  # missing or damaged
        known = dict(read_json(_file()))
    with contextlib.suppress(InputError, OSError):  # an unwritable cache costs the next run a second
        write_json(_file(), {**known, _key(): {dtype: asdict(speed) for dtype, speed in result.speeds.items()}})


# ---- the measurement


def _measure() -> Measurement:
    import torch

    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    try:
        speeds, worst = dict[str, Speed](), 1.0
        for dtype in DTYPES:
            speeds[dtype], spread = _speed(torch, dtype)
            worst = max(worst, spread)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    disturbed = f"the same work took up to {worst:.1f} times as long as its fastest run" if worst > DISTURBED else ""
    return Measurement(speeds, disturbed)


def _speed(torch: Any, dtype: Dtype) -> tuple[Speed, float]:
    """Measure one core; return its speed, and the largest ratio of median to fastest run."""
    from tracedistill.engines.packed_linear import pack

    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    layers = [_Layer(torch, kind) for _ in range(LAYERS)]
    tokens = ROWS * LENGTH
    weights = sum(layer.weight.numel() for layer in layers[0].linear.values())
    small = sum(pair.numel() for both in layers[0].lora.values() for pair in both)
    rows = torch.randn(ROWS, LENGTH, WIDTH).to(kind)
    flat, slope = torch.randn(tokens, WIDTH).to(kind), torch.randn(tokens, INNER).to(kind)
    token = torch.randn(WRITING, 1, WIDTH).to(kind)
    up = layers[0].linear["up"].weight

    def products() -> None:
        torch.nn.functional.linear(flat, up)
        slope @ up

    def train() -> None:
        inputs = rows.clone().requires_grad_()
        layers[0](inputs, tuned=True).sum().backward()

    def read() -> None:
        with torch.inference_mode():
            layers[0](rows)

    def write() -> None:
        with torch.inference_mode():
            for layer in layers:
                layer(token)

    figures, spreads = {}, []
    for name, work, operations in (
        ("products", products, 4.0 * tokens * up.numel()),
        ("train", train, tokens * (4.0 * weights + 6.0 * small)),
        ("read", read, 2.0 * tokens * weights),
        ("write", write, 2.0 * WRITING * LAYERS * weights),
    ):
        if name == "read":
            pack(torch.nn.ModuleList([linear for layer in layers for linear in layer.linear.values()]))
        seconds, spread = _seconds(work)
        figures[name] = operations / seconds
        spreads.append(spread)
    return Speed(**figures), max(spreads)


def _seconds(work: Callable[[], None]) -> tuple[float, float]:
    """Return the processor seconds of the fastest run, and the ratio of the median to it.

    The first run only warms up. It counts if it takes all the time allowed, since precision does not matter then.
    """
    first, spent = _once(work), list[float]()
    if first > SECONDS:
        return first, 1.0
    while len(spent) < 2 or (len(spent) < TRIES and sum(spent) < SECONDS):
        spent.append(_once(work))
    best = max(min(spent), 1e-7)
    return best, statistics.median(spent) / best if len(spent) > 2 else 1.0


def _once(work: Callable[[], None]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started


class _Layer:
    """A layer of a Llama-like student: attention, then the gated product; with LoRA on all of it if tuned."""

    def __init__(self, torch: Any, kind: Any) -> None:
        self.torch = torch
        shapes = {"q": (WIDTH, WIDTH), "k": (WIDTH, KEYS), "v": (WIDTH, KEYS), "o": (WIDTH, WIDTH),
                  "gate": (WIDTH, INNER), "up": (WIDTH, INNER), "down": (INNER, WIDTH)}  # fmt: skip
        self.linear = {name: torch.nn.Linear(*shape, bias=False, dtype=kind) for name, shape in shapes.items()}
        for linear in self.linear.values():
            linear.requires_grad_(requires_grad=False)
        self.lora = {
            name: (torch.randn(RANK, inputs, requires_grad=True), torch.randn(outputs, RANK, requires_grad=True))
            for name, (inputs, outputs) in shapes.items()
        }

    def __call__(self, x: Any, *, tuned: bool = False) -> Any:
        torch, (rows, length, _), size = self.torch, x.shape, WIDTH // HEADS
        normed = torch.nn.functional.rms_norm(x, (WIDTH,))
        q, k, v = (
            self._product(name, normed, tuned).view(rows, length, -1, size).transpose(1, 2) for name in ("q", "k", "v")
        )
        k, v = (part.repeat_interleave(HEADS // part.shape[1], dim=1) for part in (k, v))
        scores = (q @ k.transpose(2, 3) / size**0.5).softmax(-1, dtype=torch.float32).to(x.dtype)
        x = x + self._product("o", (scores @ v).transpose(1, 2).reshape(rows, length, WIDTH), tuned)
        normed = torch.nn.functional.rms_norm(x, (WIDTH,))
        gated = torch.nn.functional.silu(self._product("gate", normed, tuned)) * self._product("up", normed, tuned)
        return x + self._product("down", gated, tuned)

    def _product(self, name: str, x: Any, tuned: bool) -> Any:
        result = self.linear[name](x)
        if tuned:  # like engines.lora
            down, up = self.lora[name]
            low = self.torch.nn.functional.linear(x, down.to(x.dtype))
            result.view(-1, result.size(-1)).addmm_(low.view(-1, RANK), up.to(x.dtype).t())
        return result


def _typical(speed: Speed) -> float:
    """Weigh the work of a small study: about 60% training, 30% reading prompts, 10% generating."""
    return 0.6 / speed.train + 0.3 / speed.read + 0.1 / speed.write


def _brand() -> str:
    """Return macOS's name of the processor; empty elsewhere."""
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
