"""The hardware that a stage is launched on: the accelerate configuration in the recipe, or what this machine has.

    auto, no GPU       accelerate_configs/cpu.yaml, one process
    auto, one GPU      accelerate_configs/single_gpu.yaml, one process
    auto, several      accelerate_configs/ddp.yaml, one process per GPU, or as many as share a batch evenly

No result depends on it, so a run folder can continue on other hardware.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tracedistill.engines.gpus import visible_gpus
from tracedistill.errors import InputError
from tracedistill.recipes import LauncherConfig, StudentConfig, Study, TrainingConfig
from tracedistill.recipes.safe_yaml import parse

AUTO = "auto"
"""The value of `accelerate_config` that takes what this machine has."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """Hardware that a stage is launched on."""

    name: str
    """Name or file of the configuration, as in `accelerate_config`."""
    config: Path
    processes: int
    why: str = ""
    """Why it was chosen, in one line; empty if the recipe names it."""
    machines: int = 1
    """Number of machines launched together."""


def training_hardware(study: Study, recipe: Path) -> Hardware:
    """Return the hardware for training. Raises InputError if the recipe's configuration is invalid."""
    hardware = _hardware(study.training.accelerate_config, "training", recipe, study.training)
    launcher = study.training.launcher
    machines = launcher.num_machines or settings_of(hardware.config)["num_machines"]
    everywhere = launcher.num_processes or hardware.processes * machines
    return replace(hardware, processes=max(1, everywhere // machines), machines=machines)


def launcher_flags(study: Study, hardware: Hardware, *, alone: bool) -> list[str]:
    """Return the flags of `accelerate launch` for several machines, or for this one `alone`."""
    launcher = study.training.launcher
    if hardware.machines == 1 and launcher == LauncherConfig():
        return []
    if alone:
        return ["--num_machines", "1", "--machine_rank", "0", "--num_processes", str(hardware.processes)]
    flags = ["--num_machines", str(hardware.machines), "--machine_rank", str(launcher.machine_rank)]
    flags += ["--num_processes", str(hardware.processes * hardware.machines)]
    for name in ("main_process_ip", "main_process_port"):
        value = getattr(launcher, name)
        flags += [] if value is None else [f"--{name}", str(value)]
    return flags


def evaluation_hardware(study: Study, recipe: Path) -> Hardware:
    """Return the hardware for generating attempts, if they are launched at all (`spreads`)."""
    return _hardware(study.evaluation.accelerate_config or "cpu", "evaluation", recipe)


def spreads(study: Study, student: StudentConfig) -> bool:
    """Return whether a student's attempts are spread over processes: as requested, or over several local GPUs."""
    wanted = study.evaluation.accelerate_config
    if wanted is None or student.base_url is not None or student.engine != "transformers":
        return False
    return wanted != AUTO or (student.loads_weights and len(visible_gpus()) > 1)


def _hardware(
    wanted: str, stage: Literal["training", "evaluation"], recipe: Path, training: TrainingConfig | None = None
) -> Hardware:
    if wanted != AUTO:
        config = accelerate_config(wanted, recipe, stage)
        settings = settings_of(config)
        return Hardware(wanted, config, max(1, settings["num_processes"] // settings["num_machines"]))
    gpus = visible_gpus()
    name, processes = config_for(len(gpus), training)
    return Hardware(name, accelerate_config(name, recipe, stage), processes, _why(gpus, processes))


def config_for(gpus: int, training: TrainingConfig | None) -> tuple[str, int]:
    """Return (name of the configuration, processes) for this many GPUs; in training they share each batch evenly."""
    if not gpus:
        return "cpu", 1
    processes = gpus
    if training is not None:
        rows = training.batch_size // training.gradient_accumulation
        processes = max((count for count in range(1, gpus + 1) if rows % count == 0), default=1) if rows else 1
    return ("ddp", processes) if processes > 1 else ("single_gpu", 1)


def _why(gpus: Sequence[str], processes: int) -> str:
    if not gpus:
        return "the CPU, one process (no GPU that torch sees)"
    if len(gpus) == 1:
        return f"one GPU, {gpus[0]}"
    if processes == len(gpus):
        return f"{len(gpus)} GPUs, {gpus[0]}"
    return f"{processes} of {len(gpus)} GPUs, {gpus[0]}: more cannot share training.batch_size evenly"


def settings_of(config: Path) -> dict[str, Any]:
    """Read an accelerate configuration. Raises InputError if it is invalid."""
    try:
        settings = parse(config.read_text(encoding="utf-8")) or {}
        counts = {key: max(1, int(settings.get(key, 1))) for key in ("num_processes", "num_machines")}
        return {**settings, **counts}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{config}: not an accelerate configuration: {error}") from error


def shared_rows(study: Study, recipe: Path) -> int:
    """Return the number of processes that share one row in training; 1 if the configuration cannot be read here."""
    try:
        settings = settings_of(training_hardware(study, recipe).config)
        return max(1, int(settings.get("parallelism_config", {}).get("parallelism_config_cp_size", 1)))
    except (InputError, ValueError, TypeError, AttributeError):
        return 1


def accelerate_config(name: str, recipe: Path, stage: str = "training") -> Path:
    """Return the file of an accelerate configuration: a path, or a name in accelerate_configs/."""
    own = Path("accelerate_configs") / f"{name}.yaml"
    candidates = [Path(name), recipe.parent / name]
    candidates += [folder / own for folder in (Path.cwd(), *recipe.resolve().parents)]
    for candidate in (*candidates, shipped(own)):
        if candidate is not None and candidate.is_file():
            return candidate
    raise InputError(f"{stage}.accelerate_config: no file '{name}' and no {own}; `auto` takes what this machine has")


def shipped(path: Path) -> Path | None:
    """Return the file of this name that comes with tracedistill (`recipes/quickstart/study.yaml`), or None.

    In a checkout it lies beside src/, in an installed package within it.
    """
    package = Path(__file__).parents[1]
    if path.is_absolute() or ".." in path.parts or path.parts[:1] not in (("recipes",), ("accelerate_configs",)):
        return None
    folders = [folder / path for folder in (package / "shipped", package.parents[1])]
    return next((file for file in folders if file.is_file()), None)
