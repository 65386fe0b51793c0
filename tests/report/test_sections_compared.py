"""Arms compared: the test that fits the data, its power, and what it speaks about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.sections_kit import FakeRun, column, line, table, verdicts
from tracedistill import stats
from tracedistill.files import to_json
from tracedistill.recipes import Arm
from tracedistill.report.sections.comparisons import CROSSED, MCNEMAR, MEANS, compare, comparisons, not_compared
from tracedistill.report.sections.trace_of_thought import trace_of_thought
from tracedistill.report.tables import Section

TODAY = ("first", "second", "n", "difference", "low", "high", "only_first", "only_second", "test", "p", "p_holm")


def flags(*cells: int) -> tuple[list[bool], list[bool]]:
    """Two arms' verdicts: both right, only the first, only the second, neither."""
    both, first, second, neither = cells
    return (
        [True] * (both + first) + [False] * (second + neither),
        [True] * both + [False] * first + [True] * second + [False] * neither,
    )


def test_one_attempt_each_is_mcnemar_and_the_paired_bootstrap(tmp_path: Path) -> None:
    a, b = flags(50, 15, 5, 30)
    arms = {"a": Arm(prompt="few-shot"), "b": Arm()}
    view = FakeRun(tmp_path, arms, {"a": verdicts(a), "b": verdicts(b)[::-1]}, comparisons=[("a", "b")]).view()
    (entry,) = compare(view)
    assert tuple(to_json(entry, defaults=True))[: len(TODAY)] == TODAY
    assert (entry.n, entry.only_first, entry.only_second, entry.test) == (100, 15, 5, MCNEMAR)
    assert entry.difference == pytest.approx(0.1)
    assert entry.p == entry.p_holm == stats.mcnemar_exact(15, 5)
    assert 0 < entry.low < 0.1 < entry.high < 0.2
    assert (entry.discordance, entry.alpha, entry.power) == (0.2, 0.05, 0.8)
    assert entry.mde == stats.minimum_detectable_effect(100, 0.2)
    assert (entry.seeds, entry.samples, entry.single_seed) == (1, 1, False)


def test_pooled_samples_are_never_put_to_mcnemar(tmp_path: Path) -> None:
    """Eight copies of 12 problems' verdicts: pooled rows would find 32 to 8, p < .001; 12 problems find nothing."""
    a, b = flags(4, 4, 1, 3)
    attempts = {
        name: [line(f"p{n}", ok, sample=sample) for n, ok in enumerate(each) for sample in range(8)]
        for name, each in (("a", a), ("b", b))
    }
    arms = {"a": Arm(samples=8, temperature=1.0), "b": Arm(samples=8, temperature=1.0, prompt="few-shot")}
    (entry,) = compare(FakeRun(tmp_path, arms, attempts, comparisons=[("a", "b")]).view())
    assert stats.mcnemar_exact(32, 8) < 0.001
    assert (entry.test, entry.n, entry.samples, entry.discordance) == (MEANS, 12, 8, None)
    assert entry.p > 0.1
    assert (entry.only_first, entry.only_second) == (4, 1)
    assert entry.mde > 0.3


def test_seeds_are_crossed_with_problems(tmp_path: Path) -> None:
    """One arm's seeds lie 30 points apart: no number of problems makes a finding of that."""
    rng = np.random.default_rng(0)
    rates = {"a": (0.75, 0.6, 0.45), "b": (0.5, 0.5, 0.5)}
    attempts = {
        name: [
            line(f"p{n}", bool(rng.random() < rate), seed=seed) for seed, rate in enumerate(each) for n in range(300)
        ]
        for name, each in rates.items()
    }
    arms = {"a": Arm(tune="correct"), "b": Arm(tune="none"), "plain": Arm()}
    attempts["plain"] = [line(f"p{n}", n % 2 == 0) for n in range(300)]
    run = FakeRun(tmp_path, arms, attempts, comparisons=[("a", "b"), ("a", "plain")])
    for entry in compare(run.view()):
        assert (entry.test, entry.n, entry.seeds, entry.single_seed) == (CROSSED, 300, 3, False)
        assert entry.low < 0 < entry.difference < entry.high
        assert entry.p > 0.1
        assert "adapters trained this way (3 seeds)" in entry.about
    first = [[row for row in rows if row["seed"] == 0] for rows in attempts.values()]
    one_seed = FakeRun(tmp_path / "one", arms, dict(zip(attempts, first, strict=True)), comparisons=[("a", "b")])
    (entry,) = compare(one_seed.view())
    assert (entry.test, entry.single_seed) == (MCNEMAR, True)
    assert entry.p < 0.001, "one seed alone would have been believed"
    assert "these adapters (one seed)" in entry.about
    section = comparisons(one_seed.view())
    assert section is not None
    assert any("another seed of the same recipe" in note for note in section.notes)


def test_an_arm_with_one_seed_stays_one_adapter_beside_an_arm_with_three(tmp_path: Path) -> None:
    arms = {"a": Arm(tune="correct"), "b": Arm(tune="none"), "plain": Arm()}
    attempts = {
        "a": [line(f"p{n}", (n + seed) % 3 > 0, seed=seed) for seed in range(3) for n in range(30)],
        "b": [line(f"p{n}", n % 2 == 0) for n in range(30)],
        "plain": [line(f"p{n}", n % 2 == 0) for n in range(30)],
    }
    run = FakeRun(tmp_path, arms, attempts, comparisons=[("a", "b"), ("a", "plain")])
    mixed, several = compare(run.view())
    assert (mixed.seeds, mixed.single_seed, mixed.about) == (3, True, "this adapter of b (one seed)")
    assert (several.seeds, several.single_seed) == (3, False)


