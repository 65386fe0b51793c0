"""The train stage: students tried on a made row, and adapters tuned; both run inside launched processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tracedistill.files import Records, read_json, write_json
from tracedistill.pipeline.assemble import heldout_file
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import run_name
from tracedistill.records import Example


def make_trial(work: StudyRun, student: str, learns: bool) -> None:
    """Try a student on a made row, and keep what was found; runs inside the launched process."""
    from tracedistill.training.trial import try_student

    study, output = work.study, work.run.path(f"trials/{student}.json")
    training = study.training if learns else None
    config, place = study.students[student], output.with_name(f"{student}.partial")
    found = try_student(student, config, training, study.format, place)
    if found:
        write_json(output, found)
        if found["note"]:
            work.screen.say(f"  student {student}: batches of {found['layout']}: {found['note']}")


def make_adapter(work: StudyRun, name: str, seed: int) -> dict[str, Any]:
    """Tune an arm's adapter with its seed-th seed; runs inside the launched process."""
    from tracedistill.training.arm import train_arm

    study = work.study
    student, run = study.student_of(study.arms[name]), run_name(name, seed)
    preflight = read_json(work.run.path(f"sft/{student}.preflight.json"))
    dropped = set(preflight["dropped"]) | set(preflight.get("dropped_validation", ()))

    def kept(row: Example) -> bool:
        return row.problem_id not in dropped

    rows = Records(work.run.path(f"sft/{name}.jsonl"), Example, kept)
    validation: Iterable[Example] = ()
    if study.training.eval_steps:
        validation = Records(work.run.path(heldout_file(name)), Example, kept)
        if not any(True for _ in validation):
            work.screen.say(f"  {run}: no validation rows, so nothing is evaluated during training")
    template = train_arm(
        name=run,
        rows=rows,
        student=study.students[student],
        training=study.training,
        seed=study.seed + seed,
        output=work.run.path(f"adapters/{run}"),
        tracking=study.tracking,
        run_name=f"{study.study}/{run}",
        style=study.format,
        rationale_weight=study.arms[name].rationale_weight,
        validation=validation,
    )
    return {"template_hash": template, "adapter_seed": study.seed + seed}
