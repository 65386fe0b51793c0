"""The records of report.json, a reader's contract: docs/report-json.md is made from them (report/reference.py).

report = read_report(Path("runs/quickstart"))
report.arms[0].accuracy.raw.value
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tracedistill.interventions import Measured
from tracedistill.report.tables import Section
from tracedistill.stats import Accuracy, JointTable, Share
from tracedistill.validation import RejectionReport

FILE = "report.json"
VERSION = 1
"""Raised if a key of report.json is renamed, removed or given another meaning; not if one is added."""
Kind = Literal["in context", "tuned", "served", "imported"]


# ---- what arms were given


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """The traces that an arm was tuned on, is shown as plans, or is prefilled with."""

    rows: int = 0
    """Problems with such a trace; training rows for a tuned arm."""
    traces: int = 0
    """Traces; fewer than `rows` if the arm mixes in rows without a trace."""
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
    """Traces edited by a reviewer."""
    ids: str = ""
    """Hash of the problem ids in order: equal for arms with the same rows."""
    mix: Mapping[str, int] | None = None
    """Arm -> rows taken from it, if the arm mixes others in."""
    measured: Measured | None = None
    """What the intervention kept and changed, measured on these rows; None if there was nothing to measure."""
    broken: tuple[str, ...] = ()
    """Sentences on declared properties that the intervention did not keep."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """What all arms were given. Numbers that differ between several runs are null."""

    train_problems: int | None = None
    """Training problems of the study."""
    rows: int | None = None
    """Of these, problems with a trace for every tuned arm: the rows of each dataset."""
    validation_rows: int | None = None
    """Validation problems that trainings are evaluated on; null if they are not."""
    categories_lost: tuple[str, ...] | None = ()
    """Categories of training problems without any row."""
    arms: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Tuned arm -> what it was tuned on."""
    plans: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Arm -> the plans shown to it."""
    rejected: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Arm -> the traces that it learnt to avoid (method dpo), made by an intervention."""
    forced: Mapping[str, TraceFacts] = field(default_factory=dict)
    """Arm -> the traces prefilled into its student's answers."""


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
    """An arm's accuracy without the problems whose shown plan gives away the solution."""

    plans: int
    """Plans judged."""
    matched: KeptAccuracy
    """The same without plans in which string matching finds the gold, leaking or not."""


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One arm: its settings and the results of its attempts."""

    name: str
    """Name in the recipe; `<run>/<arm>` in a report over several runs."""
    kind: Kind
    """in context: an untuned student; tuned: with an adapter; served: a tuned model at an endpoint; imported."""
    n: int
    """Attempts; for an arm that votes, problems times seeds."""
    attempts: int
    """All attempts, whatever their outcome."""
    correct: int
    """Of `n`, right answers."""
    accuracy: Accuracy
    """Share of right answers: of all, of those not cut off, and bounds for the cut-offs."""
    association: JointTable
    """Trace against answer, over attempts whose traces were judged."""
    joint: tuple[int, int, int, int]
    """Attempts: trace right and answer right; right, wrong; wrong, right; wrong, wrong. Unparsed counts as wrong."""
    file: str
    """attempts/<arm>.jsonl, relative to report.json: every attempt with its verdicts."""
    student: str | None = None
    """Student, by its name in the recipe; null if unknown."""
    teacher: str | None = None
    """Teacher whose traces or plans it uses; null if unknown."""
    prompt: str | None = None
    """Prompt of the student; null if unknown."""
    tune: str | None = None
    """Intervention on the traces that it was tuned on; null: untuned, or another arm's adapter."""
    mix: Mapping[str, float] = field(default_factory=dict)
    """Arm -> share of the training rows that come from it."""
    method: str | None = None
    """How it was trained: sft, self-imitation, on-policy, grpo or dpo; null: untuned, or another arm's adapter."""
    starts_from: str | None = None
    """Arm whose adapter its training started from."""
    adapter: str | None = None
    """Arm whose adapter it uses instead of one of its own."""
    forced: str | None = None
    """Prefilled trace: an intervention's name, or `own`."""
    vote: bool = False
    """Whether its answer to a problem is the majority over its attempts."""
    seeds: int = 1
    """Number of adapters, one per seed."""
    candidate: int | None = None
    """Attempts that name exactly the right one of the possible answers; null if the answer set is open."""
    derived: int = 0
    """Attempts whose body reaches the right value, whatever the final statement is."""
    missing: int = 0
    """Attempts without an answer."""
    ungradable: int = 0
    """Attempts whose gold cannot be graded."""
    cut_off: int = 0
    """Attempts that reached their token limit."""
    too_long: int = 0
    """Attempts whose prompt exceeds the context window."""
    errors: int = 0
    """Failed calls to an endpoint."""
    no_plan: int = 0
    """Problems skipped because the plan to show or trace to force was missing."""
    trace_correct: int = 0
    """Attempts whose trace is right."""
    trace_unparsed: int = 0
    """Attempts whose trace cannot be parsed."""
    trace_none: int = 0
    """Attempts without a trace."""
    trace_not_judged: int = 0
    """Attempts with a trace that no rule of the task can judge."""
    writes_traces: bool = False
    """Whether any attempt holds a trace."""
    judges_traces: bool = False
    """Whether any trace was judged."""
    traces_judged: int = 0
    """Traces judged right or wrong."""
    answer_in_trace: int = 0
    """Attempts whose trace contains the gold answer."""
    tokens_in: int = 0
    """Prompt tokens of all attempts."""
    tokens_out: int = 0
    """Generated tokens of all attempts."""
    seconds: float = 0.0
    """Seconds of generation, summed over attempts."""
    training_seconds: float | None = None
    """Seconds of tuning its adapters; null if none was tuned."""
    data: TraceFacts | None = None
    """What it was tuned on; null if that holds no trace."""
    plan: TraceFacts | None = None
    """The plans shown to it."""
    forced_trace: TraceFacts | None = None
    """The traces prefilled into its student's answers."""
    validation: Share | None = None
    """Share of right answers to the validation problems on which the decision's arms are chosen; null where it was not
    asked them."""
    without_leaks: WithoutLeaks | None = None
    """Its accuracy without leaking plans; null if it shows none."""
    source: Mapping[str, Any] | None = None
    """Entry of an imported arm in imported.json: file, hash, answer metric, rows read and refused."""

    @property
    def oracle(self) -> str:
        """`oracle plan` or `oracle trace` if its plan or trace was made with the gold in view; else empty."""
        if self.plan is not None and self.plan.oracle:
            return "oracle plan"
        return "oracle trace" if self.forced_trace is not None and self.forced_trace.oracle else ""

    @property
    def label(self) -> str:
        """The arm's name as every table shows it."""
        return f"{self.name} ({self.oracle})" if self.oracle else self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two arms on the problems that both attempted.

    One attempt per problem (or a vote): exact McNemar and the paired bootstrap. Several samples: both on per-problem
    means. Several seeds: both on problems crossed with seeds.
    """

    first: str
    """Name of an arm."""
    second: str
    """Name of the arm it is compared with."""
    n: int
    """Problems that both attempted."""
    difference: float
    """Accuracy of the first arm minus that of the second."""
    low: float
    """Lower end of the difference's 95% interval."""
    high: float
    """Upper end of the difference's 95% interval."""
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
    """Smallest true difference that the test detects with `power` at `alpha`; null: not even the largest."""
    discordance: float | None = None
    """Observed share of problems on which the arms differ, assumed by `mde`; null: `mde` uses the standard error."""
    alpha: float = 0.05
    """Level of the test: the family's level over its size (Holm's first step)."""
    power: float = 0.8
    """Probability of detecting a difference of `mde`."""
    family: int = 1
    """Number of comparisons corrected together."""
    seeds: int = 1
    """Number of seeds of the arm with more seeds."""
    samples: int = 1
    """Most attempts of one problem under one seed."""
    vote: tuple[str, ...] = ()
    """Those of the two arms that were compared by majority vote."""
    single_seed: bool = False
    """Whether a tuned arm of the two has a single seed."""
    about: str = ""
    """Scope of a finding: these adapters, or adapters trained this way."""


