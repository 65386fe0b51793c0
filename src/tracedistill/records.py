"""The records that stages exchange: frozen, JSON-serialisable, each carrying its problem_id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

AnswerOutcome = Literal["correct", "incorrect", "missing", "ungradable"]
"""missing: the text contains no answer; ungradable: the gold cannot be judged, or judging timed out."""

TraceOutcome = Literal["correct", "incorrect", "unparsed", "none", "not judged"]
"""unparsed: the trace's steps cannot be parsed; none: the text contains no trace; not judged: the task has no rule for
what a right trace is."""

VerdictOutcome = Literal["correct", "incorrect", "missing", "ungradable", "unparsed", "none", "undecided", "not judged"]
"""One of AnswerOutcome for answers, TraceOutcome for traces; plans may be undecided."""

StepOutcome = Literal["correct", "incorrect", "undecided"]
"""undecided: the rules cannot decide; a model or a person may."""

StepKind = Literal["class", "retrieval", "calculation", "plan", "text"]
"""class: names a type or relation; retrieval: cites facts; calculation: contains an equation;
plan: says what to do without doing it; text: anything else."""


def node_name(kind: str, of: str = "") -> str:
    """Return a node's name: `train:correct.seed1`, or `problems`, which belongs to the whole study."""
    return f"{kind}:{of}" if of else kind


def split_node_name(name: str) -> tuple[str, str]:
    """Split the name of a node into (kind, subject); the subject is empty for the whole study."""
    kind, _, of = name.partition(":")
    return kind, of


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace."""

    kind: StepKind
    text: str
    """The step as parsed: without list marks, white space as single spaces."""
    value: str | None = None
    """The class named (kind class) or the result reached (kind calculation)."""
    facts: tuple[str, ...] = ()
    """The facts cited, as written (kind retrieval)."""
    spans: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    """Positions of the step in its trace's text: (start, end) of each piece; empty if unknown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with its gold. `blind()` is what a teacher or student may see."""

    problem_id: str
    """Stable and unique over all splits of a task; all records are joined by it."""
    task: str
    """Name of the task in `tracedistill.tasks.TASKS`, or a dotted path."""
    split: str
    """train, validation or test (or the source's own name)."""
    question: str
    """The question, without its context."""
    answers: tuple[str, ...] = ()
    """Gold answers. Several are a set that is required as a whole, or alternatives; the task says which."""
    context: tuple[str, ...] = ()
    """Facts, story lines or passages in their order."""
    choices: tuple[tuple[str, str], ...] = ()
    """(letter, text) of a multiple-choice question."""
    category: str = ""
    """Question type or relation class. The gold class if traces have a class step, else a stratum for tables."""
    gold_steps: tuple[Step, ...] = ()
    """The gold trace, if the source has one."""
    gold_text: str = ""
    """The gold trace as the source writes it; empty if only its steps are known."""
    difficulty: int | None = None
    """Number of gold steps, or the level given by the source; used to stratify by difficulty."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """JSON values of the source that the task's own judges need."""

    def blind(self) -> Problem:
        """Return the problem without gold: no answers, gold steps, category, difficulty or meta."""
        return replace(self, answers=(), category="", gold_steps=(), gold_text="", difficulty=None, meta={})


@dataclass(frozen=True, slots=True)
class Trace:
    """A reasoning trace for one problem, written by one maker."""

    trace_id: str
    """Content id (`files.content_id`) of maker, problem, sample and text."""
    problem_id: str
    teacher: str
    """Name of the teacher in the recipe, or of the intervention's source."""
    steps: tuple[Step, ...]
    """The text parsed into steps, for judges, interventions and reviewers; empty if it cannot be parsed."""
    text: str
    """The text as its maker wrote it, character for character, which a student is shown or trained on."""
    answer: str | None = None
    """The answer that the maker stated, kept apart from the steps; None for a plan."""
    oracle: bool = False
    """Whether the maker saw the gold."""
    intervention: str = "correct"
    """Name in `interventions.INTERVENTIONS`; `correct` is the trace as its maker wrote it."""
    parent_id: str | None = None
    """trace_id of the trace that an intervention made this one from."""
    sample: int = 0
    """Index among several samples of one teacher for one problem."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Usage, finish reason, parse failure, seconds: JSON values."""


