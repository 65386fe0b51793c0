"""The review stage: read reviewers' results from the store, and pause until they are complete."""

from __future__ import annotations

from tracedistill.errors import Paused
from tracedistill.files import read_jsonl, write_jsonl
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.review.outcomes import ReviewOutcome, remaining, reviewed_of

REVIEW_STORE = "review/review.sqlite"
"""The review's store below the run folder."""


def make_reviewed(work: StudyRun, teacher: str) -> None:
    """Write reviewed/<teacher>.jsonl: a line per reviewed trace.

    Raises Paused if the recipe requires a review and traces of its sample are still open.
    """
    store, config = work.run.path(REVIEW_STORE), work.study.review
    if config.required and (not config.teachers or teacher in config.teachers):
        left = remaining(store, teacher, config.sample, work.study.seed)
        if left:
            traces = "trace" if left == 1 else "traces"
            known = f"{left} {traces} of {teacher}" if store.exists() else f"the traces of {teacher}"
            raise Paused(
                f"{known} need review by a person (review.required in the recipe).\n"
                f"  next: tracedistill review {work.recipe}\n"
                "  then run the same command again to continue"
            )
    done = [trace for trace in reviewed_of(store, teacher) if trace.status != "open"]
    write_jsonl(work.run.path(f"reviewed/{teacher}.jsonl"), done)


def reviewed_traces(work: StudyRun, teacher: str) -> dict[str, ReviewOutcome]:
    """Return trace id -> review outcome; unreviewed traces are not included."""
    lines = read_jsonl(work.run.path(f"reviewed/{teacher}.jsonl"), ReviewOutcome)
    return {trace.trace_id: trace for trace in lines}
