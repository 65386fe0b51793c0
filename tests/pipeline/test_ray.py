"""Teach and evaluate on a real Ray cluster of two nodes, one of which is lost in the middle: the files of one machine.

The cluster is on this machine, so that a run takes a minute or more; without Ray the tests are skipped. What happens
when a process is lost is tested without Ray as well: tests/compute/test_actors.py, tests/engines/test_ray_calls.py.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tests.engines.server_kit import KEY, running
from tests.fault_server import Behaviour
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_lines

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STORE = 80_000_000


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head node of one core, whose processes know a key."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'tracedistill[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEACHER_KEY", KEY)
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
    yield found
    sys.modules["ray"].shutdown()  # a test that ended in an error is still connected
    found.shutdown()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    monkeypatch.setenv("OTHER_KEY", KEY)


def lost_once(cluster: Any, begun: Callable[[], bool]) -> threading.Thread:
    """Add a node, and take it away without a word once something has begun; the thread ends then."""
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    cluster.wait_for_nodes()

    def lose() -> None:
        while not begun():
            time.sleep(0.01)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=lose, daemon=True)
    thread.start()
    return thread


def texts(folder: Path, file: str) -> list[dict[str, Any]]:
    """The records of a file without the seconds that each took."""
    return [{key: value for key, value in row.items() if key != "seconds"} for _, row in read_lines(folder / file)]


def test_attempts_of_two_nodes_one_of_which_is_lost(cluster: Any, tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")
    recipe = {
        "study": "spread",
        "task": {"name": "babi", "train": 12, "validation": 4, "test": 40},
        "students": {"tiny": {"model": str(tmp_path / "model"), "dtype": "float32"}},
        "evaluation": {"batch_size": 4, "parity": 4, "merge": "checked", "cut_off": "allow"},
        "training": {"batch_size": 4, "max_steps": 2},
        "base": {"max_tokens": 24},
        "arms": {"few-shot": {"prompt": "few-shot", "shots": 2}, "tuned": {"tune": "correct"}},
        "comparisons": [],
    }
    path = tmp_path / "study.yaml"
    found = []
    for where in ("local", f"ray:{cluster.address}"):
        folder = tmp_path / where.partition(":")[0]
        path.write_text(yaml.safe_dump({**recipe, "run_dir": str(folder)}))
        partial = folder / "generations" / "few-shot.partial0.jsonl"
        killer = None
        if where != "local":
            killer = lost_once(cluster, lambda partial=partial: partial.exists() and partial.stat().st_size > 1000)
        pipeline.run(pipeline.load(path, [f"compute={where}"]), "evaluate", quiet=True)
        found.append([texts(folder, f"{kind}/{arm}.jsonl")
                      for kind in ("generations", "attempts") for arm in ("few-shot", "tuned")])  # fmt: skip
        assert killer is None or not killer.is_alive()
        manifest = read_json(folder / "generations" / "tuned.jsonl.manifest.json")
        assert manifest["engine"]["adapter"] in ("merged", "adapter")
    assert len(found[0][0]) == 40
    assert found[0] == found[1]


def taught(tmp_path: Path, name: str, url: str, where: str, key_env: str = "TEACHER_KEY") -> pipeline.LoadedStudy:
    teacher = {"kind": "model", "model": "stub", "base_url": url, "key_env": key_env, "concurrency": 4,
               "timeout": 30, "max_tokens": 64, "usd_per_million_out": 1.0}  # fmt: skip
    recipe = {
        "study": "taught",
        "run_dir": str(tmp_path / name),
        "cache": str(tmp_path / f"{name}.sqlite"),
        "task": {"name": "babi", "train": 5, "validation": 0, "test": 200},
        "students": {"solver": {"model": "scripted:tests.scripts:solver"}},
        "arms": {"trace-of-thought": {"prompt": "trace-of-thought"}},
        "teachers": {"planner": teacher},
        "budget": {"usd": 1.0},
        "comparisons": [],
    }
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    loaded = pipeline.load(path, [f"compute={where}"])
    pipeline.run(loaded, "teach", quiet=True)
    return loaded


def test_calls_of_two_nodes_one_of_which_is_lost(cluster: Any, tmp_path: Path) -> None:
    files = []
    for name, where in (("local", "local"), ("ray", f"ray:{cluster.address}")):
        with running(Behaviour(latency=0.05)) as server:
            killer = None
            if where != "local":
                killer = lost_once(cluster, lambda server=server: server.ledger.summary()["paid"] >= 40)
            loaded = taught(tmp_path, name, server.url, where)
            paid = server.ledger.summary()["paid"]
            assert killer is None or not killer.is_alive()
        files.append((loaded.study.folder / "traces" / "planner.jsonl").read_bytes())
        assert 200 <= paid <= 204, "what was in flight on the lost node may be called again, and nothing else"
    assert files[0].count(b"\n") == 200
    assert files[0] == files[1]
    assert pipeline.run(loaded, "teach", quiet=True) == []


def test_a_machine_without_the_key_is_named(cluster: Any, tmp_path: Path) -> None:
    with running(Behaviour()) as server:
        with pytest.raises(InputError, match=r"OTHER_KEY.*a machine of the Ray cluster"):
            taught(tmp_path, "keyless", server.url, f"ray:{cluster.address}", "OTHER_KEY")
        assert server.ledger.summary()["paid"] == 0
