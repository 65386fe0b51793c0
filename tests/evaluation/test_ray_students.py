"""A student on every machine of a cluster: the attempts of one machine, also when one of them is lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.compute.pretend_ray import PretendRay
from tests.evaluation.test_batches import asking, problems
from tracedistill.compute.cluster import RayCluster
from tracedistill.engines import Engine, Request
from tracedistill.engines.local import LocalEngine
from tracedistill.engines.ray_students import EngineJob, RayStudent
from tracedistill.errors import InputError
from tracedistill.evaluation.batches import ArmRun, attempt_batches, merged_attempts
from tracedistill.evaluation.requests import requests_for
from tracedistill.recipes import Arm
from tracedistill.records import Attempt


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("model"))


def on(ray: Any, model: Path, notes: list[str] | None = None) -> RayStudent:
    cluster = RayCluster()
    cluster._ray = ray
    job = EngineJob(str(model), "float32", "none", "plain", None, None)
    return RayStudent(cluster, job, ([] if notes is None else notes).append)


def a_run(folder: Path) -> ArmRun:
    asked = requests_for(
        asking(replace(Arm(), max_tokens=8), "Say it shortly. " * 9 + "{problem}"), problems(14), {}, {}
    )
    return ArmRun("arm", "arm", "student", asked, batch_size=3, folder=folder)


def attempts(engine: Engine, run: ArmRun) -> list[Attempt]:
    attempt_batches(engine, run)
    return [replace(attempt, seconds=0.0) for attempt in merged_attempts(engine, run)]


def test_attempts_are_those_of_one_machine(model: Path, tmp_path: Path) -> None:
    alone = LocalEngine.load(str(model), "float32")
    expected = attempts(alone, a_run(tmp_path / "alone"))
    ray = PretendRay(loses=lambda actor, call: actor == 1 and call == 2)
    spread = on(ray, model)
    assert attempts(spread, a_run(tmp_path / "spread")) == expected
    assert spread.describe() == alone.describe()
    assert len(ray.actors) == 3, "two, and one in the lost one's place"
    assert alone._shared, "the shared prefix is part of what has to be the same"


def test_an_interrupted_run_loads_one_engine_to_know_its_schedule_and_makes_the_rest(
    model: Path, tmp_path: Path
) -> None:
    run, ray = a_run(tmp_path), PretendRay()
    engine = on(ray, model)
    expected = attempts(engine, run)
    lines = run.partial().read_text().splitlines(keepends=True)
    run.partial().write_text("".join(lines[:3]))
    assert attempts(on(ray, model), run) == expected
    assert len(run.partial().read_text().splitlines()) == len(lines)


def test_machines_that_load_another_engine_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = on(PretendRay(), model)
    engine.describe()
    load = LocalEngine.load

    def other(*args: Any) -> LocalEngine:
        found = load(*args)
        found.description["device"] = "cuda"
        return found

    monkeypatch.setattr(LocalEngine, "load", other)
    with pytest.raises(InputError, match=r"load student .* differently: .*'cpu'.* and .*'cuda'.*same hardware"):
        attempts(engine, a_run(tmp_path))


def test_notes_on_the_engine_are_told_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    load = LocalEngine.load

    def noted(*args: Any) -> LocalEngine:
        found = load(*args)
        found.tried = replace(found.tried, note="padding changes its texts")
        return found

    monkeypatch.setattr(LocalEngine, "load", noted)
    attempts(on(PretendRay(), model, notes), a_run(tmp_path))
    assert notes == ["padding changes its texts"]


def test_a_missing_model_is_refused_as_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere"):
        on(PretendRay(), tmp_path / "nowhere").describe()


def test_a_single_batch(model: Path) -> None:
    requests: Sequence[Request] = a_run(Path()).prompts.requests[:2]
    found = {made.request_id: made.text for made in on(PretendRay(), model).generate(requests)}
    assert found == {made.request_id: made.text for made in LocalEngine.load(str(model), "float32").generate(requests)}
