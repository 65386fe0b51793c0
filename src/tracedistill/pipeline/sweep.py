"""A sweep: every tuned arm at each of several training settings, chosen between on the validation split.

Each setting is a run folder of its own below <run folder>/sweep/, in which the validation problems stand where a study
has its test problems; the test problems are not in it. All arms are tried at the same settings.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.files import content_id, read_json, read_jsonl, read_lines, to_json, write_json, write_jsonl
from tracedistill.pipeline.graph import Clock, discard
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.review import REVIEW_STORE
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import Arm, Study, TrainingConfig, resolved
from tracedistill.recipes.documents import YamlError, parse
from tracedistill.records import Problem
from tracedistill.shown import narrow_table, wide_console
from tracedistill.stats import wilson

FOLDER = "sweep"
"""Below the run folder: one run folder per setting."""
RESULT = "sweep.json"
"""In the run folder: what was found."""
MOST = 12
"""Trainings that a sweep makes without being told `--yes`."""
PREFIX = "training."
ARMS = "arms."
OF_ARM = (
    "learning_rate", "epochs", "max_steps", "beta", "epsilon", "num_iterations", "num_generations", "rounds",
    "rollout_temperature", "trace_weight", "format_weight",
)  # fmt: skip
"""Keys of an arm that are a matter of choice by validation."""
NOT_SWEPT = ("lora_targets", "seeds", "accelerate_config", "launcher", "save_steps")
"""Training keys that are no matter of choice by validation, or whose values hold commas."""


@dataclass(frozen=True, slots=True)
class SweptSetting:
    """One arm at one setting."""

    right: int
    """Right answers (the final statement), over all seeds and samples."""
    n: int
    """Answers asked for."""
    low: float
    """Lower end of the 95% interval of the share (Wilson); with several seeds or samples too narrow."""
    high: float
    """Upper end."""
    missing: int
    """Answers in which none was found."""
    cut_off: int
    """Answers that reached their token limit."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep found."""

    study: str
    """The study's name."""
    recipe: str
    """Its file, as given."""
    problems: int
    """Validation problems."""
    keys: tuple[str, ...]
    """What was varied, as dotted keys."""
    settings: tuple[dict[str, Any], ...]
    """Dotted key -> value, one for each setting."""
    folders: tuple[str, ...]
    """The setting's run folder, below the study's."""
    arms: dict[str, tuple[SweptSetting, ...]]
    """Tuned arm -> what came of it at each setting, in their order."""
    best: dict[str, int]
    """Tuned arm -> number of the setting with most right answers; the first of equals."""
    best_common: int
    """Number of the setting with most right answers over all arms; the first of equals."""
    best_of_student: dict[str, int]
    """Student -> the same over its arms; empty for a study with one."""


def sweep(recipe: str | Path, items: Sequence[str], *, yes: bool = False, quiet: bool = False) -> Sweep:
    """Make what is missing of every setting's run, and write sweep.json.

    `items`: `training.<key>=value,value` and `arms.<arm>.<key>=value,value` are tried in every combination, other
    `key=value` change the recipe; if only arms' own keys vary, these arms alone are tuned. Raises InputError where
    there is nothing to vary, no tuned arm, no validation problem, or too many trainings.
    """
    varied, overrides = swept_of(items)
    loaded = pipeline.load(recipe, overrides)
    study = loaded.study
    settings = [dict(zip(varied, values, strict=True)) for values in itertools.product(*varied.values())]
    names = swept_arms(study, tuple(varied))
    variants = _variants(loaded, overrides, settings, names)  # every one is read before the first is made
    trainings = len(variants) * len(variants[0].study.tuned_arms()) * variants[0].study.training.seeds
    screen = Screen(quiet=quiet)
    if trainings > MOST and not yes:
        raise InputError(
            f"{trainings} trainings ({len(variants)} settings, {len(variants[0].study.tuned_arms())} arms, "
            f"{variants[0].study.training.seeds} seeds each), more than {MOST}: use fewer, or add --yes"
        )
    pipeline.run(loaded, "problems", quiet=quiet)
    work = StudyRun(study, loaded.recipe, screen, loaded.overrides)
    with work.run.lock():
        problems = _validation_problems(work)
        arms: dict[str, list[SweptSetting]] = {name: [] for name in names}
        for number, variant in enumerate(variants, start=1):
            settings_text = ", ".join(f"{key}={value}" for key, value in settings[number - 1].items())
            screen.say(f"sweep {number} of {len(variants)}: {settings_text}")
            _put_problems(variant, problems, work)
            pipeline.run(variant, "evaluate", quiet=quiet)
            for name, tried in arms.items():
                tried.append(_tried(variant.study.folder / "attempts" / f"{name}.jsonl"))
        swept = _found(study, loaded.recipe, problems, settings, variants, arms)
        write_json(work.run.path(RESULT), to_json(swept, defaults=True))
    return swept


def _value(item: str, text: str) -> Any:
    try:
        return parse(text)
    except YamlError as error:
        raise InputError(f"{item}: {text!r} is not a YAML value: {error}") from error


