"""Recipe sections for problems, traces and their cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tracedistill.recipes.bounds import (
    ChoiceNumber,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
    Share,
)

FREE_TEACHERS = ("rules", "gold", "recorded")
"""Kinds of teachers that call no model."""


@dataclass(frozen=True, slots=True)
class ToleranceConfig:
    """Allowed difference of a number from its gold; meeting either bound suffices."""

    relative: NonNegativeFloat = 0.0
    """Share of the gold: 0.02 is two percent."""
    absolute: NonNegativeFloat = 0.0
    """Amount in the gold's own unit."""


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """Problems of the study."""

    name: str = field(metadata={"names": "tasks"})
    """Name of a task, or `package.module:Class`."""
    data_dir: str | None = None
    """Folder with one folder per task; none: the hub, or the task's generator."""
    path: str | None = None
    """task `file`: a file, one per split with `{split}` in its name, a folder of shards, or a hub id; other tasks:
    another hub id."""
    columns: dict[str, str] = field(default_factory=dict)
    """task `file`: our field -> the file's column, a path into one (`answer.text`), a template (`"{subject}: {body}"`),
    or, for choices, several columns (`A, B, C, D`)."""
    judge: str = field(default="auto", metadata={"names": "judges"})
    """task `file`: how answers are judged. auto: decided from all golds; exact: same text; label: one of a closed set;
    number: same value within `tolerance`; json: same value, keys in any order; math: symbolically; regex: the gold is a
    pattern; choice: the letter or text of a choice; or your own function, `module:function`."""
    tolerance: ToleranceConfig = field(default_factory=ToleranceConfig)
    """judge number: allowed difference from the gold."""
    labels: tuple[str, ...] = ()
    """judge label: the closed set, shown in every prompt; empty: the golds of the file."""
    instruction: str | None = None
    """task `file`: an instruction at the top of every prompt."""
    first_choice: ChoiceNumber | None = None
    """task `file`, if golds are numbers of choices: the number of the first choice, 0 or 1; none: decided from all
    golds."""
    failing_golds: Share | None = None
    """Share of golds that may fail their own judge, or contradict each other, before the study stops. None: 0.05 for
    your own data; no limit for the tasks of this package, whose golds docs/gold-audit.md lists."""
    train: PositiveInt | None = None
    """Training problems, a seeded sample; none: all."""
    validation: NonNegativeInt | None = None
    """Validation problems; taken from train if the source has no such split."""
    test: PositiveInt | None = None
    """Test problems, a seeded sample; none: all."""
    train_split: str = "train"
    """Name of the training split in the source."""
    validation_split: str | None = "validation"
    """The source's name of the validation split; none: taken from train."""
    test_split: str = "test"
    """Name of the test split in the source."""


@dataclass(frozen=True, slots=True)
class TeacherConfig:
    """Source of the traces."""

    kind: Literal["rules", "gold", "recorded", "model", "student"] = "rules"
    """rules: the task's own decomposition; gold: plans from the gold steps, without results; recorded: traces from a
    file; model: an endpoint or a local model; student: a student of this study as its own teacher."""
    path: str | None = None
    """recorded: the file (.jsonl, .csv, .parquet; also .jsonl.gz, .csv.gz); none: the traces are in the problems' own
    rows (task `file`, field `trace`)."""
    columns: dict[str, str] = field(default_factory=dict)
    """recorded: field (problem_id, text, answer, oracle) -> column; `traces.x.0` reaches into nested columns."""
    where: dict[str, str] = field(default_factory=dict)
    """recorded: column -> value; only rows with these values are read."""
    model: str | None = None
    """model: its name at the endpoint (`pypi:...`: the folder of these weights, which is how `transformers serve` names
    a model); without base_url a folder, hub id, `pypi:` or `scripted:` name."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What runs a model without base_url. vllm: a vLLM server that this program starts when an answer is missing."""
    vllm_command: str = ""
    """engine vllm: the command that runs it, as in a shell; empty: `vllm` on the path, or beside this Python."""
    vllm_args: tuple[str, ...] = ()
    """engine vllm: extra flags of `vllm serve` (`[--max-model-len, "4096"]`)."""
    base_url: str | None = None
    """model: OpenAI-compatible endpoint up to and including /v1; none: the model runs here."""
    key_env: str = ""
    """model: NAME of the environment variable that holds the key."""
    student: str | None = None
    """student: its name in `students`; none: the only one."""
    prompt: str = field(default="delegation", metadata={"names": "teacher_prompts"})
    """Name of the teacher's prompt, built-in (docs/teachers.md) or in the recipe's `prompts`."""
    reads: Literal["auto", "plan", "solution", "structured", "reasoning"] = "auto"
    """How its answer is parsed. auto: by the built-in prompt, else as a solution; recorded traces as most of them are,
    plans or solutions, which the run prints."""
    traces: Literal["verbatim", "numbered"] = "verbatim"
    """recorded, model, student: what a training row holds. verbatim: the teacher's text, character for character (blank
    lines, bullets, indentation and fences included); numbered: its steps, rewritten in the task's own form, one line
    each, which loses all of these and closing statements."""
    source: str | None = None
    """The teacher whose traces a prompt with {trace} uses (summary, solution, critique-and-revise)."""
    system: str | None = None
    """System message."""
    max_tokens: PositiveInt = 512
    """Maximum number of generated tokens; a cut-off trace is kept for the record and counted, never used."""
    temperature: NonNegativeFloat = 0.0
    """Sampling temperature; 0: greedy."""
    top_p: PositiveShare = 1.0
    """Nucleus sampling: the share of probability that tokens are drawn from."""
    samples: PositiveInt = 1
    """Traces per problem, with distinct seeds; the first accepted one is used."""
    retry_failed: bool = False
    """Buy failed and refused answers again."""
    retry_cut_off: bool = False
    """Buy cut-off answers again."""
    mode: Literal["live", "batch"] = "live"
    """live: single calls; batch: the endpoint's Batch API (half the price, up to a day)."""
    usd_per_million_in: NonNegativeFloat = 0.0
    """Price of prompt tokens."""
    usd_per_million_in_cached: NonNegativeFloat | None = None
    """Price of prompt tokens from the server's prompt cache; none: the full price."""
    usd_per_million_out: NonNegativeFloat = 0.0
    """Price of generated tokens."""
    concurrency: PositiveInt = 64
    """Maximum calls in flight; fewer while the server refuses."""
    requests_per_minute: PositiveFloat | None = None
    """Maximum number of requests per minute; none: as the server reports."""
    tokens_per_minute: PositiveFloat | None = None
    """Maximum number of prompt and generated tokens per minute."""
    timeout: PositiveFloat = 600.0
    """Time limit of one call, in seconds."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Extra fields of the request body (reasoning_effort, chat_template_kwargs, ...)."""
    omit: tuple[str, ...] = ()
    """Fields of the request body to leave out (temperature, top_p, seed, ...) because a server refuses them."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name of the limit in the request. OpenAI's reasoning models need max_completion_tokens."""
    structured: Literal["json_schema", "json_object", "none"] = "json_schema"
    """How a JSON schema is sent to the endpoint."""


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """Budget of this study's teachers over all its runs; a run stops cleanly before exceeding it."""

    usd: NonNegativeFloat | None = None
    """Maximum cost in US dollars, by the recipe's prices."""
    tokens: NonNegativeInt | None = None
    """Maximum number of tokens, in and out together."""
    calls: NonNegativeInt | None = None
    """Maximum number of answers bought."""
