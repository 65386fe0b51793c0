"""One arm of a study, and the runs that it has."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from tracedistill.recipes.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    PositiveShare,
)

OWN = "own"
"""The value of `forced` and `rejected` that uses what the student itself writes."""


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
    rationale_weight: PositiveFloat | None = None
    """tune: train answer and trace as two targets, each with its own prefix (Distilling step-by-step, arXiv
    2305.02301); weight of the trace's loss. The student is evaluated on the answer alone. None: one target, the trace
    before the answer."""
    mix: dict[str, PositiveShare] = field(default_factory=dict)
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
    trace_weight: NonNegativeFloat = 1.0
    """grpo with reward both: weight of the trace's verdict; the answer's is 1."""
    format_weight: NonNegativeFloat = 0.0
    """grpo: reward for a completion whose answer is found and whose trace, if expected, can be parsed."""
    num_generations: PositiveInt = 8
    """Completions sampled per problem and step (grpo, on-policy), per problem and round (self-imitation), or per
    problem in search of a failed one (dpo, `rejected: own`)."""
    rollout_temperature: PositiveFloat = 1.0
    """Temperature of these draws, and of the distributions that on-policy compares."""
    beta: NonNegativeFloat | None = None
    """grpo: weight of the divergence from the start (default 0); dpo: cost of leaving the start (default 0.1);
    on-policy: 0 forward, 1 reverse divergence, Jensen-Shannon between them (default 1)."""
    epsilon: PositiveFloat = 0.2
    """grpo: clipping range of the probability ratio; only matters if num_iterations is above 1."""
    num_iterations: PositiveInt = 1
    """grpo: updates per set of completions."""
    rejected: str | None = field(default=None, metadata={"names": "rejected"})
    """dpo: the intervention that makes the rejected completion, or `own`: a completion of the student's own that the
    judges do not accept, of similar length."""
    rounds: PositiveInt = 1
    """self-imitation: number of rounds of drawing, selecting and training; each round draws from the last one's
    adapter."""
    learning_rate: PositiveFloat | None = None
    """tune: this arm's value instead of `training.learning_rate`; methods need rates of different sizes."""
    epochs: PositiveFloat | None = None
    """tune: this arm's value instead of `training.epochs`."""
    max_steps: PositiveInt | None = None
    """tune: this arm's value instead of `training.max_steps`."""
    served: str | None = None
    """Name under which the student's endpoint serves an adapter that was tuned elsewhere."""
    prompt: str = field(default="standard", metadata={"names": "prompts"})
    """Name of the student's prompt."""
    plan: str = field(default="correct", metadata={"names": "interventions"})
    """trace-of-thought: the intervention on the plan shown."""
    plan_sample: NonNegativeInt = 0
    """trace-of-thought: index of the teacher's sample that is shown, from 0."""
    plans: PositiveInt = 1
    """trace-of-thought: plans per problem, from plan_sample on, each with its own attempts."""
    forced: str | None = field(default=None, metadata={"names": "forced"})
    """The intervention on a trace with which the student is prefilled; the student adds the answer. `own`: the trace
    that it wrote itself in the same arm without `forced`."""
    vote: bool = False
    """Whether comparisons use the most frequent answer among an arm's attempts at a problem."""
    samples: PositiveInt | None = None
    """Attempts per problem (and plan); none: as in `evaluation`."""
    temperature: NonNegativeFloat | None = None
    """Sampling temperature; 0: greedy; none: as in `evaluation`."""
    shots: NonNegativeInt = 3
    """few-shot: number of solved training problems shown."""
    shots_with_traces: bool = False
    """few-shot: whether they show the trace before the answer."""
    max_tokens: PositiveInt = 128
    """Maximum number of generated tokens; attempts that reach it are flagged as cut off."""


def run_name(arm: str, seed: int) -> str:
    """Return the name of an arm's run with its adapter's seed-th seed."""
    return arm if seed == 0 else f"{arm}.seed{seed}"


def arm_of_run(run: str) -> str:
    """Return the arm of a run; arm names cannot end like a `run_name` (see `names.DERIVED`)."""
    arm, _, number = run.rpartition(".seed")
    return arm if arm and number.isdecimal() else run


TUNING = (
    "method", "from_", "context", "teacher_model", "reward", "trace_weight", "format_weight", "num_generations",
    "rollout_temperature", "beta", "epsilon", "num_iterations", "rejected", "rounds", "learning_rate", "epochs",
    "max_steps",
)  # fmt: skip
"""Fields of an arm that configure its training: attempts depend on them only through the adapter."""


def as_evaluated(arm: Arm) -> Arm:
    """Return the arm without its training settings and forced trace: only how it is prompted."""
    unset: dict[str, Any] = {item.name: item.default for item in fields(Arm) if item.name in TUNING}
    return replace(arm, forced=None, tune=None, adapter=None, mix={}, **unset)
