"""What a recipe would need, roughly, and whether this machine has it; `run --dry-run` counts rows and tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill import pipeline
from tracedistill.doctor.findings import Finding, State, gigabytes
from tracedistill.doctor.lengths import Lengths, lengths_of
from tracedistill.doctor.machine import EXTRAS, Machine, installed, key_is_set
from tracedistill.errors import InputError
from tracedistill.estimates import Device, Need, PromptLengths, RowLengths, asking_need, like, training_need
from tracedistill.pipeline.teaching import SCRIPTED
from tracedistill.recipes import StudentConfig, Study
from tracedistill.recipes.documents import parse
from tracedistill.sizes import ModelSize, local_folder, size_of
from tracedistill.store import read_json
from tracedistill.training.tracking import check_tracker
from tracedistill.weights import PACKAGED, PREFIX

SOME_ROWS, SOME_PROBLEMS = 1000, 200
"""Where the recipe takes all that the source has."""
OFF = 2.0
"""Estimates are good to this factor: what is over the machine's memory by more does not fit."""
PER_WEIGHT = 2.0
"""Bytes of a weight as hubs keep it."""

Speed = Callable[[str], Device]
"""dtype -> this machine, with its measured speed."""


def needs_of(recipe: Path, overrides: tuple[str, ...], machine: Machine, speed: Speed) -> Iterator[Finding]:
    """What a recipe needs, a line each; a recipe that cannot be read is one line."""
    try:
        study = pipeline.load(recipe, overrides).study
    except InputError as error:
        yield Finding("recipe", "bad", str(error))
        return
    yield from _data(study, recipe, machine)
    yield from _teachers(study, recipe, machine)
    used = {study.student_of(arm) for arm in study.arms.values()}
    lengths = lengths_of(study, recipe)
    for name in sorted(used):
        yield from _student(study, name, lengths, machine, speed)
    yield from _hardware(study, recipe, machine)
    if study.tracking != "none":
        yield _tracking(study.tracking)


def _tracking(tracker: str) -> Finding:
    """As a run asks for it: the package, and of W&B a login or an offline mode; nothing is sent."""
    if installed(tracker) is None:
        return Finding("tracking", "bad", EXTRAS[tracker].removeprefix("tracking: "))
    try:
        check_tracker(tracker)
    except InputError as error:
        return Finding("tracking", "bad", str(error).removeprefix("tracking: "))
    return Finding("tracking", "ok", tracker)


def _data(study: Study, recipe: Path, machine: Machine) -> Iterator[Finding]:
    config = study.task
    here = [Path(place) for place in (config.data_dir, config.path) if place is not None and "{" not in place]
    if not here:
        generated = config.name in ("acre", "babi") and config.path is None
        if generated:
            yield Finding("data", "ok", f"task {config.name} makes its own problems")
        elif machine.hub:
            told = f"task {config.name} reads the hub, which is not reachable; set task.data_dir"
            yield Finding("data", "note", f"{told}, unless its files lie in the hub's cache already")
        else:
            yield Finding("data", "ok", f"task {config.name} reads the hub")
        return
    for path in here:
        there = path.exists() or (recipe.parent / path).exists()
        hub = config.path is not None and config.name != "file"
        state: State = "ok" if there else "note" if hub else "bad"
        yield Finding("data", state, f"{path}{'' if there else ': not here'}")


def _teachers(study: Study, recipe: Path, machine: Machine) -> Iterator[Finding]:
    # only those that arms use: a recipe may name more
    wanted = {study.teacher_of(arm) for arm in study.arms.values()} | {study.validation.judge}
    asked = [(name, config) for name, config in study.teachers.items() if name in wanted and config.kind == "model"]
    endpoints: list[tuple[str, Any]] = [(f"teacher {name}", config) for name, config in asked]
    used = {study.student_of(arm) for arm in study.arms.values()}
    endpoints += [(f"student {name}", config) for name, config in study.students.items() if name in used]
    for name, config in endpoints:
        if config.base_url is None:
            continue
        key = config.key_env
        if key and not key_is_set(key):
            yield Finding(name, "bad", f"wants a key in the environment variable {key}, which is not set")
        else:
            yield Finding(name, "ok", f"an endpoint{f', {key} is set' if key else ' without a key'}; it was not called")
    for name, config in asked:
        if config.base_url is None and not str(config.model).startswith(SCRIPTED):
            yield _weights(f"teacher {name}", str(config.model), machine)
    for name, config in study.teachers.items():
        path = Path(config.path or ".")
        if (
            name in wanted
            and config.kind == "recorded"
            and config.path
            and not (path.exists() or (recipe.parent / path).exists())
        ):
            yield Finding(f"teacher {name}", "bad", f"{path}: not here")


