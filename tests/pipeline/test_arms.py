"""Arms end to end on scripted students: plans of any kind, forced traces, votes, borrowed names."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engines.server_kit import KEY, running
from tests.fault_server import Behaviour
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.report.records import Report


def arithmetic_study(tmp_path: Path, **changes: Any) -> Path:
    """A study on made-up problems of GSM8K's form, with a scripted student."""
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True, exist_ok=True)
    for split, start in (("train", 0), ("test", 100)):
        lines = [json.dumps(word_problem(f"gsm8k-{split}-{number}", start + number)) for number in range(24)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    recipe: dict[str, Any] = {
        "study": "arms",
        "run_dir": str(tmp_path / "run"),
        "cache": str(tmp_path / "cache.sqlite"),
        "task": {"name": "gsm8k", "data_dir": str(tmp_path / "data"), "validation": 0},
        "teachers": {"rules": {"kind": "rules"}},
        "students": {"follower": {"model": "scripted:tests.arm_scripts:follower"}},
        "evaluation": {"batch_size": 4},
        "arms": {"standard": {}},
        **changes,
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def word_problem(key: str, number: int) -> dict[str, str]:
    """Two calculations; no two problems are alike."""
    boxes, pens, given = 3 + number % 7, 11 + number, 2 + number % 5
    total = boxes * pens
    left = total - given
    return {
        "id": key,
        "question": f"Tom buys {boxes} boxes of {pens} pens each and gives {given} pens away. How many are left?",
        "answer": f"He buys {boxes}*{pens} = <<{boxes}*{pens}={total}>>{total} pens.\n"
        f"He keeps {total}-{given} = <<{total}-{given}={left}>>{left} pens.\n#### {left}",
    }


def rows(tmp_path: Path, arm: str, stage: str = "attempts") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "run" / stage / f"{arm}.jsonl").read_text().splitlines()]


def run(path: Path) -> Report:
    loaded = pipeline.load(path)
    pipeline.run(loaded, quiet=True)
    return pipeline.report_of(loaded)


def test_a_student_that_follows_what_is_put_into_its_mouth(tmp_path: Path) -> None:
    arms = {
        "standard": {},
        "forced": {"forced": "correct"},
        "corrupted": {"forced": "wrong-number"},
        "foreign": {"forced": "foreign"},
        "own": {"forced": "own"},
    }
    run(arithmetic_study(tmp_path, arms=arms))
    for arm, right in (("forced", True), ("corrupted", False), ("foreign", False)):
        asked = [row for row in rows(tmp_path, arm) if row["finish"] != "no-plan"]
        assert len(asked) >= 10
        known = [row for row in asked if row["follows"] is not None]
        assert len(known) > 0.8 * len(asked)
        assert sum(row["follows"] for row in known) >= 0.9 * len(known)
        share = sum(row["answer"]["outcome"] == "correct" for row in asked) / len(asked)
        assert share > 0.85 if right else share < 0.15
        assert all("\nAnswer:" in row["text"] for row in asked)
    assert all(row["text"].startswith("1. So it is.\nAnswer:") for row in rows(tmp_path, "own"))


def test_a_student_that_does_not_listen(tmp_path: Path) -> None:
    students = {"stubborn": {"model": "scripted:tests.arm_scripts:stubborn"}}
    run(arithmetic_study(tmp_path, students=students, arms={"corrupted": {"forced": "wrong-number"}}))
    known = [row["follows"] for row in rows(tmp_path, "corrupted") if row["follows"] is not None]
    assert len(known) >= 10
    assert sum(known) <= 2


def test_own_traces_where_the_student_wrote_none_are_counted(tmp_path: Path) -> None:
    students = {"stubborn": {"model": "scripted:tests.arm_scripts:stubborn"}}
    report = run(arithmetic_study(tmp_path, students=students, arms={"standard": {}, "own": {"forced": "own"}}))
    own = next(arm for arm in report.arms if arm.name == "own")
    assert own.no_plan == own.n == len(rows(tmp_path, "standard"))


def test_plans_from_gold_hold_no_results(tmp_path: Path) -> None:
    teachers = {"gold": {"kind": "gold"}}
    report = run(arithmetic_study(tmp_path, teachers=teachers, arms={"told": {"prompt": "trace-of-thought"}}))
    (arm,) = report.arms
    assert arm.plan.oracle == arm.plan.traces > 0
    assert "oracle plan" in (tmp_path / "run" / "report.md").read_text()
    for trace in rows(tmp_path, "told", "plans"):
        assert all(step["kind"] == "plan" for step in trace["steps"])
        assert "=" not in trace["text"]


