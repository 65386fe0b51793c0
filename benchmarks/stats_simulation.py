"""Do the statistics keep their word? Simulated arms with known truth: coverage, power, family error.

    python benchmarks/stats_simulation.py [--simulations 1000] [--seed 0]

The file is not called statistics.py: a script's folder comes first on the import path, and would hide the library's.
The last line is JSON: `coverage` by interval, `paired_power`, `paired_theory`, `unpaired_power`, `family_error`, all
shares of the simulations.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
from numpy.typing import NDArray

from tracedistill import stats

PROBLEMS = 500
EFFECT, DISCORDANCE = 0.05, 0.10
SEEDS_EFFECT = 0.05


def arms(rng: np.random.Generator, effect: float, n: int = PROBLEMS) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return two arms' verdicts on n problems: 10% discordant, the first better by `effect`, the rest right in 70%."""
    draw = rng.random(n)
    only_a, only_b = (DISCORDANCE + effect) / 2, (DISCORDANCE - effect) / 2
    both = draw < 0.7
    a = both | ((draw >= 0.7) & (draw < 0.7 + only_a))
    b = both | ((draw >= 0.7 + only_a) & (draw < 0.7 + only_a + only_b))
    return a, b


def seeded_arms(
    rng: np.random.Generator, effect: float, spread: float, problems: int = 200, seeds: int = 3
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Verdicts of shape (problems, seeds): problems differ in difficulty, each seed moves the first arm's rate."""
    rate = 0.7 * rng.beta(1.2, 1.2, size=(problems, 1))
    moved = np.clip(rate + effect + rng.normal(0, spread, size=(1, seeds)), 0, 1)
    shape = (problems, seeds)
    return rng.random(shape) < moved, rng.random(shape) < rate


def coverage(simulations: int, seed: int) -> dict[str, float]:
    """Share of simulations whose 95% interval holds the truth, by kind of interval."""
    rng = np.random.default_rng(seed)
    held = dict.fromkeys(("wilson", "paired_bootstrap", "clustered_mean"), 0)
    for _ in range(simulations):
        interval = stats.wilson(int(rng.binomial(PROBLEMS, 0.7)), PROBLEMS)
        held["wilson"] += interval.low <= 0.7 <= interval.high
        a, b = arms(rng, EFFECT)
        found = stats.paired_bootstrap(a, b, rng, resamples=2000)
        held["paired_bootstrap"] += found.low <= EFFECT <= found.high
        rates = rng.beta(1.2, 1.2, size=100)
        mean = stats.clustered_mean((rng.random((3, 100)) < rates).T.ravel().tolist(), np.arange(300) // 3)
        assert mean.low is not None
        assert mean.high is not None
        held["clustered_mean"] += mean.low <= 0.5 <= mean.high
    return {name: count / simulations for name, count in held.items()}


def crossed_coverage(simulations: int, seed: int, resamples: int = 2000) -> float:
    """Share of simulations whose crossed 95% interval over problems and 3 seeds holds the truth."""
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(simulations):
        found = stats.crossed_bootstrap(*seeded_arms(rng, 0.1, SEEDS_EFFECT), rng, resamples=resamples)
        held += found.low <= 0.1 <= found.high
    return held / simulations


def power(simulations: int, seed: int) -> tuple[float, float]:
    """Share of simulations in which exact McNemar and the unpaired z-test find the effect at 5%."""
    rng = np.random.default_rng(seed)
    paired = unpaired = 0
    for _ in range(simulations):
        a, b = arms(rng, EFFECT)
        counts = stats.discordance(a.tolist(), b.tolist())
        paired += stats.mcnemar_exact(counts.only_a, counts.only_b) <= 0.05
        unpaired += stats.two_proportion_z(int(a.sum()), PROBLEMS, int(b.sum()), PROBLEMS)[1] <= 0.05
    return paired / simulations, unpaired / simulations


def family_error(simulations: int, seed: int, comparisons: int = 5) -> float:
    """Share of simulations with any false finding: arms all alike, each against the same baseline, Holm at 5%."""
    rng = np.random.default_rng(seed)
    errors = 0
    for _ in range(simulations):
        rate = rng.beta(1.2, 1.2, size=PROBLEMS)
        baseline = rng.random(PROBLEMS) < rate
        ps = []
        for _ in range(comparisons):
            counts = stats.discordance((rng.random(PROBLEMS) < rate).tolist(), baseline.tolist())
            ps.append(stats.mcnemar_exact(counts.only_a, counts.only_b))
        errors += min(stats.holm(ps)) <= 0.05
    return errors / simulations


def main() -> None:
    """Run all and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    start = time.perf_counter()
    covered = coverage(given.simulations, given.seed)
    covered["crossed_bootstrap"] = crossed_coverage(given.simulations, given.seed)
    for name, held in covered.items():
        print(f"95% interval, {name}: covers {held:.1%} of {given.simulations}")
    paired, unpaired = power(given.simulations, given.seed)
    theory = stats.paired_power(PROBLEMS, EFFECT, DISCORDANCE)
    print(f"power for 5 points, n {PROBLEMS}, 10% discordance: paired {paired:.1%} (theory {theory:.1%}), ", end="")
    print(f"unpaired z {unpaired:.1%}")
    errors = family_error(given.simulations, given.seed)
    print(f"Holm, 5 comparisons without any effect: a false finding in {errors:.1%}")
    result = {
        "coverage": covered,
        "paired_power": paired,
        "paired_theory": round(theory, 4),
        "unpaired_power": unpaired,
        "family_error": errors,
        "simulations": given.simulations,
        "seconds": round(time.perf_counter() - start, 1),
    }
    from machine import machine  # here, since a test loads this file by its path

    print(json.dumps({**result, **machine()}))


if __name__ == "__main__":
    main()
