"""Compare vLLM and transformers on the same prompts, in texts and verdicts changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracedistill.engines import Engine, Request, batches_of
from tracedistill.engines.vllm import lora_obstacle
from tracedistill.errors import InputError
from tracedistill.files import to_json, write_json
from tracedistill.pipeline.engines import arm_engine, local_engine
from tracedistill.pipeline.evaluate import Evaluation
from tracedistill.recipes import OWN, run_name

if TYPE_CHECKING:
    from tracedistill.pipeline.study_run import StudyRun

ENGINE_CHECK = "engine_check.json"
"""File of the run folder with the result, which the report shows."""


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """One arm run by vLLM and by transformers."""

    n: int
    """Prompts."""
    texts_changed: int
    """Rows whose text differs."""
    verdicts_changed: int
    """Of these, rows whose verdict differs."""
    example: tuple[str, str, str] | None = None
    """The first row whose text differs: its id, vLLM's text, transformers' text."""


def check_engines(work: StudyRun, evaluation: Evaluation, n: int) -> dict[str, EngineCheck]:
    """Run the first n test problems of every arm that vLLM serves through both engines; saved in the run folder.

    All arms are answered by vLLM first, from the cache if possible, then by transformers on this machine. Raises
    InputError if vLLM serves no arm.
    """
    study, problems = work.study, work.problems("test")[:n]
    names = [
        name for name, arm in study.arms.items()
        if study.student_config(arm).engine == "vllm" and arm.forced != OWN
    ]  # fmt: skip
    if not names:
        raise InputError("--check-engine: no student of this study has engine: vllm, so there is nothing to compare")
    requests = {name: evaluation.requests_of(name, problems).requests for name in names}
    size = study.evaluation.batch_size
    served = {name: _texts(arm_engine(work, name), requests[name], len(requests[name]) or 1) for name in names}
    work.serving.stop()
    checked = {}
    for name in names:
        student, adapter = study.student_of(name), study.adapter_of(name)
        folder = None if adapter is None else work.run.path(f"adapters/{run_name(adapter, 0)}")
        merge = folder is not None and study.training.method == "lora" and bool(lora_obstacle(folder))
        here = _texts(local_engine(work, student, folder, merge=merge), requests[name], size)
        judge = evaluation.judge(problems)
        changed = [key for key, text in here.items() if text != served[name][key]]
        flips = sum(judge(key, here[key]) != judge(key, served[name][key]) for key in changed)
        example = (changed[0], served[name][changed[0]], here[changed[0]]) if changed else None
        checked[name] = EngineCheck(len(here), len(changed), flips, example)
    write_json(work.run.path(ENGINE_CHECK), {"arms": to_json(checked, defaults=True)})
    return checked


def _texts(engine: Engine, requests: Sequence[Request], size: int) -> dict[str, str]:
    """Return request id -> generated text, prefill included."""
    prepare = getattr(engine, "prepare", None)
    if prepare is not None:
        prepare(requests)
    begun = {request.request_id: request.prefill for request in requests}
    batches = batches_of(requests, size)
    return {made.request_id: begun[made.request_id] + made.text for batch in batches for made in engine.generate(batch)}
