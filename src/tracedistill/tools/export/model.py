"""Export an arm's adapter as a loadable folder with a card: merged into its base after a check, or separate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.engines import Request
from tracedistill.errors import InputError
from tracedistill.evaluation.requests import requests_for
from tracedistill.files import atomic, content_id, file_hash, read_json, to_json
from tracedistill.pipeline.evaluate import Evaluation
from tracedistill.recipes import method_settings, run_name
from tracedistill.recipes.reader import plain
from tracedistill.records import Problem
from tracedistill.report.reader import read_report
from tracedistill.tools.export.files import content_facts
from tracedistill.tools.export.folder import CARD, check_place, new_folder, seal
from tracedistill.tools.export.loader_rules import loader_notes
from tracedistill.tools.export.model_card import model_card
from tracedistill.tools.export.origin import arm_facts, made_with, source_facts, teacher_facts, teachers_of
from tracedistill.tools.export.weights import compare, texts_outside, write_adapter, write_merged, write_tuned
from tracedistill.tools.open_study import FULL, OpenStudy, shown_model

KIND = "model"
OUTSIDE = 4
"""Prompts run through transformers and PEFT without this program."""
SAMPLE = 100
"""Prompts of the check if the recipe names no number."""


@dataclass(frozen=True, slots=True)
class ExportChoice:
    """Options of an export."""

    arm: str
    seed: int = 0
    """Seed of the adapter."""
    merge: bool = False
    """Write one merged model instead of an adapter."""
    force: bool = False
    """Write it even if merging changes more verdicts than the recipe allows."""
    sample: int | None = None
    """Prompts of the check; None: as many as in the study's own."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A written model folder."""

    folder: Path
    what: str
    """merged, adapter, or full (all weights were tuned)."""
    parity: Mapping[str, Any] | None
    """What merging changes; None if nothing was merged."""


def export_model(opened: OpenStudy, choice: ExportChoice, out: Path) -> ModelFolder:
    """Write an arm's model or adapter with its card and manifest.

    A merged model is loaded again and checked against the separate adapter before it gets its name. Raises InputError
    for an arm without adapter, an adapter that cannot be merged, and a merged model that changes more verdicts than
    `evaluation.parity_limit` allows, unless forced; `out` is then unchanged.
    """
    study, name = opened.study, choice.arm
    tuned = opened.adapter(name, choice.seed)
    check_place(out, KIND)  # before minutes of work
    student = study.student_config(name)
    what = "full" if (tuned / FULL).is_file() else "merged" if choice.merge else "adapter"
    most = study.arms[name].max_tokens
    problems, requests = sample_of(opened, name, choice.sample)
    parity = None
    with new_folder(out, KIND) as place:
        if what == "merged":
            write_merged(student, study.format, tuned, place, most)
            parity = _checked(opened, choice, tuned, place, problems, requests)
        elif what == "full":
            write_tuned(student, study.format, tuned, place, most)
        else:
            write_adapter(student, study.format, tuned, place, most)
        facts = _facts(opened, choice, tuned, what, parity)
        facts["opened_outside"] = _opened_outside(opened, choice, tuned, what, place, requests[:OUTSIDE])
        facts["loaders"] = loader_notes(place) if what == "adapter" else {}
        with atomic(place / CARD) as stream:
            stream.write(model_card(opened, facts, requests[0] if requests else None))
        seal(place, KIND, {**made_with(opened), **facts})
    return ModelFolder(out, what, parity)


def sample_of(opened: OpenStudy, name: str, wanted: int | None) -> tuple[list[Problem], list[Request]]:
    """Build greedy requests for validation problems (training ones if there are none), as the tuned arm has them."""
    owner = opened.study.adapter_of(name)
    assert owner is not None, "an arm with an adapter"
    count = wanted or opened.study.evaluation.parity or SAMPLE
    problems = (opened.work.problems("validation") or opened.work.problems("train"))[:count]
    prompts = replace(Evaluation(opened.work).prompt_spec(owner), samples=1, temperature=0.0)
    return problems, requests_for(prompts, problems, {}, {}).requests


def _checked(
    opened: OpenStudy,
    choice: ExportChoice,
    tuned: Path,
    place: Path,
    problems: Sequence[Problem],
    requests: Sequence[Request],
) -> dict[str, Any]:
    """Measure what merging changes. Raises InputError if it is too much."""
    from tracedistill.engines.parity import allowed

    study, task = opened.study, opened.work.task
    student = study.student_config(choice.arm)
    by_id = {problem.problem_id: problem for problem in problems}

    def judge(request_id: str, text: str) -> str:
        return task.judge_answer(by_id[request_id.rpartition("/")[0]], text).answer.outcome

    result = compare(student, study.format, tuned, place, requests, judge, study.evaluation.batch_size)
    limit = study.evaluation.parity_limit
    good = allowed(result, limit)
    separate = "4-bit (nf4) weights" if student.quantization == "nf4" else f"{student.dtype} weights"
    measured = {key: value for key, value in to_json(result, defaults=True).items() if key != "seconds"}
    if not good and not choice.force:
        raise InputError(
            f"arm {choice.arm}: the merged model gives {result.verdicts_changed} of {result.n} answers another verdict "
            f"than the adapter on {separate} (allowed: a share of {limit}); {result.texts_changed} texts change, the "
            f"largest drift is {result.largest_logit_drift:.2g} nats; nothing was written. Export the adapter without "
            "--merge, or take it as it is with --force"
        )
    return {
        **measured,
        "limit": limit,
        "allowed": good,
        "forced": not good,
        "against": f"the separate adapter on {separate}",
        "prompts": {"role": problems[0].split, "ids": content_id([problem.problem_id for problem in problems])},
    }


