"""The graph of stages: what is complete, what changed, what to run.

from tracedistill import pipeline
study = pipeline.load("recipes/quickstart/study.yaml", ["training.max_steps=5"])
pipeline.run(study)                      # every stage; or pipeline.run(study, stage="validate")
pipeline.report_of(study)["arms"]        # the table
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.interventions import INTERVENTIONS, NO_TRACE
from tracedistill.pipeline.graph import LOCK_HELD, Clock, Node, State, discard, upstream
from tracedistill.pipeline.judging import audit_of
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.stages import STAGES, Graph
from tracedistill.pipeline.work import Workshop
from tracedistill.prompts import PROMPTS, TEACHER_PROMPTS, needs_plan, prompt_text
from tracedistill.recipes import Study
from tracedistill.recipes import load as load_recipe
from tracedistill.store import read_json
from tracedistill.tasks import TASKS
from tracedistill.validation.judge_audit import JudgeAudit

__all__ = [
    "STAGES",
    "LoadedStudy",
    "audit_judge",
    "dry_run",
    "load",
    "report_of",
    "run",
    "status",
    "train_in_this_process",
]


FREE_TEACHERS = ("rules", "recorded")
"""Kinds of teachers that call no model."""


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A study with the file and overrides that it came from."""

    study: Study
    """The resolved recipe."""
    recipe: Path
    """Its file."""
    overrides: tuple[str, ...] = ()
    """`key=value`, as given."""


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> LoadedStudy:
    """Read a recipe with its overrides; InputError lists everything that is wrong with it."""
    names = {
        "tasks": TASKS,
        "prompts": PROMPTS,
        "teacher_prompts": TEACHER_PROMPTS,
        "interventions": {*INTERVENTIONS, NO_TRACE},
    }
    study = load_recipe(Path(recipe), overrides, names)
    for name, arm in study.arms.items():
        if arm.tune is not None and needs_plan(prompt_text(arm.prompt, study.prompts, PROMPTS)):
            raise InputError(
                f"{recipe}: arms.{name}.prompt: a tuned arm is asked as it was trained, and is trained without a plan"
            )
    return LoadedStudy(study, Path(recipe), tuple(overrides))


def run(loaded: LoadedStudy, stage: str = "report", *, quiet: bool = False) -> list[str]:
    """Make a stage and all that it needs; what is complete and unchanged is left alone.

    Returns the names of the pieces that were made, in order. Raises InputError for what the user can mend; what was
    complete before stays as it is.
    """
    screen = Screen(quiet=quiet)
    workshop = Workshop(loaded.study, loaded.recipe, screen, loaded.overrides)
    workshop.run.claim()
    with workshop.run.lock():
        nodes = Graph(workshop).nodes()
        wanted = upstream(nodes, [node for node in nodes if node.stage == stage])
        return _make(workshop, wanted)


def dry_run(loaded: LoadedStudy) -> None:
    """Show what the model teachers would be asked and would cost at most; problems are drawn, nothing is called."""
    workshop = Workshop(loaded.study, loaded.recipe, Screen(), loaded.overrides)
    workshop.run.claim()
    with workshop.run.lock():
        nodes = Graph(workshop).nodes()
        free = {f"teach:{name}" for name, teacher in loaded.study.teachers.items() if teacher.kind in FREE_TEACHERS}
        _make(workshop, [node for node in nodes if node.name == "problems" or node.name in free])
        workshop.teaching.dry_run()


def audit_judge(loaded: LoadedStudy, judge: str, labels: Path, *, quiet: bool = False) -> JudgeAudit:
    """Measure a teacher of kind model as judge against labelled rows; its answers are kept, nothing is paid twice."""
    return audit_of(Workshop(loaded.study, loaded.recipe, Screen(quiet=quiet), loaded.overrides), judge, labels)


def status(loaded: LoadedStudy) -> list[tuple[Node, State]]:
    """Every piece of the study and where it stands; writes nothing."""
    workshop = Workshop(loaded.study, loaded.recipe, Screen(quiet=True), loaded.overrides)
    return [(node, workshop.run.state(node)) for node in Graph(workshop).nodes()]


def report_of(loaded: LoadedStudy) -> dict[str, Any]:
    """The report of a finished run."""
    report: dict[str, Any] = read_json(loaded.study.folder / "report.json")
    return report


