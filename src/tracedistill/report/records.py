"""The records of report.json, a reader's contract: docs/report-json.md is made from them (report/reference.py).

report = read_report(Path("runs/quickstart"))
report.arms[0].accuracy.raw.value
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.interventions import Measured
from tracedistill.stats import Accuracy, JointTable, Share
from tracedistill.validation import RejectionReport

T = TypeVar("T")

FILE = "report.json"
VERSION = 1
"""Counted up where a key of report.json is renamed, removed or given another meaning; not where one is added."""
Cell = str | bool | int | float | None
"""Text, a count, a figure; None: there is none (shown as a dash)."""
Kind = Literal["in context", "tuned", "served", "imported"]


# ---- tables for people


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a section."""

    title: str
    """What it shows."""
    heads: tuple[str, ...]
    """Column heads; the first column names the row."""
    rows: tuple[tuple[Cell, ...], ...]
    """Cells, formatted for people where they are text."""
    flagged: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of cells that a reader must not overlook: red."""
    note: str = ""
    """How to read it."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report, made of tables that the page, Markdown and the terminal show alike."""

    key: str
    """Stable name, used as anchor on the page."""
    title: str
    """Heading."""
    notes: tuple[str, ...] = ()
    """Sentences before the tables."""
    tables: tuple[Table, ...] = ()
    """Its tables."""


# ---- what arms were given


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """The traces that an arm was tuned on, is shown as plans, or has put into its student's mouth."""

    rows: int = 0
    """Problems that they are of; of a tuned arm its training rows."""
    traces: int = 0
    """Traces; fewer than rows where an arm mixes rows without a trace in."""
    characters: int = 0
    """Characters of all traces."""
    steps: int = 0
    """Steps of all traces."""
    holding_answer: int = 0
    """Traces that contain the gold answer."""
    oracle: int = 0
    """Traces whose maker saw the gold."""
    judged_correct: int = 0
    """Traces that the task's judge calls correct."""
    edited: int = 0
    """Traces that a reviewer edited."""
    ids: str = ""
    """Hash of the problem ids in their order: equal for arms with the same rows."""
    mix: Mapping[str, int] | None = None
    """Arm -> rows that come from it, of an arm that mixes others in."""
    measured: Measured | None = None
    """What the intervention kept and changed, measured on these rows; None where there was nothing to measure."""
    broken: tuple[str, ...] = ()
    """Sentences on what the intervention declares to keep and did not."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """What all arms were given. Of several runs a number that differs between them is null."""

    train_problems: int | None = None
    """Training problems of the study."""
    rows: int | None = None
    """Of these, problems with a trace for every tuned arm: the rows of each dataset."""
    validation_rows: int | None = None
    """Validation problems that trainings are evaluated on; null where they are not."""
    categories_lost: tuple[str, ...] | None = ()
    """Categories of training problems that no row is of."""
    arms: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Tuned arm -> what it was tuned on."""
    plans: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Arm -> the plans that it is shown."""
    rejected: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Arm -> the traces that it learnt to avoid (method dpo), made by an intervention."""
    forced: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Arm -> the traces that are put into its student's mouth."""


# ---- arms


@dataclass(frozen=True, slots=True)
class KeptAccuracy:
    """An arm's accuracy without some of the problems."""

    leaking: int
    """Plans whose problems are left out."""
    n: int
    """Attempts left."""
    correct: int
    """Of these, right."""
    accuracy: Share
    """Their share, with its interval."""


