"""Print the forecast: a table for training, one for evaluation, and the assumptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracedistill.forecast.estimates import GB
from tracedistill.forecast.records import EvaluationEstimate, StudyForecast, TuningEstimate
from tracedistill.output import narrow_table, wide_console

UNKNOWN = "?"


def print_forecast(forecast: StudyForecast, say: Callable[[str], object]) -> None:
    """Print a forecast: its tables, and its assumptions by `say`."""
    show = wide_console().print
    if forecast.quotes:
        heads = ("model teacher", "calls", "tokens in", "tokens out", "cost")
        quoted = [
            (
                estimate.teacher,
                f"{estimate.calls:,}",
                f"{estimate.tokens_in:,}",
                f"<={estimate.tokens_out:,}",
                f"<=${estimate.usd:.2f}",
            )
            for estimate in forecast.quotes
        ]
        show(narrow_table("teaching (upper bound; nothing was called)", heads, quoted))
    if forecast.tunings:
        tuned = ["tuned arm", "rows", "tokens", "supervised", "steps", "adapters", "memory", "time each"]
        rows = [_tuning(estimate) for estimate in forecast.tunings]
        if any(estimate.rollouts for estimate in forecast.tunings):
            tuned.append("drawn in it, tokens")
            rows = [(*row, _drawn(estimate)) for row, estimate in zip(rows, forecast.tunings, strict=True)]
        if any(estimate.evaluations for estimate in forecast.tunings):
            tuned.append("evaluations")
            rows = [(*row, _evaluations(estimate)) for row, estimate in zip(rows, forecast.tunings, strict=True)]
        show(narrow_table("tuning (estimate; nothing was tuned)", tuned, rows))
    columns = ("arm", "prompts", "tokens in", "tokens out", "memory", "time")
    evaluated = [_evaluation_row(estimate) for estimate in forecast.evaluations]
    show(narrow_table("evaluation (estimate; nothing was run)", columns, evaluated))
    if forecast.trials:
        say(_tried(forecast))
    total = forecast.trial_seconds + forecast.tuning_seconds + forecast.evaluation_seconds
    if total:
        parts = [f"trial {duration(forecast.trial_seconds)}"] if forecast.trial_seconds else []
        parts += [f"tuning {duration(forecast.tuning_seconds)}", f"evaluation {duration(forecast.evaluation_seconds)}"]
        say(f"total: {', '.join(parts)}, together {duration(total)}; peak memory {memory(forecast.memory)}")
    for student in dict.fromkeys(tuning.student for tuning in forecast.tunings if tuning.fits):
        say(_fitting(student, [tuning for tuning in forecast.tunings if tuning.student == student]))
    for device in forecast.devices:
        if device.memory and forecast.memory > device.memory:
            say(
                f"note: {device.name} has {memory(device.memory)}. To use less memory, raise "
                "training.gradient_accumulation, "
                "training.activation_checkpointing, quantization: nf4, or a smaller evaluation.batch_size"
            )
    _list(say, "the estimates are based on:", forecast.assumptions)
    _list(say, "unknown or left out:", forecast.unknown)
    _list(say, "the run would stop:", forecast.refused)


def _list(say: Callable[[str], object], head: str, lines: Sequence[str]) -> None:
    if lines:
        say(head)
    for line in lines:
        say(f"  {line}")


def _tuning(tuning: TuningEstimate) -> tuple[str, ...]:
    lengths, most = tuning.lengths, "<=" if tuning.at_most else ""
    if lengths is None:
        return (tuning.arm, *[UNKNOWN] * 4, str(tuning.seeds), UNKNOWN, UNKNOWN)
    need = tuning.need
    return (
        tuning.arm,
        f"{most}{lengths.rows:,}",
        f"{most}{lengths.tokens:,}",
        f"{most}{lengths.supervised:,}",
        f"{most}{tuning.steps:,}",
        str(tuning.seeds),
        UNKNOWN if need is None else memory(need.memory),
        UNKNOWN if need is None else most + duration(need.seconds),
    )


def _tried(forecast: StudyForecast) -> str:
    """Say what the students' trial before a teacher is called would take."""
    names = ", ".join(trial.student for trial in forecast.trials)
    what = "one training step and two answers" if any(trial.tuned for trial in forecast.trials) else "two answers"
    known = all(trial.need is not None for trial in forecast.trials)
    took = f"about {duration(forecast.trial_seconds)}" if known else UNKNOWN
    return f"before a teacher is called, students are tried on a made row ({what} of {names}): {took}"


def _fitting(student: str, tunings: Sequence[TuningEstimate]) -> str:
    """Describe how long a student's rows may be, and how long they are."""
    longest = max(tuning.lengths.longest if tuning.lengths else 0 for tuning in tunings)
    most = "at most " if any(tuning.at_most for tuning in tunings) else ""
    there = f"; the longest row has {most}{longest:,}" if longest else ""
    fits = min(tuning.fits for tuning in tunings)
    return f"student {student}: with these settings, rows of up to {fits:,} tokens fit into memory{there}"


def _evaluations(tuning: TuningEstimate) -> str:
    """Describe how often evaluation runs, and on how many validation rows."""
    if tuning.heldout is None:
        return UNKNOWN
    return f"{'<=' if tuning.at_most else ''}{tuning.evaluations:,} on {tuning.heldout.rows:,} rows"


def _drawn(tuning: TuningEstimate) -> str:
    """Format the most tokens that one adapter samples."""
    if tuning.rollouts is None:
        return "-"
    if tuning.rollouts.tokens == tuning.rollouts.most:
        return f"<={tuning.rollouts.most:,}"
    return f"{tuning.rollouts.tokens:,} to {tuning.rollouts.most:,}"


def _evaluation_row(evaluation: EvaluationEstimate) -> tuple[str, ...]:
    lengths, most = evaluation.lengths, "<=" if evaluation.at_most else ""
    if lengths is None:
        return (evaluation.arm, *[UNKNOWN] * 5)
    cost = (UNKNOWN, UNKNOWN)
    if evaluation.need is not None:
        cost = (memory(evaluation.need.memory), duration(evaluation.need.seconds))
    elif evaluation.usd:
        cost = ("-", f"at most ${evaluation.usd:.2f}")
    written = round(lengths.requests * (lengths.most if evaluation.at_most else lengths.written))
    return (evaluation.arm, f"{lengths.requests:,}", f"{lengths.tokens:,}", f"{most}{written:,}", *cost)


def duration(seconds: float) -> str:
    """Format seconds as `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def memory(size: float) -> str:
    """Format bytes in GB."""
    return f"{size / GB:.1f} GB"