# ---- teachers and runs


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherFigures(RejectionReport):
    """One teacher: its costs, its failures, and what validation accepted.

    Counts of calls are null for teachers that call no model.
    """

    name: str
    """Its name in the recipe."""
    kind: str
    """Kind of teacher."""
    model: str | None = None
    """Model that it calls."""
    prompt: str | None = None
    """Prompt of the teacher; null for teachers that call no model."""
    requests: int | None = None
    """Answers requested."""
    bought: int | None = None
    """Of these, bought by this run; the rest came from the cache."""
    failed: int = 0
    """Requests that yielded no trace."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Cause -> failed requests."""
    tokens_in: int | None = None
    """Prompt tokens."""
    tokens_out: int | None = None
    """Generated tokens."""
    usd: float | None = None
    """US dollars; cached answers at the price that was once paid."""
    models: Mapping[str, int] = field(default_factory=dict)
    """Model named by the reply -> answers."""
    judge_usage: Mapping[str, Any] | None = None
    """Calls, tokens and dollars of the model judge; null if there is none."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Problems per split."""

    train: int = 0
    """Training problems."""
    validation: int = 0
    """Validation problems, for choosing hyperparameters."""
    test: int = 0
    """Test problems, which all figures are about."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Accuracy of always giving the most frequent answer, or category."""

    answer: str
    """The most frequent answer."""
    answer_share: float
    """Share of problems with this answer."""
    category: str = ""
    """The most frequent category."""
    category_share: float = 0.0
    """Share of problems of this category."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One of several runs in a report."""

    name: str
    """The shortest name that distinguishes the runs."""
    folder: str
    """Run folder."""
    problems: int
    """Problems that all its arms attempted."""
    left_out: int
    """Of these, problems left out of this report."""
    asked_otherwise: int
    """Problems of the same id with another question or gold in another run."""


