"""What a forecast says: records, nothing counted here."""

from __future__ import annotations

from dataclasses import dataclass

from tracedistill.forecast.estimates import LAUNCH_SECONDS, Device, Need, PromptLengths, RowLengths
from tracedistill.forecast.methods import RolloutForecast
from tracedistill.recipes import Study


@dataclass(frozen=True, slots=True)
class TuningEstimate:
    """What one tuned arm would take."""

    arm: str
    """The arm."""
    student: str
    """Its student."""
    lengths: RowLengths | None
    """Its rows; None where their number is not known."""
    steps: int
    """Optimizer steps of one adapter; 0 where not known."""
    seeds: int
    """Adapters."""
    need: Need | None
    """Of one adapter; None where rows or the student's size are not known."""
    at_most: bool
    """Whether its lengths are the most that they can be."""
    heldout: RowLengths | None = None
    """Its validation rows, where the recipe has `training.eval_steps`; their passes are in `need`."""
    evaluations: int = 0
    """How often one adapter's loss on them is taken."""
    fits: int = 0
    """Tokens of the longest row that the device has memory for; 0 if that is not known."""
    rollouts: RolloutForecast | None = None
    """Completions that one adapter draws from its student; None where it draws none."""


@dataclass(frozen=True, slots=True)
class EvaluationEstimate:
    """What one arm's attempts would take."""

    arm: str
    """The arm."""
    student: str
    """Its student."""
    lengths: PromptLengths | None
    """What is asked, of all seeds together; None where the problems are not known."""
    need: Need | None
    """All of it; None for a student at an endpoint, and where a size is not known."""
    usd: float
    """What an endpoint would be paid at most."""
    at_most: bool
    """Whether nobody knows how long answers get: their time is a guess then, and their tokens are told at most."""


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
    """What one model teacher would take at most."""

    teacher: str
    """The teacher."""
    calls: int
    """Answers wanted."""
    tokens_in: int
    """Of all prompts, by their characters; traces that it works on at their longest."""
    tokens_out: int
    """If each answer ran to its `max_tokens`."""
    usd: float
    """By the recipe's prices."""


@dataclass(frozen=True, slots=True)
class StudyForecast:
    """What a study would take, as far as it can be known."""

    study: Study
    """The study, its students' dtypes settled for the device."""
    tunings: tuple[TuningEstimate, ...]
    """One per tuned arm, in the recipe's order."""
    askings: tuple[EvaluationEstimate, ...]
    """One per arm, and `(merging checks)` for each student."""
    quotes: tuple[TeacherQuote, ...]
    """One per model teacher whose traces are not there yet."""
    devices: tuple[Device, ...]
    """What the estimates are for."""
    assumptions: tuple[str, ...]
    """What they rest on."""
    unknown: tuple[str, ...]
    """What could not be counted, and why."""
    refused: tuple[str, ...]
    """What would stop the run."""
    trials: tuple[Trial, ...] = ()
    """One per student that is tried before a teacher's endpoint is called."""

    @property
    def trial_seconds(self) -> float:
        """Of all trials, in one launch."""
        found = sum(each.need.seconds for each in self.trials if each.need)
        return found + (LAUNCH_SECONDS if found else 0.0)

    @property
    def tuning_seconds(self) -> float:
        """Of all adapters, one after the other, in one launch."""
        seconds = sum(tuning.need.seconds * tuning.seeds for tuning in self.tunings if tuning.need)
        return seconds + (LAUNCH_SECONDS if seconds else 0.0)

    @property
    def asking_seconds(self) -> float:
        """Of all attempts, one arm after the other, in one process."""
        seconds = sum(estimate.need.seconds for estimate in self.askings if estimate.need)
        return seconds + (LAUNCH_SECONDS if seconds else 0.0)

    @property
    def memory(self) -> float:
        """The largest peak of any piece, in bytes."""
        needs = [each.need for each in self.trials] + [each.need for each in self.tunings]
        needs += [each.need for each in self.askings]
        return max((need.memory for need in needs if need), default=0.0)