def _make(workshop: Workshop, wanted: Sequence[Node]) -> list[str]:
    made = []
    for node in wanted:
        state = workshop.run.state(node)
        if state.kind == "complete":
            continue
        if state.kind == "damaged":
            raise InputError(f"{workshop.run.folder}: {state.reason}")
        _announce(workshop, node, state)
        if node.launched:
            # one launch for all adapters that are wanted: the libraries are loaded once
            _launch(workshop, [other for other in wanted if other.launched])
        else:
            _run_node(workshop, node)
        made.append(node.name)
    return made


def _announce(workshop: Workshop, node: Node, state: State) -> None:
    reads = f" from {', '.join(node.inputs)}" if node.inputs else ""
    workshop.screen.say(f"{node.name}: {state.reason}; writes {', '.join(node.outputs)}{reads}")


def _run_node(workshop: Workshop, node: Node) -> None:
    clock = Clock()
    discard(workshop.run.path(node.manifest))  # from here on the outputs are not complete
    facts = node.run() or {}
    workshop.run.record(node, clock.seconds(), {**workshop.facts(), **facts})


def _launch(workshop: Workshop, nodes: Sequence[Node]) -> None:
    """Train the stale ones of these arms by `accelerate launch`; InputError where it fails."""
    stale = [node for node in nodes if workshop.run.state(node).kind != "complete"]
    names = [node.name.removeprefix("train:") for node in stale]
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch"),
        *("--config_file", str(accelerate_config(workshop.study.training.accelerate_config, workshop.recipe))),
        *("--num_cpu_threads_per_process", str(os.cpu_count() or 1)),
        *("-m", "tracedistill.train", str(workshop.recipe)),
        *(part for name in names for part in ("--arm", name)),
        *workshop.overrides,
    ]
    environment = {**os.environ, LOCK_HELD: str(workshop.run.folder.resolve()), Clock.STARTED: str(time.time())}
    workshop.screen.say(f"  accelerate launch {' '.join(command[3:])}")
    finished = subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own command
    if finished.returncode < 0:
        raise InputError(
            f"training was ended by signal {-finished.returncode}"
            f"{' (out of memory?)' if finished.returncode == -9 else ''}; run the same command again to go on"
        )
    unfinished = [node for node in stale if workshop.run.state(node).kind != "complete"]
    if finished.returncode or unfinished:
        what = ", ".join(node.name for node in unfinished) or "training"
        raise InputError(f"{what}: not finished (exit code {finished.returncode}); its message stands above")


def accelerate_config(name: str, recipe: Path) -> Path:
    """The file of an accelerate configuration: a path, or a name in accelerate_configs/."""
    package = Path(__file__).parents[1]
    folders = [Path.cwd(), *recipe.resolve().parents, *package.parents, package]
    candidates = [Path(name), recipe.parent / name]
    candidates += [folder / "accelerate_configs" / f"{name}.yaml" for folder in folders]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(f"training.accelerate_config: no file '{name}' and no accelerate_configs/{name}.yaml")


def train_in_this_process(loaded: LoadedStudy, arms: Sequence[str], *, main_process: bool, barrier: Any) -> list[str]:
    """What `accelerate launch -m tracedistill.train` does in each of its processes.

    The main process makes what is missing upstream and writes manifests; all of them train. Returns the arms trained.
    """
    workshop = Workshop(loaded.study, loaded.recipe, Screen(quiet=not main_process), loaded.overrides)
    known = loaded.study.tuned_arms()
    for name in arms:
        if name not in known:
            raise InputError(f"--arm {name}: no such tuned arm; the study has: {', '.join(known) or 'none'}")
    nodes = Graph(workshop).nodes()
    wanted = [node for node in nodes if node.launched and node.name.removeprefix("train:") in (arms or known)]
    if not main_process:
        barrier()
        return _train_nodes(workshop, wanted, main_process=False, barrier=barrier)
    workshop.run.claim()
    with workshop.run.lock():
        _make(workshop, [node for node in upstream(nodes, wanted) if not node.launched])
        barrier()
        return _train_nodes(workshop, wanted, main_process=True, barrier=barrier)


def _train_nodes(workshop: Workshop, wanted: Sequence[Node], *, main_process: bool, barrier: Any) -> list[str]:
    stale = [node for node in wanted if workshop.run.state(node).kind != "complete"]
    barrier()  # every process has read the states before the first manifest is written
    for node in stale:
        clock = Clock()
        if main_process:
            discard(workshop.run.path(node.manifest))
        facts = node.run() or {}
        barrier()
        if main_process:
            workshop.run.record(node, clock.seconds(), {**workshop.facts(), **facts})
    names = [node.name.removeprefix("train:") for node in stale]
    if not stale:
        workshop.screen.say("nothing to train: every adapter wanted is complete")
    return names