def test_several_plans_are_voted_on(tmp_path: Path) -> None:
    teacher = {"kind": "model", "model": "scripted:tests.arm_scripts:planner", "samples": 3, "temperature": 1.0}
    arms = {
        "one": {"prompt": "trace-of-thought"},
        "third": {"prompt": "trace-of-thought", "plan_sample": 2},
        "vote": {"prompt": "trace-of-thought", "plans": 3, "vote": True},
    }
    prompts = {"trace-of-thought": "{problem}\n{steps}"}
    run(arithmetic_study(tmp_path, teachers={"planner": teacher}, arms=arms, prompts=prompts))
    assert {row["answer"]["extracted"] for row in rows(tmp_path, "one")} == {"5"}
    assert {row["answer"]["extracted"] for row in rows(tmp_path, "third")} == {"9"}
    votes = rows(tmp_path, "vote")
    assert Counter(row["answer"]["extracted"] for row in votes) == {"5": 2 * len(votes) / 3, "9": len(votes) / 3}
    assert sorted({row.get("sample", 0) for row in votes}) == [0, 1, 2]


def test_samples_of_one_arm_alone(tmp_path: Path) -> None:
    students = {"drawn": {"model": "scripted:tests.arm_scripts:by_sample"}}
    arms = {"greedy": {}, "drawn": {"samples": 3, "temperature": 0.7}}
    run(arithmetic_study(tmp_path, students=students, arms=arms))
    assert {row.get("sample", 0) for row in rows(tmp_path, "greedy")} == {0}
    assert {row.get("sample", 0) for row in rows(tmp_path, "drawn")} == {0, 1, 2}
    assert len(rows(tmp_path, "drawn")) == 3 * len(rows(tmp_path, "greedy"))


def test_the_vote_is_a_matter_of_the_report_alone(tmp_path: Path) -> None:
    path = arithmetic_study(tmp_path, arms={"drawn": {"samples": 3, "temperature": 0.7}})
    run(path)
    changed = pipeline.load(path, ["arms.drawn.vote=true"])
    assert pipeline.run(changed, quiet=True) == ["report"]


