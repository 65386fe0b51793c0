"""The train stage: try students on a made-up row and tune adapters, inside launched processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tracedistill.compute import choose_compute
from tracedistill.evaluation.scoring import score
from tracedistill.files import Records, read_json, write_json
from tracedistill.pipeline.sft_rows import context_file, heldout_file, rejected_file
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import LOCAL, OWN, judged, run_name
from tracedistill.records import Attempt, Example
from tracedistill.training.learning import LearningSpec

if TYPE_CHECKING:
    from tracedistill.training.methods.verdicts import TextJudge


@dataclass(frozen=True, slots=True)
class Kept:
    """The rows that the preflight keeps."""

    dropped: frozenset[str]
    """Ids of problems whose rows are left out of every arm."""

    def __call__(self, row: Example) -> bool:
        """Return whether a row is kept."""
        return row.problem_id not in self.dropped


def make_trial(work: StudyRun, student: str, learns: bool) -> None:
    """Try a student on a made-up row, and save the findings; runs inside the launched process."""
    from tracedistill.training.trial import try_student

    study, output = work.study, work.run.path(f"trials/{student}.json")
    training = study.training if learns else None
    config, place = study.students[student], output.with_name(f"{student}.partial")
    trial = try_student(student, config, training, study.format, place)
    if trial:
        write_json(output, trial)
        if trial["note"]:
            work.screen.say(f"  student {student}: batches of {trial['layout']}: {trial['note']}")


def make_adapter(work: StudyRun, name: str, seed: int) -> dict[str, Any]:
    """Tune an arm's adapter with its seed-th seed; runs inside the launched process."""
    from tracedistill.training.arm import train_arm
    from tracedistill.training.rounds import train_in_rounds

    study, arm = work.study, work.study.arms[name]
    student, run = study.student_of(arm), run_name(name, seed)
    preflight = read_json(work.run.path(f"sft/{student}.preflight.json"))
    kept = Kept(frozenset(preflight["dropped"]) | frozenset(preflight.get("dropped_validation", ())))
    rows = Records(work.run.path(f"sft/{name}.jsonl"), Example, kept)
    validation: Iterable[Example] = ()
    if study.training.eval_steps:
        validation = Records(work.run.path(heldout_file(name)), Example, kept)
        if not any(True for _ in validation):
            work.screen.say(f"  {run}: no validation rows, so nothing is evaluated during training")
    train = train_in_rounds if arm.method == "self-imitation" else train_arm
    template = train(
        name=run,
        rows=rows,
        student=study.students[student],
        training=study.training_of(name),
        seed=study.seed + seed,
        output=work.run.path(f"adapters/{run}"),
        tracking=study.tracking,
        run_name=f"{study.study}/{run}",
        format=study.format,
        rationale_weight=arm.rationale_weight,
        validation=validation,
        learning=learning_of(work, name, seed, kept),
        compute=choose_compute(LOCAL, study.cores),  # rendering takes minutes at most, even for a million rows
    )
    return {"template_hash": template, "adapter_seed": study.seed + seed}


def learning_of(work: StudyRun, name: str, seed: int, kept: Callable[[Example], bool]) -> LearningSpec:
    """Return how an arm learns, with what its method learns from besides the rows."""
    study, arm = work.study, work.study.arms[name]
    shown: tuple[Example, ...] = ()
    rejected: tuple[Example, ...] = ()
    if arm.context is not None:
        shown = tuple(Records(work.run.path(context_file(name)), Example, kept))
    if arm.rejected not in (None, OWN):
        rejected = tuple(Records(work.run.path(rejected_file(name)), Example, kept))
    attempted = study.training.eval_attempts
    return LearningSpec(
        arm,
        judge=judge_of(work, name) if judged(arm) or attempted else None,
        start=None if arm.from_ is None else work.run.path(f"adapters/{run_name(arm.from_, seed)}"),
        shown=shown,
        rejected=rejected,
        teacher=None if arm.teacher_model is None else study.students[arm.teacher_model],
        attempted=attempted,
    )


def judge_of(work: StudyRun, name: str) -> TextJudge:
    """Return evaluation's judges, for what a student writes during training."""
    from tracedistill.training.methods.verdicts import JudgedCompletion

    arm = work.study.arms[name]
    problems = {problem.problem_id: problem for problem in work.problems("train", "validation")}
    wanted = work.trace_wanted(arm)

    def judge(problem_ids: Sequence[str], texts: Sequence[str], ended: Sequence[bool]) -> list[JudgedCompletion]:
        verdicts = []
        for problem_id, text, whole in zip(problem_ids, texts, ended, strict=True):
            finish: Literal["stop", "length"] = "stop" if whole else "length"
            attempt = Attempt(problem_id, problem_id, name, "", text, finish, 0, 0, 0.0)
            result = score(work.task, problems[problem_id], attempt, trace_wanted=wanted)
            trace, answer = result.trace.outcome, result.answers.answer
            read = answer.outcome != "missing" and (not wanted or trace not in ("unparsed", "none"))
            verdicts.append(
                JudgedCompletion(
                    float(answer.ok),
                    None if trace == "not judged" else float(trace == "correct"),
                    float(read and whole),
                    bool(result.answer_in_trace),
                )
            )
        return verdicts

    return judge