@dataclass(frozen=True, slots=True)
class StepVerdict:
    """A judge's verdict on one step."""

    index: int
    """Position in the trace, from 0."""
    kind: StepKind
    outcome: StepOutcome
    """Verdict on this step alone."""
    reason: str = ""
    """One short sentence for a person."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Numbers beside the outcome, such as precision and recall of the cited facts (0 to 1)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judgement, with what was extracted and why."""

    outcome: VerdictOutcome
    """One of AnswerOutcome for answers, TraceOutcome for traces; plans may be undecided."""
    extracted: str | None = None
    """The answer that the judge extracted."""
    reason: str = ""
    """One short sentence for a person."""
    steps: tuple[StepVerdict, ...] = ()
    """Per step, for traces and plans."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Descriptors beside the outcome (gold-path coverage, F1, ...), 0 to 1 unless named otherwise."""

    @property
    def ok(self) -> bool:
        """Whether the outcome is `correct`."""
        return self.outcome == "correct"


@dataclass(frozen=True, slots=True)
class AnswerVerdicts:
    """The three readings of an answer, never mixed."""

    answer: Verdict
    """The final statement: what accuracy means."""
    derived: Verdict
    """The value reached in the body, whatever the final statement says."""
    candidate: Verdict
    """Closed answer sets only: exactly one of the possible answers is named anywhere (else missing)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One SFT row: prompt and completion, the loss on the completion alone."""

    problem_id: str
    """The problem that it trains on."""
    arm: str
    """The arm whose dataset holds it."""
    prompt: tuple[Message, ...]
    """Chat messages up to the assistant's turn."""
    completion: str
    """The assistant's turn."""
    trace_id: str | None = None
    """The trace inside the completion, if any."""
    answer: str | None = None
    """The answer inside the completion; None for a row that teaches the trace alone."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A student's output for one problem under one arm."""

    attempt_id: str
    """`<arm>/<problem_id>/<sample>` (with `.seed<k>` after the arm for further seeds): unique in a run."""
    problem_id: str
    arm: str
    student: str
    """Name of the student in the recipe."""
    text: str
    """The raw generation, special tokens removed."""
    finish: Literal["stop", "length", "error", "too-long", "no-plan"]
    """stop: ended by itself; length: cut off at max_tokens; too-long: the prompt exceeds the context window;
    no-plan: a required plan or prefilled trace is missing, so the student was not prompted."""
    tokens_in: int
    """Prompt tokens."""
    tokens_out: int
    """Generated tokens, the end token included."""
    seconds: float
    """Wall time of the batch divided by its rows."""
    sample: int = 0
    """Index among several samples (and plans) of a problem."""
    seed: int = 0
    """Index of the adapter's seed, from 0."""
    trace_id: str | None = None
    """The plan or trace shown in the prompt or prefilled, if any."""
    error: str = ""
    """The server's message if a call to an endpoint failed; empty for a refusal by the model."""

    @property
    def cut_off(self) -> bool:
        """Whether the generation ended at its token limit."""
        return self.finish == "length"


@dataclass(frozen=True, slots=True)
class Score:
    """A judged attempt, with separate verdicts on answer and trace."""

    attempt_id: str
    problem_id: str
    arm: str
    answers: AnswerVerdicts
    trace: Verdict
    """Verdict on the student's trace; outcome `none` if it wrote none."""
    cut_off: bool
    """Whether the generation was cut off."""
    answer_in_trace: bool | None = None
    """Whether the cited facts contain the gold answer verbatim; None without a trace."""
    follows: bool | None = None
    """Whether the answer is the one that a prefilled trace implies; None if there is none or it implies none."""
