"""Estimate methods other than imitation: sampled completions, rows passed, tokens read by a frozen model."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tracedistill.engines.sizes import ModelSize
from tracedistill.forecast.estimates import (
    Device,
    Need,
    PromptLengths,
    RowLengths,
    evaluation_need,
    evaluations,
    training_need,
)
from tracedistill.recipes import Arm, StudentConfig, TrainingConfig, beta_of, draws

AT_ONCE = 64
"""Most completions generated together (`training.methods.writer`)."""


@dataclass(frozen=True, slots=True)
class RolloutForecast:
    """Completions sampled while one adapter is trained."""

    completions: int
    """Completions of the student."""
    tokens: int
    """Tokens of all of them: as long as the arm's rows if another arm has learnt them before, else `most`."""
    most: int
    """Tokens if each ran to its `max_tokens`."""


def rollouts_of(arm: Arm, rows: RowLengths, training: TrainingConfig) -> RolloutForecast:
    """Count the completions sampled for one adapter."""
    per_problem = {
        "grpo": training.optimizer_steps(rows.rows) * training.batch_size * arm.num_generations,
        "on-policy": training.optimizer_steps(rows.rows) * training.batch_size * arm.num_generations,
        "self-imitation": rows.rows * arm.num_generations * arm.rounds,
        "dpo": rows.rows * arm.num_generations if arm.rejected == "own" else 0,
    }
    count = per_problem.get(arm.method, 0)
    return RolloutForecast(count, round(count * _written(arm, rows)), count * arm.max_tokens)


def method_need(
    size: ModelSize,
    arm: Arm,
    rows: RowLengths,
    training: TrainingConfig,
    student: StudentConfig,
    device: Device,
    teacher: ModelSize | None = None,
) -> Need:
    """Estimate one adapter by a method other than imitation; `teacher`: the size of another teacher model.

    A context counts as long as the arm's own prompt: its addition is unknown before it is made.
    """
    drawn, prompt, written = rollouts_of(arm, rows, training), _prompt(rows), _written(arm, rows)
    needs = [_drawing(size, drawn.completions, prompt, written, arm, training, student, device)]
    passed = _passed(arm, rows, training, drawn, prompt, written)
    whole = replace(training, epochs=1.0, max_steps=-1, batch_size=max(1, passed.rows // _steps(arm, rows, training)))
    imitated = arm.method not in ("grpo", "on-policy", "dpo")  # as training.learning builds trainers
    needs.append(training_need(size, passed, whole, student, device, imitated=imitated))
    scored = _scored(arm, passed)
    reader = teacher or size
    reading = scored * 2.0 * reader.linear / device.rate("read")
    extra = 0.0 if teacher is None else (4 if student.dtype == "float32" else 2) * float(teacher.parameters)
    return Need(sum(need.seconds for need in needs) + reading, max(need.memory for need in needs) + extra)


def curve_need(
    size: ModelSize,
    arm: Arm,
    rows: RowLengths,
    training: TrainingConfig,
    student: StudentConfig,
    device: Device,
) -> float:
    """Return the seconds of the attempts at validation problems between steps."""
    if not training.eval_attempts:
        return 0.0
    points = evaluations(training.optimizer_steps(rows.rows), training) + 1
    count = points * training.eval_attempts
    return _drawing(size, count, _prompt(rows), _written(arm, rows), arm, training, student, device).seconds


def _steps(arm: Arm, rows: RowLengths, training: TrainingConfig) -> int:
    rounds = arm.rounds if arm.method == "self-imitation" else 1
    return max(1, training.optimizer_steps(rows.rows) * rounds * arm.num_iterations)


def _prompt(rows: RowLengths) -> float:
    return (rows.tokens - rows.supervised) / max(1, rows.rows)


def _written(arm: Arm, rows: RowLengths) -> float:
    """Return the tokens of a completion: as long as the arm's rows once a student has learnt them, else the most."""
    if draws(arm) and arm.from_ is None:
        return float(arm.max_tokens)
    return min(rows.supervised / max(1, rows.rows), float(arm.max_tokens))


def _drawing(
    size: ModelSize,
    count: int,
    prompt: float,
    written: float,
    arm: Arm,
    training: TrainingConfig,
    student: StudentConfig,
    device: Device,
) -> Need:
    if not count:
        return Need(0.0, 0.0)
    lengths = PromptLengths(count, round(count * prompt), round(prompt), written, arm.max_tokens)
    together = training.batch_size * arm.num_generations if arm.method in ("grpo", "on-policy") else AT_ONCE
    return evaluation_need(size, lengths, min(AT_ONCE, together), student, device, merged=False)


def _passed(
    arm: Arm, rows: RowLengths, training: TrainingConfig, drawn: RolloutForecast, prompt: float, written: float
) -> RowLengths:
    """Return the rows with a gradient, every pass counted as rows of its own."""
    if arm.method in ("grpo", "on-policy"):
        count = drawn.completions * arm.num_iterations
        length = prompt + written
        return RowLengths(count, round(count * length), round(count * written), rows.longest)
    copies = training.optimizer_steps(rows.rows) * training.batch_size / max(1, rows.rows)
    copies *= 2 if arm.method == "dpo" else arm.rounds
    return RowLengths(
        round(copies * rows.rows), round(copies * rows.tokens), round(copies * rows.supervised), rows.longest
    )


def _scored(arm: Arm, passed: RowLengths) -> int:
    """Return the tokens that a frozen model reads."""
    if arm.method in ("on-policy", "dpo") or (arm.method == "grpo" and beta_of(arm) > 0):
        return passed.tokens // arm.num_iterations
    return 0