@dataclass(frozen=True, slots=True)
class Report:
    """A study, imported outputs, or several runs side by side: the top level of report.json."""

    study: str
    """Name of the study."""
    task: str
    """Name of the task."""
    problems: Sizes
    """Number of problems per split."""
    baseline: Baseline
    """Accuracy of a constant guess."""
    arms: tuple[ArmFigures, ...]
    """Arms in the recipe's order, then imported ones."""
    comparisons: tuple[Comparison, ...] = ()
    """The declared pairs of arms: one family, corrected together."""
    not_compared: tuple[tuple[str, str], ...] = ()
    """Declared pairs without common problems: not tested, not in the family."""
    teachers: tuple[TeacherFigures, ...] = ()
    """Teachers whose traces the arms use."""
    by_category: Mapping[str, Mapping[str, tuple[int, int, int]]] = field(default_factory=dict)
    """Category -> arm -> attempts, right answers, right traces."""
    seeds: int = 1
    """Most adapters of one arm."""
    seconds: float = 0.0
    """Seconds of all stages."""
    peak_memory_bytes: int = 0
    """Peak memory of the largest stage process."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Node of the run -> its seconds."""
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Library -> version."""
    assembly: Assembly | None = None
    """What the arms were given; null for imported outputs."""
    recipe: Mapping[str, Any] | None = None
    """The recipe with all its defaults; null for imported outputs and several runs."""
    runs: tuple[RunFacts, ...] = ()
    """The runs, if the report is over several."""
    against: str | None = None
    """The run that the others are compared with."""
    waiting: tuple[str, ...] = ()
    """Arms of the recipe without attempts yet."""
    decision: tuple[str, ...] = ()
    """Prompt, tune, or undecided; or the study's defects."""
    findings: tuple[str, ...] = ()
    """Sentences on what the corrected tests support."""
    limits: tuple[str, ...] = ()
    """Limitations to state beside the findings."""
    sections: tuple[Section, ...] = ()
    """Everything else, as tables."""
    version: int = VERSION
    """Version of this format."""
