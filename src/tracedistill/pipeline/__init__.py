"""The graph of stages: what is complete, what changed, what to run.

from tracedistill import pipeline
study = pipeline.load("recipes/quickstart/study.yaml", ["training.max_steps=5"])
pipeline.run(study)                      # every stage; or pipeline.run(study, stage="validate")
pipeline.report_of(study)["arms"]        # the table
"""

from __future__ import annotations

import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.prompts import (
    PROMPTS,
    STUDENT_FIELDS,
    TEACHER_FIELDS,
    TEACHER_PROMPTS,
    field_fault,
    needs_plan,
    prompt_text,
)
from tracedistill.engines import identity
from tracedistill.errors import InputError
from tracedistill.estimates import DEVICES, LAUNCH_SECONDS, Device
from tracedistill.files import read_json, to_json, write_json
from tracedistill.interventions import INTERVENTIONS, NO_TRACE
from tracedistill.pipeline.forecasting import Devices, Forecaster, make_free
from tracedistill.pipeline.forecasts import StudyForecast
from tracedistill.pipeline.foretold import duration, tell
from tracedistill.pipeline.graph import LOCK_HELD, Clock, Node, State, discard, upstream
from tracedistill.pipeline.judging import audit_of
from tracedistill.pipeline.launch import accelerate_config, shared_rows, shipped
from tracedistill.pipeline.launch import launch as launch_nodes
from tracedistill.pipeline.pinning import pin_students
from tracedistill.pipeline.quoting import why_not_shown
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.settling import COMPUTES, warn_of_slow
from tracedistill.pipeline.stages import STAGES, Graph
from tracedistill.pipeline.teaching import OWN, SCRIPTED
from tracedistill.pipeline.work import Workshop
from tracedistill.recipes import StudentConfig, Study, TeacherConfig, run_name
from tracedistill.recipes import load as load_recipe
from tracedistill.records import Message
from tracedistill.tasks import TASKS
from tracedistill.tasks.file.kinds import RULES
from tracedistill.training.tracking import check_tracker
from tracedistill.validation.judge_audit import JudgeAudit

__all__ = [
    "STAGES",
    "LoadedStudy",
    "accelerate_config",
    "attempt_in_this_process",
    "audit_judge",
    "check_determinism",
    "dry_run",
    "foresee",
    "load",
    "report_of",
    "run",
    "status",
    "train_in_this_process",
    "try_in_this_process",
]


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
        "judges": {"auto", *RULES},
        "prompts": PROMPTS,
        "teacher_prompts": TEACHER_PROMPTS,
        "interventions": {*INTERVENTIONS, NO_TRACE},
        "forced": {*INTERVENTIONS, OWN},
    }
    if not Path(recipe).exists():
        recipe = shipped(Path(recipe)) or recipe  # the README's commands work in an empty folder
    study = _with_templates(load_recipe(Path(recipe), overrides, names), Path(recipe))
    _check_prompts(study, recipe)
    for name, arm in study.arms.items():
        shows_plan = needs_plan(prompt_text(arm.prompt, study.prompts, PROMPTS))
        if arm.tune is not None and shows_plan:
            raise InputError(
                f"{recipe}: arms.{name}.prompt: a tuned arm is asked as it was trained, and is trained without a plan; "
                f"another arm may show one to the tuned student: {{adapter: {name}, prompt: {arm.prompt}}}"
            )
        if shows_plan and arm.teacher is None and len(study.teachers) > 1:
            raise InputError(
                f"{recipe}: arms.{name}.teacher: its prompt shows a plan, and the study has several teachers"
            )
        if arm.vote and study.samples_of(name) * len(study.runs_of(name)) < 2:
            raise InputError(f"{recipe}: arms.{name}.vote: one attempt per problem is no vote; set samples or plans")
        if arm.plans > 1 and not shows_plan:
            raise InputError(f"{recipe}: arms.{name}.plans: the arm's prompt shows no plan")
        for key, change in (("plan", arm.plan if shows_plan else None), ("forced", arm.forced)):
            if change in INTERVENTIONS and not INTERVENTIONS[change].plans:
                raise InputError(f"{recipe}: arms.{name}.{key}: '{change}' changes the answer to learn, not a trace")
    for number, entry in enumerate(study.attribution):
        if entry.plan in (entry.gold, entry.again) or entry.gold == entry.again:
            raise InputError(f"{recipe}: attribution[{number}]: names one arm twice")
        for label, arm in (("plan", study.arms[entry.plan]), ("gold", study.arms[entry.gold])):
            if not needs_plan(prompt_text(arm.prompt, study.prompts, PROMPTS)):
                raise InputError(
                    f"{recipe}: attribution[{number}].{label}: the arm shows no plan, so none can be wrong"
                )
    return LoadedStudy(study, Path(recipe), tuple(overrides))


