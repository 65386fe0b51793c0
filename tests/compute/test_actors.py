"""Processes that keep a job: what is lost is made again, and what cannot be made says why."""

from __future__ import annotations

import pytest

from tests.compute.jobs import Doubled
from tests.compute.pretend_ray import PretendRay
from tracedistill.compute import actors
from tracedistill.compute.actors import Actors, places
from tracedistill.errors import InputError


def test_every_item_is_made_once_and_given_as_it_is_finished() -> None:
    ray = PretendRay()
    results = list(Actors(ray, Doubled()).map(range(9)))
    assert sorted(results) == [(number, 2 * number) for number in range(9)]
    assert len(ray.actors) == 2
    assert all(actor.calls for actor in ray.actors)


def test_processes_are_kept_from_one_map_to_the_next_and_more_are_started_for_more_items() -> None:
    ray = PretendRay([{"GPU": 4.0, "CPU": 8.0}])
    held = Actors(ray, Doubled())
    assert list(held.map([3])) == [(0, 6)]
    assert len(ray.actors) == 1
    assert len(list(held.map(range(20)))) == 20
    assert len(ray.actors) == 4
    held.close()
    assert sorted(ray.killed) == [0, 1, 2, 3]


def test_a_lost_process_costs_its_item_and_is_replaced() -> None:
    ray = PretendRay(loses=lambda actor, call: actor < 2 and call == 2)
    assert sorted(Actors(ray, Doubled()).map(range(9))) == [(number, 2 * number) for number in range(9)]
    assert ray.killed
    assert len(ray.actors) == 2 + len(ray.killed), "it may only be out of reach, and hold a GPU"


def test_an_item_that_loses_every_process_is_given_up() -> None:
    ray = PretendRay(loses=lambda actor, call: True)
    with pytest.raises(InputError, match=r"part 1 of 1 was lost 3 times.*memory"):
        list(Actors(ray, Doubled()).map([1]))
    assert len(ray.actors) == 3


def test_a_cluster_without_the_program_says_so() -> None:
    with pytest.raises(InputError, match=r"no process could be started .*No module named 'tracedistill'.*continues"):
        list(Actors(PretendRay(starts=lambda actor: False), Doubled()).map([1, 2]))


def test_one_machine_without_the_program_is_not_needed() -> None:
    ray = PretendRay(starts=lambda actor: actor == 1)
    assert len(list(Actors(ray, Doubled()).map(range(5)))) == 5
    assert len(ray.actors) == 2


def test_a_cluster_without_room_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "PATIENCE", 0.01)
    ray = PretendRay(starts=lambda actor: None)
    with pytest.raises(InputError, match=r"none within 0.01 s; GPUs or cores are gone or taken"):
        list(Actors(ray, Doubled()).map([1]))
    assert ray.killed == [0]


def test_a_refusal_ends_the_processes() -> None:
    ray = PretendRay()
    with pytest.raises(InputError, match=r"^2 is too large$"):
        list(Actors(ray, Doubled(refused=2)).map(range(9)))
    assert sorted(ray.killed) == [0, 1]


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        ([{"CPU": 16.0, "GPU": 8.0}, {"CPU": 4.0}], (8, {"num_gpus": 1})),
        ([{"CPU": 16.0}, {"CPU": 4.0}, {"memory": 1.0}], (5, {"num_cpus": 4})),
        ([{"CPU": 1.0}], (1, {"num_cpus": 1})),
        ([{}], (1, {"num_cpus": 1})),
    ],
)
def test_one_process_per_gpu_or_machine(machines: list[dict[str, float]], expected: tuple[int, dict[str, int]]) -> None:
    assert places(PretendRay(machines)) == expected
