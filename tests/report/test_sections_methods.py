"""The section Ways: what each arm came to and cost, the gain that is kept, curves and rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.sections_kit import FakeRun, line, table, verdicts
from tracedistill.files import read_json, write_json
from tracedistill.recipes import Arm
from tracedistill.report import write_view
from tracedistill.report.sections.costs import cost_of
from tracedistill.report.sections.methods import methods

ROWS = {f"p{n}": "A: b\nAnswer: c" for n in range(4)}
ARMS = {
    "standard": Arm(),
    "plan": Arm(prompt="trace-of-thought"),
    "sft": Arm(tune="correct"),
    "distilled": Arm(tune="none", method="on-policy", context="plan"),
    "grpo": Arm(tune="correct", method="grpo", from_="sft", reward="both"),
}
REWARDED = {
    "loss": 0.0, "both": 0.1, "answer_alone": 0.2, "trace_alone": 0.3, "neither": 0.4, "copied": 0.5,
    "completions/mean_length": 10.0, "completions/clipped_ratio": 0.0,
}  # fmt: skip


def facts(drawn: int, flops: float, **more: Any) -> dict[str, Any]:
    return {"work": {"drawn": drawn, "read": 10, "trained": 20, "scored": 0, "flops": flops}, "log": [], **more}


def run_of(folder: Path, further: dict[str, Any] | None = None, **changes: Any) -> FakeRun:
    def right(count: int) -> list[dict[str, Any]]:
        return verdicts([place < count for place in range(40)])

    attempts = {
        "standard": right(8), "plan": right(28), "distilled": right(18), "sft": right(20),
        "grpo": [line(f"p{n}", n < 24, n % 2 == 0, tokens=(10, 7)) for n in range(40)],
    }  # fmt: skip
    attempts |= further or {}
    arms = {name: arm for name, arm in {**ARMS, **changes}.items() if arm is not None}
    run = FakeRun(folder, arms, {name: attempts[name] for name in arms})
    for name, arm in arms.items():
        if arm.tune is not None:
            run.tuned(name, ROWS, seconds=60.0)
    curve = [{"step": step, "attempts": 5, "answers_right": step, "traces_right": 1} for step in (0, 4)]
    log = [{**REWARDED, "reward": place / 10, "step": place} for place in range(10)]
    made = {
        "sft": facts(0, 1e12, curve=curve), "distilled": facts(100, 3e12, curve=[*curve, {**curve[0], "step": 9}]),
        "grpo": facts(500, 5e12, log=log),
    }  # fmt: skip
    for name in set(made) & set(arms):
        write_json(folder / "adapters" / name / "training.json", made[name])
    return run


def test_what_each_came_to(tmp_path: Path) -> None:
    section = methods(run_of(tmp_path).view())
    assert section is not None
    rows = {row[0]: row for row in table(section, "results").rows}
    assert rows["distilled"][1:5] == ("on-policy: from itself shown plan", None, "18 of 40", "45.0%")
    assert rows["grpo"][1:4] == ("grpo: reward both", "sft", "24 of 40")
    assert rows["grpo"][6:] == (20, 12, 8, 12, 7)
    assert rows["standard"][6:10] == (None,) * 4


def test_costs_hold_those_of_the_start_and_the_cheapest_comes_first(tmp_path: Path) -> None:
    section = methods(run_of(tmp_path).view())
    assert section is not None
    rows = table(section, "accuracy against the cost of training").rows
    assert [row[0] for row in rows] == ["standard", "plan", "sft", "distilled", "grpo"]
    costs = {row[0]: row for row in rows}
    assert costs["grpo"][3:6] == ("6", "500", "20")
    assert costs["grpo"][8] == "120"
    assert [row[0] for row in rows if row[2]] == ["sft", "grpo"]


def test_accuracy_against_cost_is_drawn(tmp_path: Path) -> None:
    view = run_of(tmp_path).view()
    section = methods(view)
    assert section is not None
    assert section.plot is not None
    points = {point.name: point for point in section.plot.points}
    assert {name: point.x for name, point in points.items()} == {
        "standard": None, "plan": None, "sft": 1.0, "distilled": 3.0, "grpo": 6.0,
    }  # fmt: skip
    assert points["plan"].y == 0.7
    assert points["plan"].low < 0.7 < points["plan"].high
    write_view(view)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<circle ") == 3
    assert page.count('class="level"') == 2


def test_the_share_of_a_prompts_gain(tmp_path: Path) -> None:
    section = methods(run_of(tmp_path).view())
    assert section is not None
    (row,) = table(section, "share of the prompt's gain").rows
    assert row[:5] == ("distilled", "standard", "20.0%", "plan", "70.0%")
    assert row[5].startswith("+50.0 (")
    assert row[7] == "50.0%"


def test_curves_and_rewards(tmp_path: Path) -> None:
    section = methods(run_of(tmp_path).view())
    assert section is not None
    curves = table(section, "learning curves")
    assert curves.heads == ("arm", "n", "step 0", "step 4", "step 9")
    assert curves.rows == (("sft", 5, "0 / 1", "4 / 1", None), ("distilled", 5, "0 / 1", "4 / 1", "0 / 1"))
    rewards = table(section, "completions and rewards").rows
    assert [row[:3] for row in rewards] == [("grpo", "first 2", "0.05"), ("grpo", "last 2", "0.85")]
    assert rewards[0][3:] == ("10.0%", "20.0%", "30.0%", "40.0%", "50.0%", "10.0", "0.0%")


def test_a_study_of_one_method_has_no_such_section(tmp_path: Path) -> None:
    assert methods(run_of(tmp_path, distilled=None, grpo=None).view()) is None


def test_an_adapter_of_which_nothing_was_counted_has_no_cost(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    (tmp_path / "adapters" / "sft" / "training.json").unlink()
    section = methods(run.view())
    assert section is not None
    # what starts from it is not known either
    assert [row[0] for row in table(section, "accuracy against").rows] == ["standard", "plan", "distilled"]


def test_the_page_has_it_above_the_arms(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    run.assembly["arms"] = {name: {"traces": 4, "rows": 4, "holding_answer": 2} for name in ("sft", "grpo")}
    write_view(run.view())
    arms = {arm["name"]: arm for arm in read_json(tmp_path / "report.json")["arms"]}
    assert arms["sft"]["data"]["traces"] == 4
    assert arms["grpo"].get("data") is None  # it has imitated no row: what its traces hold says nothing
    assert (arms["grpo"]["method"], arms["grpo"]["starts_from"]) == ("grpo", "sft")
    assert arms["standard"].get("method") is None
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index('<section id="ways">') < page.index('<section id="arms">')
    assert page.count('<section id="ways">') == 1


def test_rounds_with_what_was_imitated(tmp_path: Path) -> None:
    own = Arm(tune="correct", method="self-imitation", reward="answer")
    run = run_of(tmp_path, {"own": verdicts([True] * 40)}, own=own)
    made = {"drawn": 16, "answers_right": 9, "traces_right": 4, "cut_off": 1, "accepted": 8, "kept": 5}
    rounds = [made | {"kept_traces_right": 3}, made]  # the second as a version before wrote it
    write_json(tmp_path / "adapters" / "own" / "training.json", facts(160, 2e12, rounds=rounds))
    rows = table(methods(run.view()), "completions drawn").rows
    assert rows == (("own", 1, 16, 9, 4, 1, 8, 5, 3), ("own", 2, 16, 9, 4, 1, 8, 5, None))


def test_several_seeds_are_told(tmp_path: Path) -> None:
    lines = [line(f"p{n}", n < 10, seed=seed) for seed in range(2) for n in range(40)]
    section = methods(run_of(tmp_path, {"sft": lines}).view())
    assert section is not None
    assert "2 adapters per arm" in section.notes[0]


def test_the_section_cost_counts_what_was_drawn_and_the_start(tmp_path: Path) -> None:
    view = run_of(tmp_path).view()
    once = {arm.name: cost_of(view, arm).once for arm in view.arms}
    assert once["sft"][1] == 0 + 10 + 20 + 0
    assert once["grpo"][1] == once["sft"][1] + 500 + 10 + 20
    assert once["grpo"][2] == 120.0


def test_pairs_with_their_lengths_and_what_became_of_both(tmp_path: Path) -> None:
    attempts = {"pairs": verdicts([True] * 40)}
    run = run_of(tmp_path, attempts, pairs=Arm(tune="correct", method="dpo", rejected="incorrect"))
    logs = [
        {"rewards/accuracies": 0.5, "rewards/margins": 0.0, "logps/chosen": -10.0, "logps/rejected": -12.0},
        {"rewards/accuracies": 1.0, "rewards/margins": 1.5, "logps/chosen": -11.0, "logps/rejected": -30.0},
    ]
    pairs = {"n": 3, "chosen_tokens": 20.0, "rejected_tokens": 21.5, "alike": 2}
    made = {**facts(0, 1e12), "rows": 4, "log": logs, "pairs": pairs}
    write_json(tmp_path / "adapters" / "pairs" / "training.json", made)
    (row,) = table(methods(run.view()), "preference pairs").rows
    assert row == ("pairs", "3 of 4", "20", "21.5", 2, "100.0%", "1.50", "-10.0 to -11.0", "-12.0 to -30.0")