def test_an_intervention_on_plans_is_measured(tmp_path: Path) -> None:
    arms = {
        "told": {"prompt": "trace-of-thought"},
        "shuffled": {"prompt": "trace-of-thought", "plan": "shuffled"},
        "dropped": {"prompt": "trace-of-thought", "plan": "dropped-step"},
    }
    report = run(arithmetic_study(tmp_path, arms=arms))
    facts = report.assembly.plans
    assert facts["shuffled"].steps == facts["told"].steps or facts["shuffled"].traces < facts["told"].traces
    assert facts["dropped"].steps < facts["told"].steps
    assert all(entry.measured is not None and entry.measured.n == entry.traces for entry in facts.values())
    shown = {row["problem_id"] for row in rows(tmp_path, "dropped", "plans")}
    for row in rows(tmp_path, "dropped"):
        assert (row["finish"] == "no-plan") == (row["problem_id"] not in shown)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"plans": 2}}, "the arm's prompt has no {steps}"),
        (
            {"a": {"prompt": "trace-of-thought", "plan": "wrong-answer"}},
            "changes the answer to learn, so it cannot be applied to a trace",
        ),
        ({"a": {"forced": "wrong-answer"}}, "changes the answer to learn, so it cannot be applied to a trace"),
        ({"a": {"vote": True}}, "a vote needs several attempts per problem"),
        ({"a": {"forced": "nonsense"}}, "unknown name 'nonsense'"),
    ],
)
def test_arms_that_make_no_sense(tmp_path: Path, arms: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        pipeline.load(arithmetic_study(tmp_path, arms=arms))
    assert message in str(caught.value)


def test_plans_that_nobody_makes_are_told_before_anything_is_paid(tmp_path: Path) -> None:
    planner = {"kind": "model", "model": "scripted:tests.arm_scripts:planner", "samples": 2, "temperature": 1}
    for arm in ({"plans": 3}, {"plan_sample": 2}):
        arms = {"a": {"prompt": "trace-of-thought", **arm}}
        with pytest.raises(InputError, match="shows plan number 3, but its teacher makes 2: set samples"):
            pipeline.load(arithmetic_study(tmp_path, teachers={"planner": planner}, arms=arms))


def test_determinism_of_a_scripted_student(tmp_path: Path) -> None:
    loaded = pipeline.load(arithmetic_study(tmp_path))
    found = pipeline.check_determinism(loaded, 8, quiet=True)
    assert [line["batch_size"] for line in found["standard"]] == [1, 2, 8]
    assert all(line["n"] == 8 and line["texts_changed"] == 0 for line in found["standard"])
    assert (tmp_path / "run" / "determinism.json").exists()


def test_whose_error_it_was(tmp_path: Path) -> None:
    """Planted: a wrong operand where the pens are even, a wrong product where there are five boxes."""
    teachers = {
        "planner": {
            "kind": "model",
            "model": "scripted:tests.arm_scripts:flawed_planner",
            "samples": 2,
            "temperature": 1.0,
        },
        "gold": {"kind": "gold"},
    }
    arms = {
        "told": {"teacher": "planner"},
        "told-gold": {"teacher": "gold"},
        "told-again": {"teacher": "planner", "plan_sample": 1},
    }
    changes = {
        "teachers": teachers,
        "students": {"executor": {"model": "scripted:tests.arm_scripts:flawed_executor"}},
        "base": {"prompt": "trace-of-thought", "samples": 5, "temperature": 0.7},
        "arms": arms,
        "attribution": [{"plan": "told", "gold": "told-gold", "again": "told-again"}],
    }
    report = run(arithmetic_study(tmp_path, **changes))
    labels = {row["problem_id"]: row["label"] for row in rows(tmp_path, "told", "attribution")}
    expected = {}
    for number in range(24):
        boxes, pens = 3 + (100 + number) % 7, 111 + number
        bad_plan, bad_hand = pens % 2 == 0, boxes == 5
        kind = "both" if bad_plan and bad_hand else "teacher" if bad_plan else "student" if bad_hand else "solved"
        expected[f"gsm8k-test-{number}"] = kind
    assert set(expected.values()) == {"both", "teacher", "student", "solved"}
    assert sum(labels[key] == kind for key, kind in expected.items()) >= 0.95 * len(expected)
    table = json.loads((tmp_path / "run" / "attribution" / "told.json").read_text())
    assert (table["teacher"], table["student"], table["items"]) == ("planner", "executor", 24)
    assert table["without_plan"] == []
    to_read = (tmp_path / "run" / "attribution" / "told.failures.md").read_text()
    assert to_read.count("### Plan") == table["failures"]
    assert any(section.key.startswith("attribution") for section in report.sections)


def test_problems_without_a_plan_are_told_beside_the_attribution(tmp_path: Path) -> None:
    """The planner stays silent about every other problem: these are no items, and the page says so."""
    teachers = {
        "planner": {"kind": "model", "model": "scripted:tests.arm_scripts:silent_on_even_pens"},
        "gold": {"kind": "gold"},
    }
    changes = {
        "teachers": teachers,
        "students": {"executor": {"model": "scripted:tests.arm_scripts:flawed_executor"}},
        "base": {"prompt": "trace-of-thought"},
        "arms": {"told": {"teacher": "planner"}, "told-gold": {"teacher": "gold"}},
        "attribution": [{"plan": "told", "gold": "told-gold"}],
    }
    report = run(arithmetic_study(tmp_path, **changes))
    table = json.loads((tmp_path / "run" / "attribution" / "told.json").read_text())
    assert (table["items"], len(table["without_plan"])) == (12, 12)
    section = next(section for section in report.sections if section.key == "attribution")
    assert any("told: 12 further problems have no plan" in note for note in section.notes)


def test_attribution_wants_arms_that_show_plans(tmp_path: Path) -> None:
    changes = {"arms": {"a": {}, "b": {"prompt": "trace-of-thought"}}, "attribution": [{"plan": "b", "gold": "a"}]}
    with pytest.raises(InputError, match=r"attribution\[0\].gold: this arm's prompt has no \{steps\}"):
        pipeline.load(arithmetic_study(tmp_path, **changes))


def test_a_student_behind_an_endpoint_is_paid_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", KEY)
    with running(Behaviour(faults=0.3, kinds=("429", "500", "half-json", "empty"), retry_after=0.01)) as server:
        students = {"far": {"model": "stub", "base_url": server.url, "key_env": "FAR_KEY"}}
        arms = {"standard": {}, "served": {"served": "my-adapter"}, "told": {"prompt": "trace-of-thought"}}
        path = arithmetic_study(tmp_path, students=students, arms=arms)
        report = run(path)
        paid = server.ledger.summary()
        assert (paid["paid_keys"], paid["duplicates"]) == (3 * 24, 0)
        assert [arm.kind for arm in report.arms] == ["in context", "served", "in context"]
        texts = {arm: [row["text"] for row in rows(tmp_path, arm)] for arm in arms}
        assert all("Answer:" in text for text in texts["standard"])
        assert texts["standard"] != texts["served"], "another model at the endpoint"
        for arm in arms:
            (tmp_path / "run" / "generations" / f"{arm}.jsonl").unlink()
        run(path)
        assert server.ledger.summary()["paid"] == paid["paid"], "what was bought is in the cache"
        assert {arm: [row["text"] for row in rows(tmp_path, arm)] for arm in arms} == texts
    for file in (tmp_path / "run").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()


def test_failed_calls_of_an_endpoint_are_told_first_and_asked_again(tmp_path: Path) -> None:
    with running(Behaviour()) as server:
        students = {"far": {"model": "stub", "base_url": server.url}}
        path = arithmetic_study(tmp_path, students=students, arms={"standard": {}})
        server.service.behaviour.rejects = "7"
        first = run(path)
        calls = server.ledger.calls
        failed = [row for row in rows(tmp_path, "standard") if row["finish"] == "error"]
        assert 0 < len(failed) < 24
        assert all("this prompt is not liked" in row["error"] for row in failed)
        assert first.findings[0].startswith(f"standard: {len(failed)} of 24 calls to its endpoint failed")
        server.service.behaviour.rejects = ""
        second = run(path)
        assert server.ledger.calls == calls + len(failed), "the failed ones alone"
        assert not any("failed" in finding for finding in second.findings)
        assert not any(row["finish"] == "error" for row in rows(tmp_path, "standard"))
        run(path)
        assert server.ledger.calls == calls + len(failed), "complete now"


def test_two_targets_are_two_rows_behind_a_mark_each(tmp_path: Path) -> None:
    students = {"any": {"model": "scripted:tests.arm_scripts:follower", "system": "Be brief.", "system_role": "user"}}
    arms = {"one": {"tune": "correct"}, "two": {"tune": "correct", "rationale_weight": 0.5}}
    loaded = pipeline.load(arithmetic_study(tmp_path, students=students, arms=arms))
    pipeline.run(loaded, "assemble", quiet=True)
    one, two = rows(tmp_path, "one", "sft"), rows(tmp_path, "two", "sft")
    assert len(two) == 2 * len(one)
    answer, rationale = two[:2]
    assert [row["prompt"][-1]["content"].split(" ")[0] for row in (answer, rationale)] == ["[label]", "[rationale]"]
    assert answer["completion"].startswith("Answer:")
    assert "Answer:" not in rationale["completion"]
    for row in (*one, *two):
        assert [message["role"] for message in row["prompt"]] == ["user"], "no system turn"
        assert "Be brief." in row["prompt"][0]["content"]


def test_interventions_are_made_on_the_rows_that_arms_share(study_file: Callable[..., Path], tmp_path: Path) -> None:
    """A mask drops rows; labels and traces dealt out before that would not keep their frequencies."""
    arms = {
        "correct": {"tune": "correct"},
        "wrong-class": {"tune": "wrong-class"},
        "foreign": {"tune": "foreign"},
        "masked": {"tune": "right-facts-answer-masked"},
    }
    task = {"name": "babi", "train": 300, "validation": 0, "test": 5}
    loaded = pipeline.load(study_file(task=task, arms=arms, comparisons=[]))
    pipeline.run(loaded, "assemble", quiet=True)
    assembly = json.loads((tmp_path / "run" / "assembly.json").read_text())
    assert 150 < assembly["rows"] < 290, "some problems have no trace that could be masked"
    for arm, facts in assembly["arms"].items():
        assert facts["broken"] == [], arm
        assert facts["measured"]["n"] == assembly["rows"]
