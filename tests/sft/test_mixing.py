"""Arms that mix the rows of others: the deal, the rows, what is told of them, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_arms import arithmetic_study, rows
from tests.report_kit import arm, report
from tests.tiny import build
from tests.tuned_study import recipe_of, tune
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.recipes import load
from tracedistill.report.findings import limits
from tracedistill.report.reader import record_of
from tracedistill.report.records import TraceFacts
from tracedistill.sft.examples import assign_mix
from tracedistill.tools.export.origin import arm_blocks, arm_facts, teachers_of
from tracedistill.tools.open_study import open_study

ARMS: dict[str, Any] = {
    "answers": {"tune": "none"},
    "right": {"tune": "correct"},
    "wrong": {"tune": "wrong-number"},
    "half": {"tune": "correct", "mix": {"answers": 0.5}},
    "three": {"tune": "none", "mix": {"right": 0.25, "wrong": 0.5}},
}
IDS = [f"p{number}" for number in range(101)]


def test_shares_are_exact_and_others_are_left_alone() -> None:
    counts = Counter(assign_mix(IDS, "own", {"a": 0.3, "b": 0.6}, 0).values())
    assert counts == {"a": 30, "b": 61, "own": 10}
    assert assign_mix(IDS, "own", {"a": 1.0}, 0) == dict.fromkeys(IDS, "a")
    assert assign_mix([], "own", {"a": 0.5}, 0) == {}


def test_the_deal_hangs_on_the_seed_and_not_on_the_order() -> None:
    mix = {"a": 0.4}
    assert assign_mix(IDS, "own", mix, 0) == assign_mix(IDS[::-1], "own", mix, 0)
    assert assign_mix(IDS, "own", mix, 0) != assign_mix(IDS, "own", mix, 1)


def test_a_larger_share_takes_what_a_smaller_one_takes() -> None:
    few, many = (
        {key for key, arm in assign_mix(IDS, "x", {"a": share}, 0).items() if arm == "a"} for share in (0.2, 0.7)
    )
    assert few < many


def test_rows_are_those_of_the_arms_that_are_mixed(tmp_path: Path) -> None:
    loaded = pipeline.load(arithmetic_study(tmp_path, arms=ARMS))
    pipeline.run(loaded, "assemble", quiet=True)
    made = {name: {row["problem_id"]: row for row in rows(tmp_path, name, "sft")} for name in ARMS}
    assembly = json.loads((tmp_path / "run" / "assembly.json").read_text())
    n = assembly["rows"]
    assert n > 10
    for name, lenders in (
        ("half", {"right": "half", "answers": "answers"}),
        ("three", {"answers": "three", "right": "right", "wrong": "wrong"}),
    ):
        assert list(made[name]) == list(made["right"]), "the same problems in the same order"
        found: Counter[str] = Counter()  # by the arm whose row it is
        for key, row in made[name].items():
            assert row["arm"] == name
            same = [other for other in lenders if {**made[other][key], "arm": name} == row]
            assert len(same) == 1
            found.update(lenders[other] for other in same)
        facts = assembly["arms"][name]
        assert facts["mix"] == dict(found)
        assert facts["traces"] == sum(row.get("trace_id") is not None for row in made[name].values())
    assert assembly["arms"]["half"]["mix"]["answers"] == round(n / 2)
    assert assembly["arms"]["half"]["measured"]["n"] == n - round(n / 2), "the intervention made its own rows alone"
    assert "measured" not in assembly["arms"]["three"]


def test_what_is_said_of_mixes(tmp_path: Path) -> None:
    """The card and the page speak of the arm's own rows, and of all traces as those from any arm."""
    loaded = pipeline.load(
        arithmetic_study(tmp_path, arms={**ARMS, "none-left": {"tune": "correct", "mix": {"answers": 1.0}}})
    )
    pipeline.run(loaded, "assemble", quiet=True)
    assembly = json.loads((tmp_path / "run" / "assembly.json").read_text())["arms"]
    assert [list(assembly[name]["mix"]) for name in ("half", "three")] == [
        ["half", "answers"],
        ["three", "right", "wrong"],
    ]
    assert "measured" not in assembly["none-left"]
    opened = open_study(loaded.recipe)
    cards = {name: "\n".join(arm_blocks(arm_facts(opened, name))) for name in assembly}
    n = assembly["right"]["rows"]
    assert f"{n - n // 2} of `half`, {n // 2} of `answers`" in cards["half"] or n % 2
    assert "Rows of `half` itself: traces of teacher `rules`; intervention `correct`" in cards["half"]
    assert "Rows of `three` itself: answers alone" in cards["three"]
    assert f"Of all {assembly['three']['traces']} traces, from any arm" in cards["three"]
    assert "teacher" not in cards["none-left"], "it has no row of its own"
    assert "traces" not in cards["none-left"]
    assert teachers_of(opened, "three") == ["rules"]
    assert teachers_of(opened, "none-left") == []
    tuned = arm(
        name="half",
        kind="tuned",
        tune="correct",
        mix={"answers": 0.5},
        data=record_of(TraceFacts, assembly["half"], "assembly.json"),
    )
    (said,) = [line for line in limits(report(tuned)) if line.startswith("half:")]
    assert f"of its {n} rows, {assembly['half']['traces']} have a trace" in said