def _weights(name: str, model: str, machine: Machine) -> Finding:
    """Where a model's weights are to come from."""
    folder = local_folder(model)
    if folder is not None:
        return Finding(name, "ok", f"{model}: its files are here")
    if model.startswith(PREFIX):
        package = PACKAGED.get(model.removeprefix(PREFIX))
        if package is None:
            return Finding(name, "bad", f"{model}: no such packaged student; known: {', '.join(PACKAGED)}")
        if installed(package.package) is None:
            return Finding(name, "bad", f"{model}: not installed; {package.pip}")
        return Finding(name, "ok", f"{model}: is installed, and converted when first used")
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return Finding(name, "bad", f"{model}: no such folder")
    if machine.hub:
        return Finding(name, "bad", f"{model}: not here, and the hub is not reachable")
    size = size_of(model)
    amount = "" if size is None else f", {gigabytes(PER_WEIGHT * size.parameters)}"
    short = size is not None and PER_WEIGHT * size.parameters > machine.disk
    return Finding(name, "bad" if short else "ok", f"{model}: comes from the hub{amount}{'; no room' if short else ''}")


def _student(study: Study, name: str, lengths: Lengths, machine: Machine, speed: Speed) -> Iterator[Finding]:
    config = study.students[name]
    if config.base_url is not None:
        return
    if config.model.startswith(SCRIPTED):
        yield Finding(f"student {name}", "ok", f"{config.model}: a function, no model")
        return
    label = f"student {name}"
    yield _weights(label, config.model, machine)
    wants_bits = config.quantization == "nf4" or study.training.optimizer.endswith("bit")
    if wants_bits and installed("bitsandbytes") is None:
        yield Finding(label, "bad", f"bitsandbytes: {EXTRAS['bitsandbytes']}")
    if config.dtype == "bfloat16" and machine.gpus and not machine.gpus[0].bf16:
        yield Finding(label, "bad", f"bfloat16: {machine.gpus[0].name} does not compute in it; dtype: float32")
    size = size_of(config.model)
    if size is None:
        yield Finding(label, "note", "how large it is, neither this machine nor the table of sizes knows")
        return
    yield from _estimates(study, name, config, size, lengths, machine, speed(config.dtype))


def _estimates(
    study: Study,
    name: str,
    config: StudentConfig,
    size: ModelSize,
    lengths: Lengths,
    machine: Machine,
    device: Device,
) -> Iterator[Finding]:
    """Memory and time, said as the estimates that they are."""
    tuned = [arm for arm in study.tuned_arms() if study.student_of(study.arms[arm]) == name]
    if tuned:
        rows, how = _rows(study, name, tuned, lengths)
        (chosen, need), *others = _methods(study, config, size, rows, device).items()
        count = len(tuned) * study.training.seeds
        other = ", ".join(f"{way}: {gigabytes(each.memory)}" for way, each in others)
        text = (
            f"tuning ({chosen}): about {gigabytes(need.memory)}, about {duration(need.seconds * count)} for "
            f"{count} adapter{'s' if count > 1 else ''} ({how}); {other}"
        )
        remedy = "raise training.gradient_accumulation or set training.activation_checkpointing"
        yield _held(f"student {name}", text, need.memory, remedy, machine)
    arms = [arm for arm in study.arms if study.student_of(study.arms[arm]) == name]
    problems = study.task.test or SOME_PROBLEMS
    seconds, memory = 0.0, 0.0
    for arm in arms:
        requests = problems * study.samples_of(arm) * len(study.runs_of(arm))
        most = study.arms[arm].max_tokens
        prompts = PromptLengths(requests, round(requests * lengths.prompt), lengths.longest, most / 2, most)
        merged = study.adapter_of(arm) is not None and config.quantization == "none"
        each = asking_need(size, prompts, study.evaluation.batch_size, config, device, merged)
        seconds, memory = seconds + each.seconds, max(memory, each.memory)
    of = f"{problems} problems{'' if study.task.test else ', a guess'}"
    text = f"asking {len(arms)} arms ({of}): about {gigabytes(memory)}, about {duration(seconds)}"
    yield _held(f"student {name}", text, memory, "lower evaluation.batch_size", machine)


