"""The preflight of a student's tuned arms: all rows checked, a few shown, unusable problems left out of every arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracedistill.compute import Part, PartOutput, lookup
from tracedistill.engines.sizes import size_of
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl, to_json, write_json
from tracedistill.pipeline.sft_rows import context_file, heldout_file
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import SCRIPTED, Arm, StudentConfig, draws
from tracedistill.records import Example, Problem
from tracedistill.tasks import get_task

if TYPE_CHECKING:
    from tracedistill.sft.preflight import Limits, Preflight

JUDGED = 200
"""First rows of each arm whose answer the task also judges."""


@dataclass(frozen=True, slots=True)
class PreflightJob:
    """The check of an arm's rows, for any process."""

    student: StudentConfig
    limits: Limits
    task: str
    problems: Path

    def open(self) -> Callable[[Part], PartOutput]:
        """Load tokenizer and judges."""
        from tracedistill.engines.tokenizers import tokenizer_of
        from tracedistill.sft.preflight import PreflightTally

        tokenizer = tokenizer_of(self.student)
        task, problems = get_task(self.task), lookup(self.problems, Problem)

        def judge(row: Example, text: str) -> str:
            """Return why the parsed answer is not judged like the bare answer; empty if it is."""
            problem = problems[row.problem_id]
            alone = task.judge_answer(problem, f"Answer: {row.answer}").answer
            whole = task.judge_answer(problem, text).answer
            if whole.outcome == alone.outcome:
                return ""
            return f"its answer alone is judged {alone.outcome}, but after its trace {whole.outcome} ({whole.reason})"

        def check(part: Part) -> PartOutput:
            tally = PreflightTally(self.limits)
            for number, row in enumerate(part.records(Example), start=part.first):
                tally.add(tokenizer, row, judge if number < JUDGED else None)
            return PartOutput((), tally.counts)

        return check


def make_preflight(work: StudyRun, student: str) -> None:
    """Write sft/<student>.preflight.json.

    Raises InputError if the student cannot be tuned on these rows, or an arm is too short for what it learns.
    """
    study, training = work.study, work.study.training
    if study.students[student].model.startswith(SCRIPTED):
        raise InputError(f"student {student}: a scripted student cannot be tuned")
    from tracedistill.chat.rendering import prompt_ids
    from tracedistill.engines.tokenizers import tokenizer_of
    from tracedistill.sft.preflight import Limits, PreflightTally, notes_on

    config = study.students[student]
    tokenizer = tokenizer_of(config)
    notes = notes_on(tokenizer, study.format)
    size = size_of(config.model)
    window = size.context if size is not None else None
    checked = {}
    for name in work.arms_of(student):
        arm = study.arms[name]
        limits = Limits(
            training.max_length, training.too_long, name, study.format, window, limits_of(work, name), drawn_by(arm)
        )
        tally = PreflightTally(limits)
        job = PreflightJob(config, limits, study.task.name, work.run.path("problems.jsonl"))
        with work.screen.bar(f"preflight of {name}") as update:
            work.sum_parts(job, [work.run.path(f"sft/{name}.jsonl")], name, take=tally.add_counts, progress=update)
        checked[name] = tally.report(notes)
        if arm.context is not None:
            for row in read_jsonl(work.run.path(context_file(name)), Example):
                shown = prompt_ids(tokenizer, row.prompt, format=study.format)
                limits.check_room(len(shown), f"arm {name}, {row.problem_id}, shown what {arm.context} shows")
    # a row that one arm cannot use is in none: arms share their rows
    long = sorted({problem_id for result in checked.values() for problem_id, _ in result.dropped})
    refused = {problem_id: why for result in checked.values() for problem_id, why in result.refused}
    for name, result in checked.items():
        work.screen.say(
            f"  preflight {name}: {result.rows} rows, {result.tokens} tokens, {result.supervised} supervised"
        )
        for prompt, supervised in result.shown:
            work.screen.say(f"    ...{prompt[-60:]!r} -> {supervised!r}")
    if long:
        work.screen.say(
            f"  {len(long)} rows over {training.max_length} tokens are left out of every arm: {', '.join(long[:5])}"
        )
    for problem_id, why in list(refused.items())[:5]:
        work.screen.say(f"  {problem_id} is left out of every arm: {why}")
    if len(refused) > 5:
        work.screen.say(f"  and {len(refused) - 5} more rows that cannot be learnt (see {student}.preflight.json)")
    _check_limits(work, checked)
    facts: dict[str, Any] = {"dropped": sorted({*long, *refused}), "arms": to_json(checked)}
    if training.eval_steps:
        facts["dropped_validation"] = _too_long(work, tokenizer, student)
    write_json(work.run.path(f"sft/{student}.preflight.json"), facts)


def drawn_by(arm: Arm) -> int:
    """Return the tokens that the student may generate per prompt while this arm is trained; 0 if none."""
    return arm.max_tokens if draws(arm) else 0


def limits_of(work: StudyRun, name: str) -> dict[str, int]:
    """Return the max_tokens of the arms that use a tuned arm's adapter and generate what it learnt."""
    study = work.study
    return {
        other: arm.max_tokens
        for other, arm in study.arms.items()
        if study.adapter_of(other) == name and arm.forced is None
    }


def _check_limits(work: StudyRun, checked: Mapping[str, Preflight]) -> None:
    """Report rows that are longer than an arm's max_tokens. Raises InputError if there are many."""
    from tracedistill.sft.preflight import SHORT_ROWS

    for result in checked.values():
        for name, limit, count in result.short:
            message = (
                f"{count} of {result.rows} rows have more supervised tokens than the arm may generate (max_tokens: "
                f"{limit}), so even a perfect student would be cut off; set base.max_tokens to {result.most}"
            )
            if count > SHORT_ROWS * result.rows and work.study.evaluation.cut_off == "refuse":
                raise InputError(
                    f"arm {name}: {message}, or evaluation.cut_off: allow to tune on them and count cut-off attempts"
                )
            work.screen.say(f"  {name}: {message}")


def _too_long(work: StudyRun, tokenizer: Any, student: str) -> list[str]:
    """Return the validation problems whose row exceeds max_length in one of a student's arms."""
    from tracedistill.chat.rendering import render_example

    return sorted(
        {
            row.problem_id
            for name in work.arms_of(student)
            for row in read_jsonl(work.run.path(heldout_file(name)), Example)
            if len(render_example(tokenizer, row, work.study.format).input_ids) > work.study.training.max_length
        }
    )
