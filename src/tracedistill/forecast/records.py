"""Records of a forecast."""

from __future__ import annotations

from dataclasses import dataclass

from tracedistill.forecast.estimates import LAUNCH_SECONDS, Device, Need, PromptLengths, RowLengths
from tracedistill.forecast.methods import RolloutForecast
from tracedistill.recipes import Study


@dataclass(frozen=True, slots=True)
class TuningEstimate:
    """Estimate of one tuned arm."""

    arm: str
    """Arm name."""
    student: str
    """Its student."""
    lengths: RowLengths | None
    """Its row lengths; None if their number is unknown."""
    steps: int
    """Optimizer steps of one adapter; 0 if unknown."""
    seeds: int
    """Number of adapters."""
    need: Need | None
    """Need of one adapter; None if rows or the student's size are unknown."""
    at_most: bool
    """Whether its lengths are upper bounds."""
    heldout: RowLengths | None = None
    """Its validation rows, if the recipe has `training.eval_steps`; their passes are in `need`."""
    evaluations: int = 0
    """Number of loss evaluations of one adapter."""
    fits: int = 0
    """Longest row in tokens that the device has memory for; 0 if unknown."""
    rollouts: RolloutForecast | None = None
    """Completions sampled for one adapter; None if it samples none."""


@dataclass(frozen=True, slots=True)
class EvaluationEstimate:
    """Estimate of one arm's attempts."""

    arm: str
    """Arm name."""
    student: str
    """Its student."""
    lengths: PromptLengths | None
    """Its prompts, over all seeds; None if the problems are unknown."""
    need: Need | None
    """Total need; None for a student at an endpoint, and if a size is unknown."""
    usd: float
    """Maximum cost of an endpoint."""
    at_most: bool
    """Whether the length of answers is unknown: their time is then a guess, and their tokens an upper bound."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What it would take to try one student on a made row, before a teacher is paid."""

    student: str
    """The student."""
    tuned: bool
    """Whether it is tuned for one step; else it is only asked."""
    need: Need | None
    """All of it; None where the student's size is not known."""


@dataclass(frozen=True, slots=True)
class TeacherQuote:
    """Upper bounds of one model teacher."""

    teacher: str
    """Teacher name."""
    calls: int
    """Answers requested."""
    tokens_in: int
    """Tokens of all prompts, from their characters; traces that it works on at their longest."""
    tokens_out: int
    """Tokens if each answer ran to its `max_tokens`."""
    usd: float
    """US dollars at the recipe's prices."""


@dataclass(frozen=True, slots=True)
class StudyForecast:
    """Estimates of a study, as far as known."""

    study: Study
    """The study, with its students' dtypes fixed for the device."""
    tunings: tuple[TuningEstimate, ...]
    """One per tuned arm, in the recipe's order."""
    evaluations: tuple[EvaluationEstimate, ...]
    """One per arm, and `(merging checks)` for each student."""
    quotes: tuple[TeacherQuote, ...]
    """One per model teacher whose traces are missing."""
    devices: tuple[Device, ...]
    """Devices of the estimates."""
    assumptions: tuple[str, ...]
    """Assumptions of the estimates."""
    unknown: tuple[str, ...]
    """What could not be counted, and why."""
    refused: tuple[str, ...]
    """Errors that would stop the run."""
    trials: tuple[Trial, ...] = ()
    """One per student that is tried before a teacher's endpoint is called."""

    @property
    def trial_seconds(self) -> float:
        """Seconds of all trials, in one launch."""
        seconds = sum(trial.need.seconds for trial in self.trials if trial.need)
        return seconds + (LAUNCH_SECONDS if seconds else 0.0)

    @property
    def tuning_seconds(self) -> float:
        """Seconds of all adapters, one after the other, in one launch."""
        seconds = sum(tuning.need.seconds * tuning.seeds for tuning in self.tunings if tuning.need)
        return seconds + (LAUNCH_SECONDS if seconds else 0.0)

    @property
    def evaluation_seconds(self) -> float:
        """Seconds of all attempts, one arm after the other, in one process."""
        seconds = sum(estimate.need.seconds for estimate in self.evaluations if estimate.need)
        return seconds + (LAUNCH_SECONDS if seconds else 0.0)

    @property
    def memory(self) -> float:
        """Largest peak of any node, in bytes."""
        needs = [trial.need for trial in self.trials] + [tuning.need for tuning in self.tunings]
        needs += [estimate.need for estimate in self.evaluations]
        return max((need.memory for need in needs if need), default=0.0)
