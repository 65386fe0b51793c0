"""Make stages that cost nothing before a forecast, so that it counts real data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracedistill.errors import InputError, Paused
from tracedistill.pipeline.graph import Node, needed_by
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import FREE_TEACHERS, Study

Make = Callable[[StudyRun, Sequence[Node]], list[str]]
"""Makes nodes."""


def make_free(work: StudyRun, nodes: Sequence[Node], make: Make) -> tuple[list[str], list[str]]:
    """Make what is free (problems, rules', gold and recorded traces, verdicts, datasets).

    What depends on a model's traces is made only if these are complete. Returns errors that would stop a run, and what
    it would wait for.
    """
    failed: list[str] = []
    paused: list[str] = []
    for node in nodes:
        if not _is_free(work.study, node):
            continue
        if work.run.incomplete(needed_by(nodes, [node])):
            continue
        try:
            make(work, [node])
        except InputError as error:
            failed.append(f"{node.name}: {error}")
        except Paused as pause:
            paused.append(f"{node.name}: {pause}")
    return failed, paused


def _is_free(study: Study, node: Node) -> bool:
    if node.kind == "teach":
        return study.teachers[node.of].kind in FREE_TEACHERS
    if node.kind == "validate":
        return study.validation.judge == "none"
    return node.kind in ("problems", "review", "assemble")