def _opened_outside(
    opened: OpenStudy, choice: ExportChoice, tuned: Path, what: str, place: Path, requests: Sequence[Request]
) -> dict[str, Any]:
    """Count how many texts of transformers and PEFT alone equal those of the study's engine.

    Raises InputError if the folder cannot be opened by them.
    """
    from tracedistill.engines.local import LocalEngine

    study = opened.study
    student = study.student_config(choice.arm)
    if what == "adapter" and student.quantization != "none":
        return {"n": 0, "why": "its base is loaded in 4 bits, which must be set in the loading program"}
    greedy = [
        replace(request, sampling=replace(request.sampling, temperature=0.0))
        for request in requests
        if not request.prefill
    ]
    if not greedy:
        return {"n": 0}
    if what == "adapter":
        engine = LocalEngine.load(
            student.model,
            student.dtype,
            tuned,
            merge=False,
            format=study.format,
            revision=student.revision,
            chat_template=student.chat_template,
        )
    else:
        engine = LocalEngine.load(str(place), student.dtype, format=study.format)
    ours = [next(iter(engine.generate([request]))).text for request in greedy]
    del engine  # two models at once would double the memory
    texts = texts_outside(student, study.format, place, greedy, whole=what != "adapter")
    equal = sum(text == other for text, other in zip(texts, ours, strict=True))
    return {"n": len(greedy), "equal": equal, "dtype": student.dtype}


def _facts(
    opened: OpenStudy, choice: ExportChoice, tuned: Path, what: str, parity: Mapping[str, Any] | None
) -> dict[str, Any]:
    study = opened.study
    owner = study.adapter_of(choice.arm) or choice.arm
    student = study.student_config(owner)
    arm = arm_facts(opened, owner)
    training = plain(study.training_of(owner))
    return {
        "arm": arm,
        "adapters": study.training.seeds,
        "adapter_seed": study.seed + choice.seed,
        "adapter_sha256": file_hash(tuned),
        "weights": what,
        "max_tokens": study.arms[choice.arm].max_tokens,
        "base": {
            "model": shown_model(student.model),
            **content_facts(student),
            "dtype": student.dtype,
            "quantization": student.quantization,
            "system": student.system,
        },
        "training": {key: value for key, value in training.items() if key not in ("accelerate_config", "save_steps")},
        "method": method_settings(study.arms[owner]),
        "parity": parity,
        "scores": scores_of(opened, owner, choice.seed),
        "source": source_facts(opened),
        "teachers": {name: teacher_facts(opened, name) for name in teachers_of(opened, owner)},
    }


def scores_of(opened: OpenStudy, owner: str, seed: int) -> dict[str, Any] | None:
    """Return the report's scores of every arm if it is about this adapter, else None.

    Checked along the manifests: the report read these attempts, which were judged from these generations, which this
    adapter wrote.
    """
    run = run_name(owner, seed)
    chain = (
        ("report.json", f"attempts/{owner}.jsonl"),
        (f"attempts/{owner}.jsonl", f"generations/{run}.jsonl"),
        (f"generations/{run}.jsonl", f"adapters/{run}"),
    )
    folder = opened.folder
    for output, source in chain:
        manifest = folder / f"{output}.manifest.json"
        if not all(path.exists() for path in (manifest, folder / output, folder / source)):
            return None
        if read_json(manifest)["inputs"].get(source) != file_hash(folder / source):
            return None
    report = read_report(folder)
    engine = read_json(folder / f"generations/{run}.jsonl.manifest.json").get("engine", {})
    keys = ("name", "kind", "student", "n", "correct", "missing", "cut_off", "writes_traces", "judges_traces",
            "trace_correct")  # fmt: skip
    return {
        "test_problems": report.problems.test,
        "run_with": {key: engine.get(key) for key in ("adapter", "dtype", "quantization", "device")},
        "arms": [
            {
                **{key: getattr(arm, key) for key in keys},
                "interval": [arm.accuracy.raw.low, arm.accuracy.raw.high],
            }
            for arm in report.arms
        ],
        "findings": list(report.findings),
        "limits": list(report.limits),
    }
