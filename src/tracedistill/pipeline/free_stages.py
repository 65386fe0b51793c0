"""Stages that cost nothing, made before a forecast so that it counts what is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tracedistill.errors import InputError, Paused
from tracedistill.pipeline.graph import Node, upstream
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.terms import FREE_TEACHERS
from tracedistill.recipes import Study

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
        before = [other for other in upstream(nodes, [node]) if other.name != node.name]
        if any(work.run.state(other).kind != "complete" for other in before):
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
