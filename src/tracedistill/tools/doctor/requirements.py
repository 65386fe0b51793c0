"""Needs of a recipe, compared with this machine; memory and time come from the dry run's forecast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill import pipeline
from tracedistill.engines.dtypes import SLOW, slowness
from tracedistill.engines.sizes import ModelSize, local_folder, size_of
from tracedistill.engines.weights import PACKAGED, PREFIX
from tracedistill.errors import InputError
from tracedistill.forecast.estimates import LAUNCH_SECONDS, Device, training_memory
from tracedistill.forecast.records import StudyForecast, TuningEstimate
from tracedistill.forecast.table import duration
from tracedistill.pipeline.hardware import AUTO, config_for
from tracedistill.recipes import SCRIPTED, StudentConfig, Study
from tracedistill.recipes.safe_yaml import parse
from tracedistill.tools.doctor.findings import CheckResult, State, gigabytes
from tracedistill.tools.doctor.machine import EXTRAS, Machine, installed, key_is_set
from tracedistill.training.tracking import check_tracker

OFF = 2.0
"""Estimates are good to this factor: a larger excess over the machine's memory does not fit."""
PER_WEIGHT = 2.0
"""Bytes per weight on hubs."""

Speed = Callable[[str], Device]
"""dtype -> this machine, with its measured speed."""


def needs_of(recipe: Path, overrides: tuple[str, ...], machine: Machine, speed: Speed) -> Iterator[CheckResult]:
    """Yield what a recipe needs, one line each; an unreadable recipe is one line."""
    try:
        loaded = pipeline.load(recipe, overrides)
    except InputError as error:
        yield CheckResult("recipe", "bad", str(error))
        return
    study = loaded.study
    yield from _data(study, recipe, machine)
    yield from _teachers(study, recipe, machine)
    used = {study.student_of(arm) for arm in study.arms.values()}
    try:
        forecast = pipeline.silent_forecast(loaded, speed, make=_at_hand(study))
    except InputError as error:
        yield CheckResult("recipe", "bad", str(error))
        return
    for line in forecast.refused:
        yield CheckResult("would stop the run", "bad", line)
    for name in sorted(used):
        yield from _student(study, name, forecast, machine, speed)
    yield from _hardware(study, recipe, machine)
    if study.tracking != "none":
        yield _tracking(study.tracking)


def _tracking(tracker: str) -> CheckResult:
    """Check the tracker's package and, for W&B, a login or offline mode; nothing is sent."""
    if installed(tracker) is None:
        return CheckResult("tracking", "bad", EXTRAS[tracker].removeprefix("tracking: "))
    try:
        check_tracker(tracker)
    except InputError as error:
        return CheckResult("tracking", "bad", str(error).removeprefix("tracking: "))
    return CheckResult("tracking", "ok", tracker)


def _data(study: Study, recipe: Path, machine: Machine) -> Iterator[CheckResult]:
    config = study.task
    here = [Path(place) for place in (config.data_dir, config.path) if place is not None and "{" not in place]
    if not here:
        generated = config.name in ("acre", "babi") and config.path is None
        if generated:
            yield CheckResult("data", "ok", f"task {config.name} generates its problems")
        elif machine.hub:
            advice = f"task {config.name} reads the hub, which is not reachable; set task.data_dir"
            yield CheckResult("data", "note", f"{advice}, unless its files are already in the hub's cache")
        else:
            yield CheckResult("data", "ok", f"task {config.name} reads the hub")
        return
    for path in here:
        there = path.exists() or (recipe.parent / path).exists()
        hub = config.path is not None and config.name != "file"
        state: State = "ok" if there else "note" if hub else "bad"
        yield CheckResult("data", state, f"{path}{'' if there else ': not here'}")


def _at_hand(study: Study) -> bool:
    """Return whether the problems are generated or local; loading from the hub takes too long here."""
    config = study.task
    if config.name in ("acre", "babi") and config.path is None:
        return True
    return config.data_dir is not None or (config.name == "file" and config.path is not None)


def _teachers(study: Study, recipe: Path, machine: Machine) -> Iterator[CheckResult]:
    # only teachers that arms use: a recipe may name more
    wanted = {study.teacher_of(arm) for arm in study.arms.values()} | {study.validation.judge}
    callers = [(name, config) for name, config in study.teachers.items() if name in wanted and config.kind == "model"]
    endpoints: list[tuple[str, Any]] = [(f"teacher {name}", config) for name, config in callers]
    used = {study.student_of(arm) for arm in study.arms.values()}
    endpoints += [(f"student {name}", config) for name, config in study.students.items() if name in used]
    for name, config in endpoints:
        if config.base_url is None:
            continue
        key = config.key_env
        if key and not key_is_set(key):
            yield CheckResult(name, "bad", f"needs a key in the environment variable {key}, which is not set")
        else:
            yield CheckResult(
                name, "ok", f"endpoint {f'with {key} set' if key else 'without a key'}; it was not called"
            )
    for name, config in callers:
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
            yield CheckResult(f"teacher {name}", "bad", f"{path}: missing")


