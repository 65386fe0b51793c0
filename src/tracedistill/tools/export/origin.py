"""Common parts of all cards: origin of the problems, authors of the traces, rejections and reasons, versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import ANSWER_TASK, RATIONALE_TASK
from tracedistill.files import read_json, read_lines, to_json
from tracedistill.interventions import NO_TRACE, find_intervention
from tracedistill.pipeline.graph import versions
from tracedistill.pipeline.teach import Teachers
from tracedistill.tools.export.card import counted, fenced, percent, table
from tracedistill.tools.export.licences import UNKNOWN, licence_of
from tracedistill.tools.open_study import OpenStudy, shown_model

PRIVATE = ("run_dir", "cache", "tracking", "base_url", "key_env", "data_dir", "extra", "accelerate_config",
           "cores", "compute")  # fmt: skip
"""Recipe keys private to this machine."""
KEPT = {
    "correct": "their steps are not wrong and their answer is right",
    "answer": "their answer is right, whatever their steps",
    "parsed": "their steps can be read, right or wrong",
    "all": "they exist (nothing is rejected)",
}
"""validation.keep -> traces are used if ..."""
KINDS = {
    "rules": "rules: the task's own decomposition, no model",
    "gold": "made out of the gold steps, without results",
    "recorded": "recorded: traces of a file",
    "model": "a model",
    "student": "a student of the study as its own teacher",
}


def made_with(opened: OpenStudy) -> dict[str, Any]:
    """Return the manifest's facts besides files: recipe, seeds, problems, versions; nothing about this machine."""
    study = opened.study
    return {
        "study": study.study,
        "seed": study.seed,
        "format": study.format,
        "recipe": _without_machine(opened.work.plain),
        "libraries": versions(),
    }


def _without_machine(value: Any, key: str = "") -> Any:
    """Strip addresses, keys and paths from a recipe; files and folders keep their last name."""
    if isinstance(value, Mapping):
        return {name: _without_machine(item, name) for name, item in value.items() if name not in PRIVATE}
    if isinstance(value, list):
        return [_without_machine(item) for item in value]
    if key in ("path", "model") and isinstance(value, str):
        return shown_model(value)
    return value


# ---- the problems


def source_facts(opened: OpenStudy) -> dict[str, Any]:
    """Collect the facts of the problems: origin, terms, numbers, dropped ones, golds that fail their own judge."""
    drawn = read_json(opened.folder / "problems.report.json")
    config = opened.study.task
    overlap = {name: {"found": part["found"], "of": part["n"]} for name, part in drawn["overlap"].items()}
    return {
        "task": config.name,
        "licence": to_json(licence_of(opened.work.task, config), defaults=True),
        "sizes": drawn["sizes"],
        "splits": {"train": config.train_split, "validation": config.validation_split, "test": config.test_split},
        "overlap": overlap,
        "dropped_from_train": len(drawn["dropped_from_train"]),
        "near": (drawn.get("near") or {}).get("train_problems"),
        "golds_failing": len(drawn["audit"]),
    }