@dataclass(frozen=True, slots=True)
class WithoutLeaks(KeptAccuracy):
    """An arm's accuracy without the problems whose shown plan gives the solution away."""

    plans: int
    """Plans judged."""
    matched: KeptAccuracy
    """The same without plans in which string matching finds the gold, innocent or not."""


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One arm: what it is, and what became of its attempts."""

    name: str
    """As the recipe has it; in a report over several runs `<run>/<arm>`."""
    kind: Kind
    """in context: an untuned student; tuned: with an adapter; served: a tuned model at an endpoint; imported."""
    n: int
    """Attempts; of an arm that votes problems, once per seed."""
    attempts: int
    """Attempts; every one counts, whatever became of it."""
    correct: int
    """Of `n`, answers that are right."""
    accuracy: Accuracy
    """Share of right answers: of all, of those that were not cut off, and between the bounds of cut-offs."""
    association: JointTable
    """Trace against answer, over the attempts whose traces were judged."""
    joint: tuple[int, int, int, int]
    """Attempts: trace right and answer right; right, wrong; wrong, right; wrong, wrong. Unparsed counts as wrong."""
    file: str
    """attempts/<arm>.jsonl, relative to report.json: every attempt with its verdicts."""
    student: str | None = None
    """Who answered, by its name in the recipe; null where nobody said."""
    teacher: str | None = None
    """Whose traces or plans it uses; null where nobody said."""
    prompt: str | None = None
    """How the student was asked; null where nobody said."""
    tune: str | None = None
    """Intervention on the traces that it was tuned on; null: untuned, or another arm's adapter."""
    mix: Mapping[str, float] = field(default_factory=dict)
    """Arm -> share of the training rows that come from it."""
    method: str | None = None
    """How it was learnt: sft, self-imitation, on-policy, grpo or dpo; null: untuned, or another arm's adapter."""
    starts_from: str | None = None
    """The arm whose adapter its training started from."""
    adapter: str | None = None
    """The arm whose adapter it uses instead of one of its own."""
    forced: str | None = None
    """Trace put into the student's mouth: an intervention's name, or `own`."""
    vote: bool = False
    """Whether its answer to a problem is the majority's over its attempts."""
    seeds: int = 1
    """Adapters, one a seed."""
    candidate: int | None = None
    """Attempts that name exactly the right one of the possible answers; null where the answers are an open set."""
    derived: int = 0
    """Attempts whose body reaches the right value, whatever the final statement says."""
    missing: int = 0
    """Attempts without an answer."""
    ungradable: int = 0
    """Attempts whose gold cannot be judged."""
    cut_off: int = 0
    """Attempts that reached their token limit."""
    too_long: int = 0
    """Attempts whose prompt exceeds the context window."""
    errors: int = 0
    """Calls to an endpoint that brought nothing."""
    no_plan: int = 0
    """Problems not asked, because there was no plan to show or trace to force."""
    trace_correct: int = 0
    """Attempts whose trace is right."""
    trace_unparsed: int = 0
    """Attempts whose trace cannot be read."""
    trace_none: int = 0
    """Attempts without a trace."""
    trace_not_judged: int = 0
    """Attempts with a trace, of a task without a rule for what a right one is."""
    writes_traces: bool = False
    """Whether any attempt holds a trace."""
    judges_traces: bool = False
    """Whether any trace was judged."""
    traces_judged: int = 0
    """Traces called right or wrong."""
    answer_in_trace: int = 0
    """Attempts whose gold answer stands in the trace."""
    tokens_in: int = 0
    """Prompt tokens of all attempts."""
    tokens_out: int = 0
    """Generated tokens of all attempts."""
    seconds: float = 0.0
    """Seconds of generation, all attempts together."""
    training_seconds: float | None = None
    """Seconds of tuning its adapters; null where none was tuned."""
    data: TraceFacts | None = None
    """What it was tuned on; null where that holds no trace."""
    plan: TraceFacts | None = None
    """The plans that it is shown."""
    forced_trace: TraceFacts | None = None
    """The traces that are put into its student's mouth."""
    without_leaks: WithoutLeaks | None = None
    """Its accuracy without leaking plans; null where it shows none."""
    source: Mapping[str, Any] | None = None
    """Of an imported arm its entry in imported.json: file, hash, answer metric, rows read and refused."""

    @property
    def oracle(self) -> str:
        """`oracle plan` or `oracle trace` where somebody who saw the gold made what it is given; else empty."""
        if self.plan is not None and self.plan.oracle:
            return "oracle plan"
        return "oracle trace" if self.forced_trace is not None and self.forced_trace.oracle else ""

    @property
    def label(self) -> str:
        """The arm's name as every table shows it."""
        return f"{self.name} ({self.oracle})" if self.oracle else self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms on the problems that both have attempted.

    One attempt per problem (or a vote): exact McNemar and the paired bootstrap. Several samples: both of per-problem
    means. Several seeds: both over problems and seeds crossed.
    """

    first: str
    """Name of an arm."""
    second: str
    """Name of the arm that it is compared with."""
    n: int
    """Problems that both have attempted."""
    difference: float
    """Share of right answers of the first less that of the second."""
    low: float
    """Lower end of the difference's 95% interval."""
    high: float
    """Upper end of it."""
    only_first: int
    """Problems answered better by the first arm."""
    only_second: int
    """Problems answered better by the second arm."""
    test: str
    """Name of the test."""
    p: float
    """Its two-sided p value."""
    p_holm: float
    """The p value after Holm's correction over the declared comparisons."""
    mde: float | None = None
    """Smallest true difference that the test finds with `power` at `alpha`; null: not even the largest."""
    discordance: float | None = None
    """Observed share of problems on which the arms differ, that `mde` supposes; null: from the standard error."""
    alpha: float = 0.05
    """Level of the test: the family's over its size, Holm's first step."""
    power: float = 0.8
    """Chance to find a difference of `mde`."""
    family: int = 1
    """Comparisons corrected together."""
    seeds: int = 1
    """Seeds of the arm that has most of them."""
    samples: int = 1
    """Most attempts of one problem under one seed."""
    vote: tuple[str, ...] = ()
    """Those of the two whose majority's answer was compared."""
    single_seed: bool = False
    """Whether a tuned arm of the two has one seed."""
    about: str = ""
    """What a finding speaks about: these adapters, or adapters trained so."""