def _weights(name: str, model: str, machine: Machine) -> CheckResult:
    """Report where a model's weights come from."""
    folder = local_folder(model)
    if folder is not None:
        return CheckResult(name, "ok", f"{model}: files present")
    if model.startswith(PREFIX):
        package = PACKAGED.get(model.removeprefix(PREFIX))
        if package is None:
            return CheckResult(name, "bad", f"{model}: no such packaged student; known: {', '.join(PACKAGED)}")
        if installed(package.package) is None:
            return CheckResult(name, "bad", f"{model}: not installed; {package.pip}")
        return CheckResult(name, "ok", f"{model}: installed; converted on first use")
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return CheckResult(name, "bad", f"{model}: no such folder")
    if machine.hub:
        return CheckResult(name, "bad", f"{model}: not on this machine, and the hub is not reachable")
    size = size_of(model)
    amount = "" if size is None else f", {gigabytes(PER_WEIGHT * size.parameters)}"
    short = size is not None and PER_WEIGHT * size.parameters > machine.disk
    return CheckResult(
        name,
        "bad" if short else "ok",
        f"{model}: will be downloaded from the hub{amount}{'; not enough disk space' if short else ''}",
    )


def _student(study: Study, name: str, forecast: StudyForecast, machine: Machine, speed: Speed) -> Iterator[CheckResult]:
    config = study.students[name]
    if config.base_url is not None:
        return
    if config.model.startswith(SCRIPTED):
        yield CheckResult(f"student {name}", "ok", f"{config.model}: a function, not a model")
        return
    label = f"student {name}"
    yield _weights(label, config.model, machine)
    wants_bits = config.quantization == "nf4" or study.training.optimizer.endswith("bit")
    if wants_bits and installed("bitsandbytes") is None:
        yield CheckResult(label, "bad", f"bitsandbytes: {EXTRAS['bitsandbytes']}")
    if config.dtype == "bfloat16" and machine.gpus and not machine.gpus[0].bf16:
        yield CheckResult(label, "bad", f"{machine.gpus[0].name} does not support bfloat16; set dtype: float32")
    elif config.dtype == "bfloat16" and not machine.gpus and (factor := slowness("bfloat16")) >= SLOW:
        advice = (
            f"float32 is {factor:.1f} times as fast as bfloat16 on this machine; set students.{name}.dtype: float32"
        )
        yield CheckResult(label, "note", f"{advice} (or auto)")
    size = size_of(config.model)
    if size is None:
        yield CheckResult(label, "note", "size unknown (no local config.json, not in sizes.py); no estimate")
        return
    yield from _tuning(study, name, size, forecast, machine, speed)
    yield from _evaluation(study, name, forecast, machine)


def _tuning(
    study: Study, name: str, size: ModelSize, forecast: StudyForecast, machine: Machine, speed: Speed
) -> Iterator[CheckResult]:
    """Yield memory and time of a student's adapters, and the memory of other tuning methods."""
    tunings = [tuning for tuning in forecast.tunings if tuning.student == name]
    known = [tuning for tuning in tunings if tuning.need is not None and tuning.lengths is not None]
    if not known:
        if tunings:
            why = "; ".join(forecast.unknown) or "this machine's speed is unknown"
            yield CheckResult(f"student {name}", "note", f"tuning: no estimate: {why}")
        return
    most = max(known, key=lambda tuning: tuning.need.memory if tuning.need else 0.0)
    assert most.need is not None
    assert most.lengths is not None
    own, config = _way(study, name), forecast.study.students[name]
    others = _other_ways(study, own, config, size, most, speed)
    count = sum(tuning.seeds for tuning in tunings)
    seconds = sum(tuning.need.seconds * tuning.seeds for tuning in known if tuning.need) + LAUNCH_SECONDS
    at_most = "at most " if any(tuning.at_most for tuning in known) else ""
    row_tokens = round(most.lengths.tokens / max(1, most.lengths.rows))
    text = (
        f"tuning ({own}, {config.dtype}): about {gigabytes(most.need.memory)}, "
        f"{at_most or 'about '}{duration(seconds)} for {count} adapter{'s' if count > 1 else ''} "
        f"({most.lengths.rows} rows of {at_most}{row_tokens} tokens); other methods: {others}"
    )
    remedy = "raise training.gradient_accumulation or set training.activation_checkpointing"
    yield _held(f"student {name}", text, most.need.memory, remedy, machine)