def source_blocks(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield the card's paragraphs on the problems, their licence and overlaps."""
    licence, sizes = source["licence"], source["sizes"]
    name = "unknown: not stated" if licence["name"] == UNKNOWN else licence["name"]
    yield (
        f"Task `{source['task']}`. Problems: {licence['source']}. Licence of the source: **{name}**.\n"
        + f"{licence['terms']} As stated by its makers; this is not legal advice.".strip()
    )
    yield (
        f"Drawn: {sizes['train']} problems to train on, {sizes['validation']} to validate, {sizes['test']} to test. "
        f"Left out of training because they also occur in validation or test: {source['dropped_from_train']}."
    )
    if source["near"]:
        yield f"{counted(source['near'], 'training problem')} nearly equal a validation or test problem and stay in."
    if source["golds_failing"]:
        yield (
            f"{counted(source['golds_failing'], 'gold')} of all drawn problems do not pass their own judge or are "
            "listed by the audit for another reason."
        )


# ---- the teachers


def teachers_of(opened: OpenStudy, arm: str) -> list[str]:
    """Return the teachers of a tuned arm, each after those whose traces it works on.

    None for an arm trained on answers alone.
    """
    teachers: list[str] = []
    counts = read_json(opened.folder / "assembly.json")["arms"][arm].get("mix", {arm: 1})
    for lender in (name for name in opened.study.lenders_of(arm) if counts[name]):
        settings = opened.study.arms[lender]
        teacher = None if settings.tune in (None, NO_TRACE) else opened.study.teacher_of(settings)
        chain: list[str] = []
        while teacher is not None and teacher not in (*teachers, *chain):
            chain.insert(0, teacher)
            teacher = Teachers(opened.work).source_of(teacher)
        teachers += chain
    return teachers


def teacher_facts(opened: OpenStudy, name: str) -> dict[str, Any]:
    """Collect the facts of a teacher: kind, prompt, and the verdicts on its traces (all splits)."""
    config, folder = opened.study.teachers[name], opened.folder
    calls_model = config.kind in ("model", "student")
    file = folder / "traces" / f"{name}.failures.jsonl"
    failures = Counter(str(line["finish"]) for _, line in read_lines(file)) if file.exists() else Counter[str]()
    model = config.model if config.kind == "model" else None
    if config.kind == "student":
        model = opened.study.students[config.student or next(iter(opened.study.students))].model
    return {
        "name": name,
        "kind": config.kind,
        "model": None if model is None else shown_model(model),
        "file": Path(config.path).name if config.path else None,
        "prompt": config.prompt if calls_model else None,
        "prompt_text": Teachers(opened.work).text(name) if calls_model else None,
        "sampling": {key: getattr(config, key) for key in ("temperature", "top_p", "max_tokens", "samples")}
        if calls_model
        else None,
        "works_on": Teachers(opened.work).source_of(name),
        "failures": dict(sorted(failures.items())),
        "validation": read_json(folder / "validation" / f"{name}.report.json"),
    }


def teacher_blocks(opened: OpenStudy, facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the card's paragraphs on the authors of traces, their validation and rejections."""
    report, rule = facts["validation"], opened.study.validation
    named = f": {facts['model']}" if facts["model"] else ""
    file = f" ({facts['file']})" if facts["file"] else ""
    yield f"### Teacher `{facts['name']}`"
    lines = [f"Kind: {KINDS[facts['kind']]}{named}{file}."]
    if facts["kind"] == "model":
        lines.append("The terms of that model's provider apply to what it wrote.")
    if facts["works_on"]:
        lines.append(f"It works on the traces of `{facts['works_on']}`.")
    seen = f"yes, for {report['oracle']} of {counted(report['traces'], 'trace')}" if report["oracle"] else "no"
    yield "\n".join([*lines, f"Saw the gold: {seen}."])
    if facts["prompt_text"]:
        sampling = ", ".join(f"{key} {value}" for key, value in facts["sampling"].items())
        yield f"Called with the prompt `{facts['prompt']}` ({sampling}):"
        yield fenced(facts["prompt_text"])
    yield (
        f"Validated by the task's own rules, step by step against each problem's gold. Traces are used if "
        f"{KEPT[rule.keep]} (`validation.keep: {rule.keep}`)"
        f"{', and plans that give the solution away are dropped' if rule.leaks == 'drop' else ''}. "
        f"Accepted: {percent(report['accepted'], report['traces'])} of {counted(report['traces'], 'trace')} "
        f"on {counted(report['problems'], 'problem')} of all splits."
    )
    if report.get("judge"):
        yield f"A model judge (`{report['judge']['judge']}`) decided what the rules left undecided."
    rejected = [("no trace", why, n) for why, n in facts["failures"].items()]
    rejected += [("rejected", why, n) for why, n in report["reasons"].items()]
    yield table(("what", "why", "traces"), rejected) or "Nothing was rejected, and nothing failed."
    levels = [
        (kind, level, cell[0], cell[1])
        for kind, key in (("difficulty", "by_difficulty"), ("length", "by_length"))
        for level, cell in (report.get(key) or {}).items()
    ]
    if levels and report["accepted"] < report["traces"]:
        yield "Rejection can make a set easier or shorter; here:"
        yield table(("by", "level", "accepted", "judged"), levels)
    leaks = report.get("leaks")
    if leaks:
        yield (
            f"Plans that give the solution away: {leaks['genuine']['successes']} of {leaks['eligible']} "
            f"({leaks['matched']['successes']} by string matching alone)."
        )


# ---- changes to the traces


def arm_facts(opened: OpenStudy, name: str) -> dict[str, Any]:
    """Collect the facts of a tuned arm: student, teacher, intervention, counts of its traces."""
    arm, assembly = opened.study.arms[name], read_json(opened.folder / "assembly.json")
    change = find_intervention(arm.tune)
    student = opened.study.student_of(arm)
    return {
        "name": name,
        "student": student,
        "model": shown_model(opened.study.students[student].model),
        "teacher": None if arm.tune == NO_TRACE else opened.study.teacher_of(arm),
        "traces": arm.traces,
        "intervention": arm.tune,
        "mix": assembly["arms"][name].get("mix", {}),
        "keeps": [] if change is None else list(change.keeps),
        "changes": [] if change is None else list(change.changes),
        "note": "" if change is None else change.note,
        "assembly": assembly["arms"][name],
        "train_problems": assembly["train_problems"],
        "rationale_weight": arm.rationale_weight,
        "prompt": arm.prompt,
        "prompt_text": opened.work.prompt(arm),
    }


def arm_blocks(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the card's paragraphs on what an arm's rows teach and how its traces were changed."""
    counts, mix = facts["assembly"], facts["mix"]
    yield f"### Arm `{facts['name']}`"
    own = f"Rows of `{facts['name']}` itself: " if mix else ""
    if mix:
        shares = ", ".join(f"{count} of `{arm}`" for arm, count in mix.items())
        yield f"Rows of several arms, assigned to the problems by seed: {shares}."
    lines = []
    if facts["teacher"] is None:
        lines.append(f"{own}{'answers' if own else 'Answers'} alone; the completions contain no trace.")
    elif not mix or mix[facts["name"]]:
        edited = f" ({counts.get('edited', 0)} edited)" if not mix else ""
        person = f", as edited by a person{edited}" if facts["traces"] == "reviewed" else ""
        head = f"{own}traces" if own else "Traces"
        lines.append(f"{head} of teacher `{facts['teacher']}`{person}; intervention `{facts['intervention']}`.")
        if facts["changes"]:
            lines.append(f"Changed: {'; '.join(facts['changes'])}.")
        note = f" Note: {facts['note']}." if facts["note"] else ""
        lines.append(f"Kept: {', '.join(facts['keeps'])}.{note}")
    if counts["traces"]:
        lines.append(
            f"Of {'all ' if mix else ''}{counted(counts['traces'], 'trace')}{', from any arm' if mix else ''}: "
            f"{counts['judged_correct']} are right by the task's judge, {counts['holding_answer']} contain the gold "
            f"answer verbatim, {counts['oracle']} were made with the gold in view."
        )
    if counts["traces"] and facts["rationale_weight"] is not None:
        lines.append(
            f"Two rows per problem: the answer after the prefix `{ANSWER_TASK.strip()}`, the trace after the prefix "
            f"`{RATIONALE_TASK.strip()}`. In the study the traces' loss has the weight {facts['rationale_weight']} "
            "relative to the answers'; set the same weight to train on these rows."
        )
    lines += [f"Differs from its declaration: {sentence}." for sentence in counts.get("broken") or ()]
    yield "\n".join(lines)
