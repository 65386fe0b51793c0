"""Engines for models that a local vLLM server runs.

A student's server has its adapters as LoRA modules. An adapter that vLLM cannot serve is first merged into the weights,
if the parity check allowed that, and gets its own server; so does a fully tuned student.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

from tracedistill.engines.budget import Prices
from tracedistill.engines.calls import Pacing
from tracedistill.engines.dtypes import settled
from tracedistill.engines.replies import Dialect
from tracedistill.engines.server import ServerConfig
from tracedistill.engines.tokenizers import end_ids_of, tokenizer_of, window_of
from tracedistill.engines.vllm import ServedModel, VllmSettings, lora_obstacle, output_flags
from tracedistill.engines.vllm_engines import NOT_STARTED, TokenRendering, VllmChatEngine, VllmTokenEngine
from tracedistill.engines.weights import student_folder
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import StudentConfig, TeacherConfig, run_name


def student_engine(work: StudyRun, student: str, run: str | None = None) -> VllmTokenEngine:
    """Return the engine of a student that vLLM serves, with or without the adapter of a run."""
    config = settled(work.study.students[student])
    tokenizer, model = tokenizer_of(config), str(student_folder(config.model, config.revision))
    settings = VllmSettings(model, config.dtype, config.revision, command=config.vllm_command, args=config.vllm_args)
    name, merged = model, False
    adapter = None if run is None else work.run.path(f"adapters/{run}")
    whole = adapter is not None and work.study.training.method == "full"
    if run is not None and adapter is not None and not whole:
        merged = bool(lora_obstacle(adapter))
        name = run
    if whole or merged:
        name = str((work.run.path(f"merged/{run}") if merged else adapter or Path()).resolve())

    def settings_now() -> VllmSettings:
        if whole or merged:
            return replace(settings, model=name, revision=None, args=("--tokenizer", model, *settings.args))
        return replace(settings, adapters=_adapters(work, student))

    def prepare() -> Path | None:
        return _merge(work, config, run, Path(name)) if merged and run is not None else None

    served = ServedModel(student, work.serving, settings_now, prepare)
    identity = {
        "engine": "vllm",
        "model": config.model,
        "revision": config.revision,
        "content": _content(work, student),
        "dtype": config.dtype,
        "adapter": None if adapter is None else work.run.hash_of(f"adapters/{run}"),
        "merged": merged,
        "format": work.study.format,
        "chat_template": config.chat_template and hashlib.sha256(config.chat_template.encode()).hexdigest()[:16],
        "args": output_flags(config.vllm_args),
    }
    pacing = Pacing(concurrency=config.concurrency, start=config.concurrency)
    prices = Prices(config.usd_per_million_in, config.usd_per_million_out)
    server = ServerConfig(NOT_STARTED, name, "", config.timeout, pacing, prices)
    window = window_of(config.model, config.revision)
    ends = end_ids_of(config.model, config.revision, tokenizer)
    alone = f"{run} has weights of its own, which only `tracedistill evaluate` serves" if whole or merged else ""
    return VllmTokenEngine(
        server, served, TokenRendering(tokenizer, tuple(ends), work.study.format, window, alone), identity
    )


def teacher_engine(work: StudyRun, teacher: str, config: TeacherConfig) -> VllmChatEngine:
    """Return the engine of a teacher or judge that vLLM serves, with its own chat template like at any endpoint."""
    model = str(student_folder(config.model or ""))
    settings = VllmSettings(model, "auto", command=config.vllm_command, args=config.vllm_args)
    pacing = Pacing(config.concurrency, config.concurrency, config.requests_per_minute, config.tokens_per_minute)
    prices = Prices(config.usd_per_million_in, config.usd_per_million_out, config.usd_per_million_in_cached)
    dialect = Dialect(config.max_tokens_field, tuple(config.omit), config.structured)
    endpoint = " ".join(["vllm", config.model or "", *output_flags(config.vllm_args)])
    server = ServerConfig(
        NOT_STARTED, model, "", config.timeout, pacing, prices, dialect, dict(config.extra), endpoint=endpoint
    )
    return VllmChatEngine(server, ServedModel(teacher, work.serving, lambda: settings))


def _adapters(work: StudyRun, student: str) -> dict[str, Path]:
    """Return a student's existing LoRA adapters that vLLM can serve, by run."""
    adapters = {}
    for name in work.arms_of(student) if work.study.training.method == "lora" else ():
        for seed in range(work.study.training.seeds):
            run = run_name(name, seed)
            adapter = work.run.path(f"adapters/{run}").resolve()
            if work.run.path(f"adapters/{run}.manifest.json").exists() and not lora_obstacle(adapter):
                adapters[run] = adapter
    return adapters


def _merge(work: StudyRun, student: StudentConfig, run: str, place: Path) -> Path:
    """Write base and adapter as one model. Raises InputError if the parity check did not allow it."""
    adapter = work.run.path(f"adapters/{run}")
    obstacle, parity = lora_obstacle(adapter), read_json(work.run.path(f"adapters/{run}.parity.json"))
    if not parity["merged"]:
        changed = f"changes {parity.get('verdicts_changed')} of {parity['n']} verdicts on validation problems"
        why = parity.get("why") or f"{changed}, more than evaluation.parity_limit allows"
        raise InputError(
            f"{run}: vLLM does not serve its adapter ({obstacle}), and it cannot be merged: {why}. Set engine: "
            "transformers for this student"
        )
    from tracedistill.engines.adapters import write_merged

    work.screen.say(f"  {run}: {obstacle} by vLLM, so it is merged into the weights")
    shutil.rmtree(place, ignore_errors=True)
    write_merged(student, adapter, place)
    return place


def _content(work: StudyRun, student: str) -> str | None:
    """Return the hash of a student's local folder, since its name says nothing of its content."""
    if not Path(work.study.students[student].model).expanduser().is_dir():
        return None
    (content,) = work.content_of(student).values() or ({},)
    return str(content.get("sha256")) if content else None
