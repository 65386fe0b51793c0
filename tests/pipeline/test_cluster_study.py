"""A study on a cluster has the files of one machine: teach, evaluate and all between, on a pretended Ray.

tests/pipeline/test_ray.py does the same on a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tests.compute.pretend_ray import PretendRay
from tests.engines.server_kit import running
from tests.fault_server import Behaviour
from tests.pipeline.test_ray import texts
from tracedistill import pipeline
from tracedistill.compute import cluster as cluster_module
from tracedistill.errors import InputError
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

FEW_SHOT = {"prompt": "few-shot", "shots": 2}
FILES = (
    "traces/planner.jsonl",
    "validation/planner.jsonl",
    "attempts/few-shot.jsonl",
    "attempts/trace-of-thought.jsonl",
)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> PretendRay:
    """A cluster of two machines, the second of which is lost early in every stage."""
    found = PretendRay(loses=lambda actor, call: actor % 2 == 1 and call == 2)
    monkeypatch.setattr(cluster_module, "_connected", lambda address: found)
    return found


def study(tmp_path: Path, where: str, url: str, **changes: Any) -> pipeline.LoadedStudy:
    name = where.partition(":")[0]
    recipe = {
        "study": "spread",
        "run_dir": str(tmp_path / name),
        "cache": str(tmp_path / f"{name}.sqlite"),
        "task": {"name": "babi", "train": 5, "validation": 0, "test": 12},
        "students": {"solver": {"model": "scripted:tests.scripts:solver"}},
        "teachers": {"planner": {"kind": "model", "model": "stub", "base_url": url, "max_tokens": 64}},
        "evaluation": {"batch_size": 4, "cut_off": "allow"},
        "base": {"max_tokens": 8},
        "arms": {"few-shot": FEW_SHOT, "trace-of-thought": {"prompt": "trace-of-thought"}},
        "comparisons": [],
        **changes,
    }
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return pipeline.load(path, [f"compute={where}"])


def test_a_cluster_makes_the_files_of_one_machine(tmp_path: Path, ray: PretendRay) -> None:
    found = []
    with running(Behaviour(latency=0.002)) as server:
        for where in ("local", "ray"):
            loaded = study(tmp_path, where, server.url)
            pipeline.run(loaded, "evaluate", quiet=True)
            found.append([texts(loaded.study.folder, file) for file in FILES])
            assert bool(ray.actors) == (where == "ray")
    assert found[0] == found[1]
    assert [len(rows) for rows in found[0]] == [12, 12, 12, 12]
    assert {type(actor.own).__name__ for actor in ray.actors} == {"_Caller"}, "a script needs no cluster"
    assert {actor.number for actor in ray.actors} == set(ray.killed), "no process outlives its stage"
    actors = len(ray.actors)
    assert pipeline.run(loaded, "evaluate", quiet=True) == []
    assert len(ray.actors) == actors, "what is complete starts nothing"


@pytest.fixture
def tiny_study(tmp_path: Path) -> Callable[[str], StudyRun]:
    """A study of the tiny model with its problems; what follows is called by hand, since launching takes seconds."""
    students = {"tiny": {"model": str(tiny.build(tmp_path / "model")), "dtype": "float32"}}

    def opened(where: str) -> StudyRun:
        loaded = study(tmp_path, where, "", students=students, teachers={}, arms={"few-shot": FEW_SHOT})
        pipeline.run(loaded, "problems", quiet=True)
        return StudyRun(loaded, Screen(quiet=True))

    return opened


def test_a_students_attempts_on_a_cluster(tiny_study: Callable[[str], StudyRun], ray: PretendRay) -> None:
    found, facts = [], []
    for where in ("local", "ray"):
        work = tiny_study(where)
        facts.append(Graph(work).evaluation.make_attempts("few-shot", 0))
        work.compute.close()
        found.append(texts(work.run.folder, "generations/few-shot.jsonl"))
    assert found[0] == found[1]
    assert len(found[0]) == 12
    assert facts[0] == facts[1]
    assert {type(actor.own).__name__ for actor in ray.actors} == {"_Holder"}
    assert {actor.number for actor in ray.actors} == set(ray.killed)
    assert work.loaded is None, "a GPU of this machine belongs to the cluster"


def test_a_model_that_a_machine_lacks_is_named(
    tiny_study: Callable[[str], StudyRun], ray: PretendRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracedistill.engines.local import LocalEngine

    def lacking(*_: Any) -> Any:
        raise InputError("student 'model': no such folder")

    monkeypatch.setattr(LocalEngine, "load", lacking)
    with pytest.raises(InputError, match="no such folder"):
        Graph(tiny_study("ray")).evaluation.make_attempts("few-shot", 0)
    assert {actor.number for actor in ray.actors} == set(ray.killed)
