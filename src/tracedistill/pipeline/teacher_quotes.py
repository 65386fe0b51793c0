"""Upper bound on calls, tokens and cost of each model teacher. Needs no API key and no upstream traces."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator

from tracedistill.chat.prompts import fill
from tracedistill.forecast.records import TeacherQuote
from tracedistill.forecast.tokens import PER_TOKEN, byte_length
from tracedistill.pipeline.paid_calls import cost_of
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teach import Teachers
from tracedistill.recipes import SCRIPTED


def quotes(work: StudyRun, complete: Collection[str]) -> Iterator[TeacherQuote]:
    """Yield a quote for each model teacher without traces, sources first; cached answers count as free.

    `complete`: names of the complete nodes. If the problems are missing, the recipe's sizes count, or 0 if it gives
    none.
    """
    for teacher in Teachers(work).needed():
        config = work.study.teachers[teacher]
        if config.kind not in ("model", "student") or f"teach:{teacher}" in complete:
            continue
        source = Teachers(work).source_of(teacher)
        below = 0 if source is None else work.study.teachers[source].max_tokens
        roles = Teachers(work).roles(teacher)
        text = Teachers(work).text(teacher)
        if "problems" in complete:
            problems = work.problems(*roles)
            count = len(problems)
            characters = sum(
                byte_length(
                    fill(
                        text,
                        problem=work.task.render_problem(problem),
                        hint=work.task.answer_hint,
                        answer=work.task.render_answer(problem),
                        trace="",
                    )
                )
                for problem in problems
            )
        else:
            sizes = {"train": work.study.task.train, "test": work.study.task.test, "validation": 0}
            count = sum(sizes[role] or 0 for role in roles)
            characters = 0
        calls = count * config.samples
        tokens_in = round(config.samples * characters / PER_TOKEN) + calls * below
        tokens_out = calls * config.max_tokens
        usd = cost_of(config, tokens_in, tokens_out)
        yield TeacherQuote(teacher, calls, tokens_in, tokens_out, usd)


def why_not_shown(work: StudyRun) -> list[str]:
    """Return why first prompts and cached shares cannot be shown: weights to load, or unset keys."""
    study, reasons = work.study, []
    for name in Teachers(work).needed():
        config = study.teachers[name]
        if config.kind not in ("model", "student"):
            continue
        model, far, key = config.model or "", config.base_url, config.key_env
        if config.kind == "student":
            student = study.students[config.student or next(iter(study.students))]
            model, far, key = student.model, student.base_url, student.key_env
        if far is None and not model.startswith(SCRIPTED):
            reasons.append(f"{name} would have to be loaded on this machine first")
        if far is not None and key and not os.environ.get(key, "").strip():
            # not named here: the variable's name may be the key itself
            reasons.append(f"teachers.{name}.key_env names no environment variable that is set")
    return [f"unknown: first prompts, and which answers are cached already: {why}" for why in reasons]