def test_a_mix_is_assembled_again_when_its_shares_change(tmp_path: Path) -> None:
    path = arithmetic_study(tmp_path, arms=ARMS)
    pipeline.run(pipeline.load(path), "assemble", quiet=True)
    loaded = pipeline.load(path, ["arms.half.mix={answers: 0.25}"])
    assert pipeline.run(loaded, "assemble", quiet=True) == ["assemble"]
    assert pipeline.run(loaded, "assemble", quiet=True) == []


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # read by PEFT
def test_the_report_tells_a_mix_from_what_nobody_declared(tmp_path: Path) -> None:
    build(tmp_path / "model")
    arms = {"right": {"tune": "correct"}, "answers": {"tune": "none"}, "half": ARMS["half"] | {"mix": {"answers": 0.5}}}
    loaded = tune(recipe_of(tmp_path, tmp_path / "model", arms=arms))
    pipeline.run(loaded, quiet=True)
    made = pipeline.report_of(loaded)
    half = next(each for each in made.arms if each.name == "half")
    assert half.mix == {"answers": 0.5}
    assert half.data.mix == {"half": 6, "answers": 6}
    page = (loaded.study.folder / "report.md").read_text()
    differs = page[page.index("What differs between arms") :]
    lines = [line for line in differs.splitlines() if "half" in line or "mix" in line]
    assert any("mix" in line and "declared" in line for line in lines), differs[:2000]
    assert not any("not declared" in line for line in lines)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"mix": {"b": 0.5}}, "b": {"tune": "none"}}, "mixes training rows, but the arm is not tuned"),
        ({"a": {"tune": "none", "mix": {"a": 0.5}}}, "an arm cannot mix in itself"),
        ({"a": {"tune": "none", "mix": {"bb": 0.5}}, "b": {"tune": "none"}}, "is not a tuned arm; did you mean 'b'?"),
        ({"a": {"tune": "none", "mix": {"b": 0.5}}, "b": {}}, "is not a tuned arm"),
        ({"a": {"tune": "none", "mix": {"b": 1.5}}, "b": {"tune": "none"}}, "must be at most 1"),
        ({"a": {"tune": "none", "mix": {"b": 0}}, "b": {"tune": "none"}}, "must be above 0"),
        ({"a": {"tune": "none", "mix": {"b": "much"}}, "b": {"tune": "none"}}, "must be a number"),
        ({"a": {"tune": "none", "mix": [1]}}, "must be a mapping"),
        (
            {"a": {"tune": "none", "mix": {"b": 0.6, "c": 0.6}}, "b": {"tune": "none"}, "c": {"tune": "none"}},
            "the shares add up to more than 1",
        ),
        (
            {
                "a": {"tune": "none", "mix": {"b": 0.5}},
                "b": {"tune": "correct", "mix": {"c": 0.5}},
                "c": {"tune": "none"},
            },
            "has a mix itself",
        ),
        (
            {"a": {"tune": "none", "mix": {"b": 0.5}}, "b": {"tune": "correct", "rationale_weight": 1.0}},
            "has two rows per problem itself",
        ),
        (
            {"a": {"tune": "correct", "rationale_weight": 1.0, "mix": {"b": 0.5}}, "b": {"tune": "none"}},
            "rationale_weight makes two",
        ),
    ],
)
def test_mixes_that_make_no_sense(tmp_path: Path, arms: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        load(arithmetic_study(tmp_path, arms=arms))
    assert message in str(caught.value)


def test_a_grid_mixes_within_its_cells(tmp_path: Path) -> None:
    students = {name: {"model": "scripted:tests.arm_scripts:follower"} for name in ("small", "large")}
    arms = {name: {**ARMS[name], "student": "all"} for name in ("answers", "right", "half")}
    study = load(arithmetic_study(tmp_path, students=students, arms=arms))
    assert study.arms["half@large"].mix == {"answers@large": 0.5}
    assert study.lenders_of("half@small") == ("half@small", "answers@small")
