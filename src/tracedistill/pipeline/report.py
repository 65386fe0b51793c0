"""The report stage: write the report, and send it to the tracker."""

from __future__ import annotations

from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teach import Teachers
from tracedistill.report import write_report
from tracedistill.report.tracking import log_report
from tracedistill.training.tracking import check_tracker


def make_report(work: StudyRun) -> None:
    """Write the report, also to the recipe's tracker."""
    tracking = work.study.tracking
    if tracking != "none":
        check_tracker(tracking)
    problems = {problem.problem_id: problem for problem in work.problems("test")}
    report = write_report(work.study, work.task, work.run.folder, problems, Teachers(work).needed())
    if tracking != "none":
        log_report(report, work.study.study, tracking)