def _with_templates(study: Study, recipe: Path) -> Study:
    """The study with chat templates that stand in files read in; InputError if such a file is missing."""
    students = {}
    for name, student in study.students.items():
        said = student.chat_template
        students[name] = student
        if said is None or "{" in said:
            continue
        file = next((path for path in (Path(said), recipe.parent / said) if path.is_file()), None)
        if file is not None:
            try:
                students[name] = replace(student, chat_template=file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{recipe}: students.{name}.chat_template: {file} cannot be read: {error}") from error
        elif "/" in said or Path(said).suffix:
            raise InputError(f"{recipe}: students.{name}.chat_template: no file '{said}'")
    return replace(study, students=students)


def _check_prompts(study: Study, recipe: str | Path) -> None:
    """Raise InputError if a prompt of the recipe's own has a field that nobody fills in: before anything is paid."""
    users: list[tuple[str, tuple[str, ...]]] = [(arm.prompt, STUDENT_FIELDS) for arm in study.arms.values()]
    users += [(teacher.prompt, TEACHER_FIELDS) for teacher in study.teachers.values()]
    faults = {}
    for name, fields in users:
        if name in study.prompts and (fault := field_fault(study.prompts[name], fields)):
            faults[name] = f"{recipe}: prompts.{name}: {fault}"
    if faults:
        raise InputError("\n".join(faults.values()))


def run(loaded: LoadedStudy, stage: str = "report", *, quiet: bool = False, wait: bool = False) -> list[str]:
    """Make a stage and all that it needs; what is complete and unchanged is left alone.

    `wait`: wait for another run that is at work in the folder, instead of raising InputError. Returns the names of the
    pieces that were made, in order. Raises InputError for what the user can mend; what was complete before stays as it
    is.
    """
    screen = Screen(quiet=quiet)
    workshop = Workshop(loaded.study, loaded.recipe, screen, loaded.overrides)
    workshop.run.claim()
    if wait and _is_complete(workshop, stage):
        return []  # a training that runs meanwhile is no reason to wait
    with workshop.run.lock(wait=wait):
        wanted = _wanted(workshop, stage)
        if _pin(workshop, loaded.study, wanted):
            workshop = Workshop(loaded.study, loaded.recipe, screen, loaded.overrides)
            wanted = _wanted(workshop, stage)
        if any(node.name.partition(":")[0] in ("preflight", *COMPUTES) for node in wanted):
            workshop.settle()  # not before: a folder may be begun here and go on where it trains
            wanted = _wanted(workshop, stage)
        told = [node for node in wanted if node.name.partition(":")[0] in ("train", "report")]
        if loaded.study.tracking != "none" and any(workshop.run.state(node).kind != "complete" for node in told):
            check_tracker(loaded.study.tracking)  # not first when a teacher has been paid
        _check_keys(workshop, wanted)
        _check_students(workshop, wanted)
        _warn_of_slow(workshop, wanted)
        return _make(workshop, wanted)


def _is_complete(workshop: Workshop, stage: str) -> bool:
    return all(workshop.run.state(node).kind == "complete" for node in _wanted(workshop, stage))


def _wanted(workshop: Workshop, stage: str) -> list[Node]:
    """A stage's pieces and all that they need."""
    nodes = Graph(workshop).nodes()
    return upstream(nodes, [node for node in nodes if node.stage == stage])


def _warn_of_slow(workshop: Workshop, wanted: Sequence[Node]) -> None:
    unmade = [node for node in wanted if workshop.run.state(node).kind != "complete"]
    warn_of_slow(workshop.asked, workshop.study, unmade, workshop.screen)


def _pin(workshop: Workshop, study: Study, wanted: Sequence[Node]) -> bool:
    """Keep the commits of the students that will be loaded from the hub; whether any was new."""
    if not any(identity.is_hub_id(student.model) for student in study.students.values() if student.base_url is None):
        return False
    kinds = ("preflight", "train", "parity", "generate")
    todo = [node for node in wanted if node.name.partition(":")[0] in kinds]
    if all(workshop.run.state(node).kind == "complete" for node in todo):
        return False
    used = {study.student_of(arm) for arm in study.arms.values()}
    return pin_students(study, workshop.run.folder, sorted(used))


def _check_keys(workshop: Workshop, wanted: Sequence[Node]) -> None:
    """Raise InputError for a key that is missing or cannot be sent: not first when another model has been paid."""
    from tracedistill.engines.secrets import read_key

    study = workshop.study
    judge = study.validation.judge
    asked: dict[str, tuple[str, TeacherConfig | StudentConfig]] = {}
    for name, teacher in study.teachers.items():
        asked[f"teach:{name}"] = f"teachers.{name}", teacher
        if judge != "none":
            asked[f"validate:{name}"] = f"teachers.{judge}", study.teachers[judge]
    for name, arm in study.arms.items():
        student = study.student_of(arm)
        asked |= {f"generate:{run}": (f"students.{student}", study.students[student]) for run in study.runs_of(name)}
    variables: dict[str, str] = {}
    for node in wanted:
        place, config = asked.get(node.name, ("", None))
        if config is not None and config.base_url is not None and workshop.run.state(node).kind != "complete":
            variables.setdefault(config.key_env, place)
    for variable, place in variables.items():
        try:
            read_key(variable, os.environ)
        except InputError as error:
            raise InputError(f"{place}.{error}") from error


def _check_students(workshop: Workshop, wanted: Sequence[Node], *, launch: bool = True) -> None:
    """Raise InputError if a student cannot be tuned or evaluated, before a teacher is paid for its traces.

    `launch`: also try each student on a made row, where an endpoint is to be asked; a launched process launches no
    others.
    """
    study = workshop.study
    models = {f"teach:{name}": teacher for name, teacher in study.teachers.items() if teacher.kind == "model"}
    todo = [node for node in wanted if node.name in models and workshop.run.state(node).kind != "complete"]
    if not todo:
        return
    for name in {node.name.partition(":")[2] for node in wanted if node.name.startswith("preflight:")}:
        if not study.students[name].model.startswith(SCRIPTED):
            from tracedistill.chat.rendering import end_id, prompt_ids
            from tracedistill.engines.tokenizers import tokenizer_of

            tokenizer = tokenizer_of(study.students[name])
            end_id(tokenizer)
            prompt_ids(tokenizer, (Message("user", "?"),), style=study.format)
    if launch and any(models[node.name].base_url is not None for node in todo):
        trials = [node for node in Graph(workshop).trials(wanted) if workshop.run.state(node).kind != "complete"]
        if trials:
            workshop.screen.say("students are tried on a made row before a teacher is asked")
            launch_nodes(workshop, "trial", trials)


def dry_run(loaded: LoadedStudy, device: str | None = None) -> StudyForecast:
    """Show what the study would take: calls and money of model teachers, rows, steps, memory and time of every arm.

    What costs nothing is made (problems, rules', gold and recorded traces, verdicts, datasets); nothing is called,
    fetched or tuned. `device`: a name in estimates.DEVICES; None: this machine, whose speed is measured.
    """
    if device is not None and device not in DEVICES:
        raise InputError(f"--device {device}: not known; known: {', '.join(DEVICES)}; without it, this machine")
    workshop = Workshop(loaded.study, loaded.recipe, Screen(), loaded.overrides)
    workshop.run.claim()
    with workshop.run.lock():
        workshop.suppose(None if device is None else "bfloat16")
        graph = Graph(workshop)
        nodes = graph.nodes()
        failed, paused = make_free(workshop, nodes, _make)
        hidden = why_not_shown(workshop)
        if not hidden and workshop.run.path("problems.jsonl").exists():
            workshop.teaching.dry_run()
        of = functools.partial(_device, device)
        shared = shared_rows(workshop)
        forecast = Forecaster(workshop, graph.attempting, nodes, of, shared).forecast(failed, [*paused, *hidden])
    tell(workshop.screen, forecast)
    return forecast


def foresee(loaded: LoadedStudy, devices: Devices, *, make: bool = True) -> StudyForecast:
    """Forecast as `dry_run` does, without a word and without touching the run folder: for the doctor.

    What is made for it (see `dry_run`) goes into a folder that is thrown away, beside links to what is there already.
    `make`: whether to make anything; without it the recipe's sizes stand in for what is missing.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        _link(loaded.study.folder, folder)
        study = replace(loaded.study, run_dir=str(folder))
        workshop = Workshop(study, loaded.recipe, Screen(quiet=True), loaded.overrides)
        workshop.run.claim()
        workshop.suppose()
        graph = Graph(workshop)
        nodes = graph.nodes()
        failed, paused = make_free(workshop, nodes, _make) if make else ([], [])
        return Forecaster(workshop, graph.attempting, nodes, devices).forecast(failed, paused)


NOT_FORESEEN_FROM = ("adapters", "generations", "attempts", "attribution", ".lock")
"""What of a run folder no forecast reads."""


def _link(source: Path, target: Path) -> None:
    """Links to a run folder's files in folders of their own: what is written there replaces a link, not a file.

    A person's store is copied: a database is written in place.
    """
    for path in source.rglob("*") if source.is_dir() else ():
        name = path.relative_to(source)
        if name.parts[0] not in NOT_FORESEEN_FROM and path.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if name.parts[0] == "review":
                shutil.copy2(path, target / name)
            else:
                (target / name).symlink_to(path.resolve())


def _device(name: str | None, dtype: str) -> Device:
    if name is not None:
        return DEVICES[name]
    from tracedistill.calibration import this_machine  # two seconds, and torch

    return this_machine(dtype)


def audit_judge(loaded: LoadedStudy, judge: str, labels: Path, *, quiet: bool = False) -> JudgeAudit:
    """Measure a teacher of kind model as judge against labelled rows; its answers are kept, nothing is paid twice."""
    return audit_of(Workshop(loaded.study, loaded.recipe, Screen(quiet=quiet), loaded.overrides), judge, labels)


def check_determinism(loaded: LoadedStudy, n: int, *, quiet: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Arm -> how many of its first n texts and verdicts change at other batch sizes; adapters are made if missing."""
    workshop = Workshop(loaded.study, loaded.recipe, Screen(quiet=quiet), loaded.overrides)
    workshop.run.claim()
    with workshop.run.lock():
        workshop.settle()
        graph = Graph(workshop)
        nodes = graph.nodes()
        asked = [node for node in nodes if node.name.startswith("generate:")]
        names = {node.name for node in asked}
        _make(workshop, [node for node in upstream(nodes, asked) if node.name not in names])
        found = {}
        for name, arm in loaded.study.arms.items():
            if loaded.study.students[loaded.study.student_of(arm)].base_url is None and arm.forced != OWN:
                workshop.screen.say(f"{name}: {n} prompts at other batch sizes")
                found[name] = [to_json(line, defaults=True) for line in graph.attempting.determinism(name, n)]
        write_json(workshop.run.path("determinism.json"), {"batch_size": loaded.study.evaluation.batch_size, **found})
        return found


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
        if node.launched == "train":
            _say_time(workshop, wanted)
        if node.launched:
            # one launch for all of its kind: the libraries are loaded once
            made += launch_nodes(
                workshop, node.launched, [other for other in wanted if other.launched == node.launched]
            )
        else:
            _run_node(workshop, node)
            made.append(node.name)
    return made


def _say_time(workshop: Workshop, wanted: Sequence[Node]) -> None:
    """Say before the first adapter what adapters and attempts will take here, by the dry run's forecast."""
    graph, stale = Graph(workshop), {node.name for node in wanted if workshop.run.state(node).kind != "complete"}
    forecast = Forecaster(workshop, graph.attempting, graph.nodes(), functools.partial(_device, None)).forecast()
    adapters = [
        tuning.need.seconds
        for tuning in forecast.tunings
        for seed in range(tuning.seeds)
        if tuning.need is not None and f"train:{run_name(tuning.arm, seed)}" in stale
    ]
    attempts = [
        asking.need.seconds
        for asking in forecast.askings
        if asking.need is not None and {f"generate:{asking.arm}", f"generate:{run_name(asking.arm, 0)}"} & stale
    ]
    told = [f"{duration(sum(adapters) + LAUNCH_SECONDS)} for {len(adapters)} adapters"] if adapters else []
    told += [f"{duration(sum(attempts))} for {len(attempts)} arms' attempts"] if attempts else []
    if told:
        kind = ", a guess on a GPU" if any(device.kind == "gpu" for device in forecast.devices) else ""
        workshop.screen.say(f"  about {', then about '.join(told)} if nothing else runs here{kind}")


def _announce(workshop: Workshop, node: Node, state: State) -> None:
    reads = f" from {', '.join(node.inputs)}" if node.inputs else ""
    workshop.screen.say(f"{node.name}: {state.reason}; writes {', '.join(node.outputs)}{reads}")


def _run_node(workshop: Workshop, node: Node) -> None:
    clock = Clock()
    discard(workshop.run.path(node.manifest))  # from here on the outputs are not complete
    facts = node.run() or {}
    workshop.run.record(node, clock.seconds(), {**workshop.facts(), **facts})


Barrier = Callable[[], object]
"""Waits until every process has come here."""


def train_in_this_process(
    loaded: LoadedStudy, runs: Sequence[str], *, main_process: bool, barrier: Barrier
) -> list[str]:
    """What `accelerate launch -m tracedistill.train` does in each of its processes.

    The main process makes what is missing upstream and writes manifests; all of them train. `runs`: tuned arms, or
    single seeds of them (`<arm>.seed<k>`); empty: all. Returns the adapters trained.
    """
    return _launched(loaded, "train", runs, (0 if main_process else 1, 2), barrier, "nothing to train: every adapter")


def attempt_in_this_process(
    loaded: LoadedStudy, runs: Sequence[str], *, share: tuple[int, int], barrier: Barrier
) -> list[str]:
    """What `accelerate launch -m tracedistill.evaluate` does in each of its processes.

    `share`: (this process, of how many): each runs its share of every arm's batches, the main one merges them. `runs`:
    arms, or single seeds of them; empty: all. Returns what was generated.
    """
    return _launched(loaded, "generate", runs, share, barrier, "nothing to ask: every attempt")


def try_in_this_process(
    loaded: LoadedStudy, students: Sequence[str], *, main_process: bool, barrier: Barrier
) -> list[str]:
    """Try students on a made row in each launched process; return their names."""
    workshop = Workshop(loaded.study, loaded.recipe, Screen(quiet=not main_process), loaded.overrides)
    graph = Graph(workshop)
    trials = [node for node in graph.trials(graph.nodes()) if node.name.partition(":")[2] in students or not students]
    return _make_together(workshop, trials, main_process=main_process, barrier=barrier, idle="every student")


def _launched(
    loaded: LoadedStudy, kind: str, runs: Sequence[str], share: tuple[int, int], barrier: Barrier, idle: str
) -> list[str]:
    main_process = share[0] == 0

    def opened() -> Workshop:
        return Workshop(loaded.study, loaded.recipe, Screen(quiet=not main_process), loaded.overrides)

    def nodes_of(workshop: Workshop) -> tuple[list[Node], list[Node]]:
        """(all, those wanted)."""
        nodes = Graph(workshop).nodes()
        mine = {node.name.partition(":")[2]: node for node in nodes if node.name.startswith(f"{kind}:")}
        for name in runs:
            if name not in mine:
                what = "tuned arm" if kind == "train" else "arm"
                raise InputError(f"--arm {name}: no such {what}; the study has: {', '.join(mine) or 'none'}")
        return nodes, [node for name, node in mine.items() if not runs or name in runs]

    workshop = opened()
    nodes_of(workshop)  # a name that is wrong stops every process before any waits for another
    if not main_process:
        barrier()
        workshop = opened()  # with the dtypes that the main process has noted in the run folder
        workshop.share, workshop.barrier = share, barrier
        _, wanted = nodes_of(workshop)
        return _make_together(workshop, wanted, main_process=False, barrier=barrier, idle=idle)
    workshop.run.claim()
    with workshop.run.lock():
        workshop.settle()
        nodes, wanted = nodes_of(workshop)
        if LOCK_HELD not in os.environ:  # else the process that launched this one has said it
            _warn_of_slow(workshop, wanted)
        chosen = {node.name for node in wanted}
        before = [node for node in upstream(nodes, wanted) if node.name not in chosen]
        _check_students(workshop, before, launch=False)
        for node in before:  # a launched process launches no others
            if node.launched and workshop.run.state(node).kind != "complete":
                raise InputError(f"{node.name} is not complete; first: tracedistill {node.stage} {loaded.recipe}")
        _make(workshop, before)
        workshop.share, workshop.barrier = share, barrier
        barrier()
        return _make_together(workshop, wanted, main_process=True, barrier=barrier, idle=idle)


def _make_together(
    workshop: Workshop, wanted: Sequence[Node], *, main_process: bool, barrier: Barrier, idle: str
) -> list[str]:
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
    if not stale:
        workshop.screen.say(f"{idle} wanted is complete")
    return [node.name.partition(":")[2] for node in stale]