def swept_of(items: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Return (swept key -> its values, the other overrides).

    Raises InputError if nothing is swept or a key cannot be.
    """
    known = {item.name for item in fields(TrainingConfig)}
    varied: dict[str, list[Any]] = {}
    others: list[str] = []
    for item in items:
        key, equals, text = item.partition("=")
        name = key.removeprefix(PREFIX)
        of_arm = key.startswith(ARMS) and key.rpartition(".")[2] in OF_ARM
        if not (equals and (key.startswith(PREFIX) or of_arm) and "," in text) or name == "lora_targets":
            others.append(item)
            continue
        if name in known and name in NOT_SWEPT:
            raise InputError(f"{key}: cannot be swept. Sweep for example {_examples()}")
        values = [_value(item, part) for part in text.split(",") if part.strip()]
        if len(values) < 2 or key in varied:
            raise InputError(f"{item}: must be given once, with several values: {key}=1e-3,2e-3")
        varied[key] = values
    if not varied:
        raise InputError(f"nothing to sweep: give several values of a training setting, such as {_examples()}")
    return varied, others


def _examples() -> str:
    return "training.learning_rate=1e-3,2e-3,4e-3 or training.epochs=1,2"


def swept_arms(study: Study, keys: Sequence[str]) -> list[str]:
    """Return the arms that these keys may change: all tuned ones, or those whose own keys alone vary.

    InputError if a key is of an arm that is not tuned.
    """
    own = [key.removeprefix(ARMS).rpartition(".")[0] for key in keys if key.startswith(ARMS)]
    for name in own:
        if name not in study.tuned_arms():
            raise InputError(f"arms.{name}: is no tuned arm; there are: {', '.join(study.tuned_arms())}")
    return list(dict.fromkeys(own)) if len(own) == len(keys) else study.tuned_arms()


def _with_sources(study: Study, names: Sequence[str]) -> list[str]:
    """Return these arms with those that they start from and those whose prompts teach them, in the recipe's order."""
    needed, queue = set[str](), list(names)
    while queue:
        name = queue.pop()
        needed.add(name)
        arm = study.arms[name]
        others = (arm.from_, arm.context, *arm.mix)
        queue += [other for other in others if other is not None and other not in needed]
    return [name for name in study.arms if name in needed]


def _chosen(study: Study, key: str) -> Any:
    """Return the value of a varied key as the recipe's reader understands it."""
    if key.startswith(PREFIX):
        return getattr(study.training, key.removeprefix(PREFIX))
    name, _, field = key.removeprefix(ARMS).rpartition(".")
    return getattr(study.arms[name], field)


def _variants(
    loaded: pipeline.LoadedStudy,
    overrides: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    names: Sequence[str],
) -> list[pipeline.LoadedStudy]:
    """Build the study at each setting, with its tuned arms only."""
    study = loaded.study
    if not study.tuned_arms():
        raise InputError(f"{loaded.recipe}: no arm is tuned, so there is nothing to sweep")
    plain = resolved(study)["arms"]
    same = resolved(replace(study, arms={"": Arm()}))["arms"][""]
    arms = {
        name: {key: value for key, value in plain[name].items() if value != same[key]}
        for name in _with_sources(study, names)
    }
    common = [
        *overrides,
        # spelt out, since a launched training reads the recipe anew
        f"arms={json.dumps(arms)}",
        "base={}",
        "comparisons=[]",
        "attribution=[]",
        "tracking=none",
        "evaluation.merge=never",
        *([] if any(item.startswith("training.seeds=") for item in overrides) else ["training.seeds=1"]),
    ]
    made: list[pipeline.LoadedStudy] = []
    for setting in settings:
        chosen = [f"{key}={json.dumps(value)}" for key, value in setting.items()]
        variant = pipeline.load(loaded.recipe, [*common, *chosen])
        place = study.folder / FOLDER / folder_name(variant.study, tuple(setting))
        made.append(pipeline.load(loaded.recipe, [*common, *chosen, f"run_dir={json.dumps(str(place))}"]))
    if len({variant.study.folder for variant in made}) < len(made):
        raise InputError("two of the settings are identical; give each value once")
    return made


def folder_name(study: Study, keys: Sequence[str]) -> str:
    """Name a setting's folder by its parsed values, so that 1e-3 and 0.001 share one."""
    parts = [f"{key.removeprefix(PREFIX).removeprefix(ARMS)}-{_chosen(study, key)}" for key in keys]
    return "_".join(parts).replace("/", "-")


def _validation_problems(work: StudyRun) -> list[Problem]:
    """Return the study's training and validation problems, the latter in the role of test problems."""
    held = work.problems("validation")
    if not held:
        raise InputError("the study has no validation problems to choose by; set task.validation, for example to 100")
    return [*work.problems("train"), *(replace(problem, split="test") for problem in held)]


def _put_problems(variant: pipeline.LoadedStudy, problems: Sequence[Problem], parent: StudyRun) -> None:
    """Put these problems into a setting's run folder, unless they are there; and what a person made of the traces."""
    work = StudyRun(variant.study, variant.recipe, parent.screen, variant.overrides)
    work.run.claim()
    with work.run.lock():
        (node,) = [node for node in Graph(work).nodes() if node.kind == "problems"]
        path = work.run.path("problems.jsonl")
        there = path.exists() and content_id(list(read_jsonl(path, Problem))) == content_id(list(problems))
        if not there or work.run.state(node).kind != "complete":
            clock = Clock()
            discard(work.run.path(node.manifest))
            report = read_json(parent.run.path("problems.report.json"))
            sizes = {"train": sum(problem.split == "train" for problem in problems), "validation": 0}
            sizes["test"] = len(problems) - sizes["train"]
            write_json(work.run.path("problems.report.json"), {**report, "sizes": sizes, "sweep": True})
            write_jsonl(path, problems)
            work.run.record(node, clock.seconds(), work.facts())
        if parent.run.path(REVIEW_STORE).exists():
            work.run.path(REVIEW_STORE).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(parent.run.path(REVIEW_STORE), work.run.path(REVIEW_STORE))


def _tried(attempts: Path) -> SweptSetting:
    right = n = missing = cut_off = 0
    for _, line in read_lines(attempts):
        outcome = line["answer"]["outcome"]
        n += 1
        right += outcome == "correct"
        missing += outcome == "missing"
        cut_off += bool(line["cut_off"])
    interval = wilson(right, n)
    return SweptSetting(right, n, interval.low, interval.high, missing, cut_off)


def _found(
    study: Study,
    recipe: Path,
    problems: Sequence[Problem],
    settings: Sequence[dict[str, Any]],
    variants: Sequence[pipeline.LoadedStudy],
    arms: Mapping[str, Sequence[SweptSetting]],
) -> Sweep:
    students = dict.fromkeys(study.student_of(name) for name in arms)
    of_student = {
        student: _most([tried for name, tried in arms.items() if study.student_of(name) == student])
        for student in students
    }
    return Sweep(
        study=study.study,
        recipe=str(recipe),
        problems=sum(problem.split == "test" for problem in problems),
        keys=tuple(settings[0]),
        settings=tuple(
            {key: _chosen(variant.study, key) for key in setting}
            for setting, variant in zip(settings, variants, strict=True)
        ),
        folders=tuple(f"{FOLDER}/{variant.study.folder.name}" for variant in variants),
        arms={name: tuple(tried) for name, tried in arms.items()},
        best={name: _most([tried]) for name, tried in arms.items()},
        best_common=_most(list(arms.values())),
        best_of_student=of_student if len(students) > 1 else {},
    )


def _most(arms: Iterable[Sequence[SweptSetting]]) -> int:
    """Return the setting with the most right answers over these arms; the first of equals."""
    totals = [sum(tried.right for tried in column) for column in zip(*arms, strict=True)]
    return totals.index(max(totals))


def print_sweep(swept: Sweep) -> None:
    """Print the table, the best settings and how to use them."""
    console = wide_console()
    heads = ["arm", *(_said(setting) for setting in swept.settings), "best"]
    rows = []
    for name, tried in swept.arms.items():
        cells = [f"{cell.right} ({100 * cell.low:.0f}-{100 * cell.high:.0f}%)" for cell in tried]
        rows.append([name, *cells, _said(swept.settings[swept.best[name]])])
    totals = [sum(tried[place].right for tried in swept.arms.values()) for place in range(len(swept.settings))]
    rows.append(["all arms", *map(str, totals), _said(swept.settings[swept.best_common])])
    n = next(iter(swept.arms.values()))[0].n
    console.print(narrow_table(f"right answers of {n} on the validation split (95% interval)", heads, rows))
    for line in advice(swept):
        console.print(line, markup=False, soft_wrap=True)


def advice(swept: Sweep) -> list[str]:
    """Return the conclusions of a sweep, and what to type next."""
    lines = []
    unsure = [name for name, tried in swept.arms.items() if _overlap(tried, swept.best[name])]
    if unsure:
        lines.append(
            f"the two best settings have overlapping intervals in {len(unsure)} of {len(swept.arms)} arms "
            f"({', '.join(unsure)}): {swept.problems} problems are too few to tell them apart"
        )
    for student, place in swept.best_of_student.items():
        lines.append(f"best for the arms of {student}: {_said(swept.settings[place])}")
    chosen = " ".join(f"{key}={value}" for key, value in swept.settings[swept.best_common].items())
    lines.append(
        f"best common setting: {chosen}; put it into the recipe, or add it to every command: "
        f"tracedistill run {swept.recipe} {chosen}"
    )
    if len(set(swept.best.values())) > 1:
        lines.append(
            "the arms have different best settings; with one common setting they differ by their traces only, and the "
            "table shows which arm it suits"
        )
    return lines


def _overlap(tried: Sequence[SweptSetting], best: int) -> bool:
    others = [cell for place, cell in enumerate(tried) if place != best]
    return any(cell.high >= tried[best].low for cell in others)


def _said(setting: Mapping[str, Any]) -> str:
    return " ".join(f"{key.removeprefix(PREFIX)}={value}" for key, value in setting.items())