# ---- teachers and runs


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFigures(RejectionReport):
    """One teacher: what it cost, what failed, and what validation accepted.

    Counts of calls are null for teachers that call no model.
    """

    name: str
    """Its name in the recipe."""
    kind: str
    """Kind of teacher."""
    model: str | None = None
    """Model that it calls."""
    prompt: str | None = None
    """How it is asked; null for teachers that ask no model."""
    requests: int | None = None
    """Answers wanted."""
    bought: int | None = None
    """Of these, bought by this run; the rest was in the cache."""
    failed: int = 0
    """Requests that brought no trace."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Cause -> requests that failed of it."""
    tokens_in: int | None = None
    """Prompt tokens."""
    tokens_out: int | None = None
    """Generated tokens."""
    usd: float | None = None
    """US dollars, kept answers at the price that was paid once."""
    models: Mapping[str, int] = field(default_factory=dict)
    """Model that a reply names -> answers."""
    judge_usage: Mapping[str, Any] | None = None
    """Calls, tokens and dollars of the model judge; null where there is none."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Problems of each split."""

    train: int = 0
    """To train on."""
    validation: int = 0
    """To choose hyperparameters on."""
    test: int = 0
    """To ask: what all figures are over."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What always giving the most frequent answer, or category, would get."""

    answer: str
    """The most frequent answer."""
    answer_share: float
    """Share of the problems that it is right for."""
    category: str = ""
    """The most frequent category."""
    category_share: float = 0.0
    """Share of the problems that are of it."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One of several runs that a report is over."""

    name: str
    """The shortest kind of name that tells the runs apart."""
    folder: str
    """Its run folder."""
    problems: int
    """Problems that all its arms have attempted."""
    left_out: int
    """Of these, problems that are not in this report."""
    asked_otherwise: int
    """Problems of the same id with another question or gold elsewhere."""


@dataclass(frozen=True, slots=True)
class Report:
    """A study, imported outputs, or several runs side by side: the top level of report.json."""

    study: str
    """Name of the study."""
    task: str
    """Name of the task."""
    problems: Sizes
    """How many problems there are."""
    baseline: Baseline
    """What a guess would get."""
    arms: tuple[ArmFigures, ...]
    """In the recipe's order, imported ones behind them."""
    comparisons: tuple[Comparison, ...] = ()
    """The declared pairs of arms: one family, corrected together."""
    not_compared: tuple[tuple[str, str], ...] = ()
    """Declared pairs that have no common problems: not tested, not in the family."""
    teachers: tuple[TeacherFigures, ...] = ()
    """Teachers whose traces the arms use."""
    by_category: Mapping[str, Mapping[str, tuple[int, int, int]]] = field(default_factory=dict)
    """Category -> arm -> attempts, right answers, right traces."""
    seeds: int = 1
    """Most adapters of one arm."""
    seconds: float = 0.0
    """Seconds of all stages."""
    peak_memory_bytes: int = 0
    """Largest memory of a stage's process."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Piece of the run -> its seconds."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Library -> version."""
    assembly: Assembly | None = None
    """What the arms were given; null for imported outputs."""
    recipe: Mapping[str, Any] | None = None
    """The recipe with all its defaults; null for imported outputs and several runs."""
    runs: tuple[RunFacts, ...] = ()
    """The runs, where the report is over several."""
    against: str | None = None
    """The run that the others are compared with."""
    waiting: tuple[str, ...] = ()
    """Arms of the recipe without attempts yet."""
    decision: tuple[str, ...] = ()
    """Prompt, tune, or not known yet; or what spoils the study."""
    findings: tuple[str, ...] = ()
    """What the corrected tests support, a sentence each."""
    limits: tuple[str, ...] = ()
    """What must be said beside the findings."""
    sections: tuple[Section, ...] = ()
    """Everything else, as tables for people."""
    version: int = VERSION
    """Of this format."""


def read_report(folder: Path) -> Report:
    """Read a run folder's report.json. Raises InputError if there is none, or it is of another version's shape."""
    path = folder / FILE
    values = read_json(path)
    again = f"make it again: tracedistill report {folder}"
    if values.get("version", VERSION) != VERSION:
        raise InputError(f"{path}: of format {values['version']}, and this version reads {VERSION}; {again}")
    return record_of(Report, values, str(path), again)


def record_of(kind: type[T], values: Mapping[str, Any], where: str, remedy: str = "delete it to make it again") -> T:
    """Return JSON values as a record; keys that it does not know are passed over. Raises InputError if they differ."""
    try:
        return msgspec.convert(dict(values), kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}: not as this version writes it ({error}); {remedy}") from error