def _evaluation(study: Study, name: str, forecast: StudyForecast, machine: Machine) -> Iterator[CheckResult]:
    evaluations = [estimate for estimate in forecast.evaluations if estimate.student == name]
    needs = [estimate.need for estimate in evaluations if estimate.need is not None]
    if not needs:
        why = "; ".join(forecast.unknown) or "this machine's speed is unknown"
        yield CheckResult(f"student {name}", "note", f"evaluation: no estimate: {why}")
        return
    count = sum(1 for arm in study.arms.values() if study.student_of(arm) == name)
    prompts = sum(estimate.lengths.requests for estimate in evaluations if estimate.lengths)
    memory, seconds = max(need.memory for need in needs), sum(need.seconds for need in needs) + LAUNCH_SECONDS
    text = f"evaluation of {count} arms ({prompts} prompts): about {gigabytes(memory)}, about {duration(seconds)}"
    yield _held(f"student {name}", text, memory, "lower evaluation.batch_size", machine)


def _way(study: Study, name: str) -> str:
    if study.training.method == "full":
        return "all weights"
    return "QLoRA" if study.students[name].quantization == "nf4" else "LoRA"


def _other_ways(
    study: Study, own: str, config: StudentConfig, size: ModelSize, tuning: TuningEstimate, speed: Speed
) -> str:
    """Format the memory of the methods not chosen: `QLoRA 1.0 GB, all weights 3.4 GB`."""
    ways = {
        "LoRA": (replace(study.training, method="lora"), replace(config, quantization="none")),
        "QLoRA": (replace(study.training, method="lora"), replace(config, quantization="nf4")),
        "all weights": (replace(study.training, method="full"), replace(config, quantization="none")),
    }
    assert tuning.lengths is not None
    return ", ".join(
        f"{way} {gigabytes(training_memory(size, tuning.lengths, *settings, speed(config.dtype)))}"
        for way, settings in ways.items()
        if way != own
    )


def _held(label: str, text: str, memory: float, remedy: str, machine: Machine) -> CheckResult:
    room, place = (machine.gpus[0].memory, "the GPU") if machine.gpus else (machine.memory, "this machine")
    if memory > OFF * room:
        return CheckResult(label, "bad", f"{text}; does not fit: {place} has {gigabytes(room)}; {remedy}")
    if memory > room:
        return CheckResult(label, "note", f"{text}; may not fit: {place} has {gigabytes(room)}; {remedy}")
    if not machine.gpus and memory > machine.available:
        return CheckResult(label, "note", f"{text}; only {gigabytes(machine.available)} free now")
    return CheckResult(label, "ok", text)


def _hardware(study: Study, recipe: Path, machine: Machine) -> Iterator[CheckResult]:
    """Yield the accelerate configurations that the recipe names."""
    stages = [("training", study.training.accelerate_config if study.tuned_arms() else None)]
    stages.append(("evaluation", study.evaluation.accelerate_config))
    for stage, name in stages:
        if name is None:
            continue
        if name == AUTO:
            training = study.training if stage == "training" else None
            config, count = config_for(len(machine.gpus), training)
            if count > 1 or training is not None:  # otherwise attempts are made in the run's own process
                launched = f"{count} process{'es' if count > 1 else ''} on this machine"
                yield CheckResult(stage, "ok", f"auto: {config}, {launched}")
            continue
        key = f"{stage}.accelerate_config"
        try:
            path = pipeline.accelerate_config(name, recipe)
            settings = parse(path.read_text(encoding="utf-8")) or {}
            processes = int(settings.get("num_processes", 1))
        except (InputError, OSError, ValueError, TypeError, AttributeError) as error:
            yield CheckResult(stage, "bad", str(error) if isinstance(error, InputError) else f"{key}: {name}: {error}")
            continue
        kind = str(settings.get("distributed_type", "NO"))
        on_cpu = str(settings.get("use_cpu", False)).lower() == "true"
        # accelerate also calls two CPU processes MULTI_GPU
        if kind in ("FSDP", "DEEPSPEED") and not machine.gpus:
            yield CheckResult(stage, "bad", f"{name}: {kind} needs GPUs, but torch finds none")
        elif not on_cpu and machine.gpus and kind != "NO" and processes > len(machine.gpus):
            yield CheckResult(stage, "bad", f"{name}: {processes} processes, {len(machine.gpus)} GPUs")
        else:
            yield CheckResult(stage, "ok", f"{name}: {processes} process{'es' if processes > 1 else ''}")
