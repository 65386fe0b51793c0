"""Simulated arms with known truth, through the benchmark's own functions."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tracedistill import stats

PATH = Path(__file__).parents[2] / "benchmarks" / "stats_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stats_simulation", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_95_percent_intervals_cover_93_to_97_percent(simulation):
    for name, share in simulation.coverage(1000, seed=1).items():
        assert 0.93 <= share <= 0.97, name


def test_the_crossed_interval_covers_quick(simulation):
    # 200 simulations: two standard errors are 3 points
    assert 0.91 <= simulation.crossed_coverage(200, seed=1, resamples=500) <= 0.985


@pytest.mark.slow
def test_the_crossed_interval_covers(simulation):
    assert 0.93 <= simulation.crossed_coverage(1000, seed=1) <= 0.97


def test_paired_power_is_that_of_theory_and_above_the_unpaired_test(simulation):
    paired, unpaired = simulation.power(2000, seed=1)
    theory = stats.paired_power(500, 0.05, 0.10)
    assert abs(paired - theory) <= 0.02
    assert paired > unpaired + 0.3


def test_holm_keeps_the_family_error(simulation):
    assert simulation.family_error(500, seed=1) < 0.05