def _methods(study: Study, config: StudentConfig, size: ModelSize, rows: RowLengths, device: Device) -> dict[str, Need]:
    """Way of tuning -> what it takes; the recipe's own first."""
    ways = {
        "LoRA": (replace(study.training, method="lora"), replace(config, quantization="none")),
        "QLoRA": (replace(study.training, method="lora"), replace(config, quantization="nf4")),
        "all weights": (replace(study.training, method="full"), replace(config, quantization="none")),
    }
    own = "all weights" if study.training.method == "full" else "QLoRA" if config.quantization == "nf4" else "LoRA"
    order = [own, *(way for way in ways if way != own)]
    most, there = study.training.eval_rows, study.task.validation
    heldout = like(rows, most if there is None else min(most, there))
    return {way: training_need(size, rows, *ways[way], device, heldout) for way in order}


def _rows(study: Study, name: str, arms: list[str], lengths: Lengths) -> tuple[RowLengths, str]:
    """The rows to tune on: counted, where a preflight has; else guessed. And which of it, in words."""
    path = study.folder / "sft" / f"{name}.preflight.json"
    found = read_json(path)["arms"] if path.exists() else {}
    known = [found[arm] for arm in arms if arm in found]
    if known:
        most = max(known, key=lambda arm: int(arm["tokens"]))
        return RowLengths(*(most[key] for key in ("rows", "tokens", "supervised", "longest"))), "rows as counted"
    rows = study.task.train or SOME_ROWS
    longest = min(lengths.longest, study.training.max_length)
    guess = f"{rows} rows{'' if study.task.train else ', a guess'}, {lengths.how}"
    return RowLengths(rows, round(rows * lengths.row), round(rows * (lengths.row - lengths.prompt)), longest), guess


def _held(label: str, text: str, memory: float, remedy: str, machine: Machine) -> Finding:
    room, place = (machine.gpus[0].memory, "the GPU has") if machine.gpus else (machine.memory, "there are")
    if memory > OFF * room:
        return Finding(label, "bad", f"{text}; {place} {gigabytes(room)}: that does not fit; {remedy}")
    if memory > room:
        return Finding(label, "note", f"{text}; {place} {gigabytes(room)}: that may not fit; {remedy}")
    if not machine.gpus and memory > machine.available:
        return Finding(label, "note", f"{text}; only {gigabytes(machine.available)} are free now")
    return Finding(label, "ok", text)


def _hardware(study: Study, recipe: Path, machine: Machine) -> Iterator[Finding]:
    """The accelerate configurations that the recipe names."""
    stages = [("training", study.training.accelerate_config if study.tuned_arms() else None)]
    stages.append(("evaluation", study.evaluation.accelerate_config))
    for stage, name in stages:
        if name is None:
            continue
        key = f"{stage}.accelerate_config"
        try:
            path = pipeline.accelerate_config(name, recipe)
            settings = parse(path.read_text(encoding="utf-8")) or {}
            processes = int(settings.get("num_processes", 1))
        except (InputError, OSError, ValueError, TypeError, AttributeError) as error:
            yield Finding(stage, "bad", str(error) if isinstance(error, InputError) else f"{key}: {name}: {error}")
            continue
        kind = str(settings.get("distributed_type", "NO"))
        on_cpu = str(settings.get("use_cpu", False)).lower() == "true"
        # two CPU processes are called MULTI_GPU too: accelerate knows no other word for them
        if kind in ("FSDP", "DEEPSPEED") and not machine.gpus:
            yield Finding(stage, "bad", f"{name}: {kind} wants GPUs, and torch sees none")
        elif not on_cpu and machine.gpus and kind != "NO" and processes > len(machine.gpus):
            yield Finding(stage, "bad", f"{name}: {processes} processes, {len(machine.gpus)} GPUs")
        else:
            yield Finding(stage, "ok", f"{name}: {processes} process{'es' if processes > 1 else ''}")


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