def test_a_vote_is_compared_as_a_vote(tmp_path: Path) -> None:
    voters = [
        line(f"p{n}", place < 2, said="x" if place < 2 else f"y{place}", sample=place)
        for n in range(20)
        for place in range(5)
    ]
    attempts = {"vote": voters, "plain": verdicts([False] * 20)}
    arms = {"vote": Arm(samples=5, temperature=1.0, vote=True), "plain": Arm()}
    view = FakeRun(tmp_path, arms, attempts, comparisons=[("vote", "plain")]).view()
    (entry,) = compare(view)
    assert (entry.difference, entry.test, entry.only_first) == (1.0, MCNEMAR, 20)
    assert entry.vote == ("vote",)
    section = comparisons(view)
    assert section is not None
    assert any("vote" in note for note in section.notes)


def test_arms_without_common_problems_are_in_no_family(tmp_path: Path) -> None:
    a, b = flags(30, 12, 2, 16)
    elsewhere = [line(f"q{n}", n % 2 == 0) for n in range(60)]
    attempts = {"a": verdicts(a), "b": verdicts(b), "far": elsewhere}
    arms = {"a": Arm(), "b": Arm(prompt="few-shot"), "far": Arm(prompt="trace-of-thought")}
    alone = compare(FakeRun(tmp_path / "one", arms, attempts, comparisons=[("a", "b")]).view())
    pairs = [("a", "far"), ("a", "b"), ("far", "b")]
    view = FakeRun(tmp_path / "three", arms, attempts, comparisons=pairs).view()
    assert compare(view) == alone, "the family is what can be tested"
    assert not_compared(view) == [("a", "far"), ("far", "b")]
    section = comparisons(view)
    assert section is not None
    assert [row[0] for row in table(section, "tests").rows] == ["a - b"]
    told = "No common problems, so not compared and not in the family: a - far, far - b."
    assert told in section.notes
    shown = trace_of_thought(view)
    assert shown is not None
    z_tests = table(shown, "two-sample z-test")
    assert [row[-2:] for row in z_tests.rows][::2] == [("no common problems", None)] * 2
    other = FakeRun(tmp_path / "apart", arms, attempts, comparisons=pairs[:1]).view()
    assert (compare(other), comparisons(other)) == (
        [],
        Section("comparisons", "Comparisons and their power", (told.replace(", far - b", ""),), ()),
    )


def test_holm_over_the_family_and_figures_of_a_pair_alone(tmp_path: Path) -> None:
    a, b = flags(30, 12, 2, 16)
    attempts = {"a": verdicts(a), "b": verdicts(b), "c": verdicts([True] * 60)}
    arms = {"a": Arm(), "b": Arm(prompt="few-shot"), "c": Arm(prompt="chain-of-thought")}
    alone = compare(FakeRun(tmp_path / "one", arms, attempts, comparisons=[("a", "b")]).view())
    all_ = compare(FakeRun(tmp_path / "three", arms, attempts, comparisons=[("c", "a"), ("c", "b"), ("a", "b")]).view())
    assert [entry.p_holm for entry in all_] == stats.holm([entry.p for entry in all_])
    assert [(entry.alpha, entry.family) for entry in all_] == [(0.05 / 3, 3)] * 3
    kept = ("difference", "low", "high", "p", "n")
    assert {key: getattr(all_[2], key) for key in kept} == {key: getattr(alone[0], key) for key in kept}
    assert all_[2].mde > alone[0].mde, "a larger family needs a larger effect"


def test_only_common_problems_are_paired(tmp_path: Path) -> None:
    attempts = {"a": verdicts([True] * 8), "b": [line(f"p{n}", False) for n in range(5, 20)]}
    arms = {"a": Arm(), "b": Arm(prompt="few-shot")}
    (entry,) = compare(FakeRun(tmp_path, arms, attempts, comparisons=[("a", "b")]).view())
    assert (entry.n, entry.difference) == (3, 1.0)


def test_the_section_says_test_power_and_discordance(tmp_path: Path) -> None:
    a, b = flags(50, 15, 5, 30)
    arms = {"a": Arm(prompt="few-shot"), "b": Arm()}
    section = comparisons(
        FakeRun(tmp_path, arms, {"a": verdicts(a), "b": verdicts(b)}, comparisons=[("a", "b")]).view()
    )
    power = table(section, "power").rows[0]
    assert power[1] == 100
    assert power[3:] == ("80%", "0.05", "20.0% (the observed one)")
    assert column(table(section, "tests"), "scope") == ["this student with these prompts"]


def test_without_comparisons_there_is_no_section(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, {"a": Arm()}, {"a": verdicts([True])})
    assert comparisons(run.view()) is None


def test_planted_effects_lie_in_their_intervals(tmp_path: Path) -> None:
    """10 pairs of arms, 10 points apart in truth, 3 seeds, seed effects and all."""
    rng = np.random.default_rng(6)
    held = 0
    rate = rng.beta(2, 2, size=(250, 1)) * 0.8
    arms, attempts, pairs = {}, {}, []
    for number in range(10):
        for side, gain in (("a", 0.1), ("b", 0.0)):
            shift = rng.normal(0, 0.02, size=3)
            right = rng.random((250, 3)) < np.clip(rate + gain + shift, 0, 1)
            name = f"{side}{number}"
            arms[name] = Arm(tune="correct" if side == "a" else "none")
            attempts[name] = [line(f"p{n}", bool(right[n, seed]), seed=seed) for n in range(250) for seed in range(3)]
        pairs.append((f"a{number}", f"b{number}"))
    for entry in compare(FakeRun(tmp_path, arms, attempts, comparisons=pairs).view()):
        held += entry.low <= 0.1 <= entry.high
    assert held >= 8
