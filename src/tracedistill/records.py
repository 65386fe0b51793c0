"""The records that stages exchange: frozen, JSON-serialisable, each carrying its problem_id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

AnswerOutcome = Literal["correct", "incorrect", "missing", "ungradable"]
"""missing: no answer was found in the text; ungradable: the gold cannot be judged, or judging ran out of time."""

TraceOutcome = Literal["correct", "incorrect", "unparsed", "none", "not judged"]
"""unparsed: there is a trace, but its steps cannot be read; none: the text holds no trace at all; not judged: there is
one, and no rule of the task says what a right one would be."""

VerdictOutcome = Literal["correct", "incorrect", "missing", "ungradable", "unparsed", "none", "undecided", "not judged"]
"""One of AnswerOutcome for answers, TraceOutcome for traces; plans may be undecided."""

StepOutcome = Literal["correct", "incorrect", "undecided"]
"""undecided: rules cannot tell; a model or a person may."""

StepKind = Literal["class", "retrieval", "calculation", "plan", "text"]
"""class: names a type or relation; retrieval: cites facts; calculation: holds an equation;
plan: says what to do without doing it; text: anything else."""


def node_name(kind: str, of: str = "") -> str:
    """Name one node of a run: `train:correct.seed1`, or `problems`, which belongs to the whole study."""
    return f"{kind}:{of}" if of else kind


def split_node_name(name: str) -> tuple[str, str]:
    """Split the name of a node into (kind, subject); the subject is empty for the whole study."""
    kind, _, of = name.partition(":")
    return kind, of


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace."""

    kind: StepKind
    """Kind of the step."""
    text: str
    """The step as it was read: without list marks, white space as single spaces."""
    value: str | None = None
    """The class named (kind class) or the result reached (kind calculation)."""
    facts: tuple[str, ...] = ()
    """The facts cited, as written (kind retrieval)."""
    spans: tuple[tuple[int, int], ...] = field(default=(), compare=False)
    """Places of the step in its trace's text: (start, end) of the pieces that were read; empty if unknown."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem with its gold. `blind()` is what a teacher or student may see."""

    problem_id: str
    """Stable and unique over all splits of a task; everything is joined by it."""
    task: str
    """Name of the task in `tracedistill.tasks.TASKS`, or a dotted path."""
    split: str
    """train, validation or test (or the source's own name)."""
    question: str
    """The question, without its context."""
    answers: tuple[str, ...] = ()
    """Gold. One string; or a set that is wanted whole, or alternatives of which any will do: the task says which."""
    context: tuple[str, ...] = ()
    """Facts, story lines or passages in their order."""
    choices: tuple[tuple[str, str], ...] = ()
    """(letter, text) of a multiple-choice question."""
    category: str = ""
    """Question type or relation class: the gold class if traces have a class step, else a stratum for tables."""
    gold_steps: tuple[Step, ...] = ()
    """The gold trace, where the source has one."""
    gold_text: str = ""
    """The gold trace as the source writes it; empty if it is known by its steps alone."""
    difficulty: int | None = None
    """Number of gold steps or the source's own level; the stratum that controls for difficulty."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """JSON values of the source that the task's own judges need."""

    def blind(self) -> Problem:
        """Return the problem without gold: no answers, gold steps, category, difficulty or meta."""
        return replace(self, answers=(), category="", gold_steps=(), gold_text="", difficulty=None, meta={})


@dataclass(frozen=True, slots=True)
class Trace:
    """A decomposition of one problem by one maker."""

    trace_id: str
    """Content id (`store.content_id`) of maker, problem, sample and text."""
    problem_id: str
    """The problem decomposed."""
    teacher: str
    """Name of the teacher in the recipe, or of the intervention's source."""
    steps: tuple[Step, ...]
    """A reading of the text, for judges, interventions and reviewers; empty if the text could not be read."""
    text: str
    """The text as its maker wrote it, character for character, which a student is shown or trained on."""
    answer: str | None = None
    """The answer that the maker stated, kept apart from the steps; None for a plan."""
    oracle: bool = False
    """True where the maker saw the gold."""
    intervention: str = "correct"
    """Name in `interventions.INTERVENTIONS`; `correct` is the trace as its maker wrote it."""
    parent_id: str | None = None
    """trace_id of the trace that this one was made from."""
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
    """Kind of the step judged."""
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
    """Who speaks."""
    content: str
    """Text of the message."""


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
    """The problem attempted."""
    arm: str
    """The arm of the study."""
    student: str
    """Name of the student in the recipe."""
    text: str
    """The raw generation, special tokens removed."""
    finish: Literal["stop", "length", "error", "too-long", "no-plan"]
    """stop: ended by itself; length: cut off at max_tokens; too-long: the prompt exceeds the context window;
    no-plan: the arm shows a plan or forces a trace and there was none, so that nothing was asked."""
    tokens_in: int
    """Prompt tokens."""
    tokens_out: int
    """Generated tokens, the end token included."""
    seconds: float
    """The batch's wall seconds divided by its rows."""
    sample: int = 0
    """Index among several samples (and plans) of a problem."""
    seed: int = 0
    """Which of the adapter's seeds, from 0."""
    trace_id: str | None = None
    """The plan or trace shown in the prompt or prefilled, if any."""
    error: str = ""
    """Why a call to an endpoint brought no answer, in the server's words; empty for a refusal by the model."""

    @property
    def cut_off(self) -> bool:
        """Whether the generation ended at its token limit."""
        return self.finish == "length"


@dataclass(frozen=True, slots=True)
class Score:
    """An attempt judged: answer and trace apart."""

    attempt_id: str
    """The attempt judged."""
    problem_id: str
    """Its problem."""
    arm: str
    """Its arm."""
    answers: AnswerVerdicts
    """The readings of the answer."""
    trace: Verdict
    """Verdict on the student's own trace; outcome `none` if it wrote none."""
    cut_off: bool
    """Whether the generation was cut off."""
    answer_in_trace: bool | None = None
    """Whether the cited facts contain the gold answer verbatim (copying); None without a trace."""
    follows: bool | None = None
    """Whether the answer is the one a forced trace implies; None without one, or if that is undetermined."""
