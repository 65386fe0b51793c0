"""A Ray cluster: the same files as on one machine, also when one of its nodes is lost; and no Ray at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compute.jobs import Doubled, Noted
from tracedistill import pipeline
from tracedistill.compute import choose_compute, parts
from tracedistill.compute.cluster import RayCluster
from tracedistill.errors import InputError

StudyFile = Callable[..., Path]


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, study_file: StudyFile) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is not installed: pip install 'tracedistill\[ray\]'"):
        list(choose_compute("ray", None).map(Doubled(), [1]))
    loaded = pipeline.load(study_file(), ["compute=ray:127.0.0.1:1"])
    with pytest.raises(InputError, match=r"tracedistill\[ray\]"):
        pipeline.run(loaded, "validate", quiet=True)


def test_nothing_is_connected_before_there_is_something_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    cluster = choose_compute("ray:10.0.0.1:6379", None)
    assert isinstance(cluster, RayCluster)
    assert cluster.address == "10.0.0.1:6379"
    cluster.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head node and another one, each of one core."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'tracedistill[ray]'")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    yield found
    found.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_lost_node_costs_its_items_and_nothing_else(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    there = RayCluster(cluster.address)
    results = there.map(Noted(tmp_path), range(60))
    assert next(results) == 0
    cluster.remove_node(node, allow_graceful=False)
    assert list(results) == list(range(1, 60))
    there.ray.shutdown()
    assert len(list(tmp_path.iterdir())) == 60


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_study_on_a_cluster_has_the_files_of_one_machine(
    cluster: Any, study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 7)
    found = []
    for where in ("local", f"ray:{cluster.address}"):
        folder = tmp_path / where.partition(":")[0]
        recipe = study_file(arms={"forced": {"forced": "shuffled"}}, comparisons=[], run_dir=str(folder))
        pipeline.run(pipeline.load(recipe, [f"compute={where}"]), "evaluate", quiet=True)
        found.append({path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.jsonl"))})
    sys.modules["ray"].shutdown()
    assert len(found[0]) >= 5
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_error_on_a_cluster_is_raised_in_its_turn(cluster: Any) -> None:
    there = RayCluster(cluster.address)
    results = there.map(Doubled(refused=2), range(9))
    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(InputError, match=r"^2 is too large$"):
        next(results)
    there.ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_no_cluster_at_the_address() -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'tracedistill[ray]'")
    with pytest.raises(InputError, match=r"no Ray cluster answers at 127.0.0.1:1"):
        list(RayCluster("127.0.0.1:1").map(Doubled(), [1]))
