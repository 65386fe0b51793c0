"""The validate stage with a model judge, its audit on the command line, and the report's section on teachers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.engines.cache import GenerationCache
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_jsonl, read_lines
from tracedistill.records import Step, StepVerdict, Trace, Verdict
from tracedistill.validation import Validation
from tracedistill.validation.judge_verdicts import JudgeTally, items_for, judged_of
from tracedistill.validation.labels import read_labels
from tracedistill.validation.model_judge import ModelVerdict

StudyFile = Callable[..., Path]
PLANNER = {"kind": "model", "model": "scripted:tests.teacher_scripts:planner"}
JUDGE = {"kind": "model", "model": "scripted:tests.teacher_scripts:judge", "usd_per_million_in": 2.0}


@pytest.fixture
def study(study_file: StudyFile, tmp_path: Path) -> Callable[..., pipeline.LoadedStudy]:
    def load(referee: dict[str, Any] = JUDGE, planner: dict[str, Any] = PLANNER, **rule: Any) -> pipeline.LoadedStudy:
        arms = {"trace-of-thought": {"prompt": "trace-of-thought", "teacher": "planner"}}
        rule = {"judge": "referee", **rule}
        file = study_file(
            teachers={"planner": planner, "referee": referee}, arms=arms, comparisons=[], validation=rule,
            cache=str(tmp_path / "cache.sqlite"),
        )  # fmt: skip
        return pipeline.load(file)

    return load


def verdicts_of(loaded: pipeline.LoadedStudy) -> list[Validation]:
    return list(read_jsonl(loaded.study.folder / "validation" / "planner.jsonl", Validation))


def report_of(loaded: pipeline.LoadedStudy) -> dict[str, Any]:
    return dict(read_json(loaded.study.folder / "validation" / "planner.report.json"))


def test_a_judge_decides_what_rules_leave_open_and_is_paid_once(study: Any, tmp_path: Path) -> None:
    loaded = study()
    made = pipeline.run(loaded, "validate", quiet=True)
    assert made == ["problems", "teach:planner", "validate:planner"], "a judge is no teacher that must be asked"
    verdicts = verdicts_of(loaded)
    assert verdicts
    for verdict in verdicts:
        assert verdict.trace.outcome == "undecided", "the rules' verdict stays as it is"
        assert verdict.judged is not None
        assert (verdict.judged.outcome, verdict.judged.decided_by) == ("correct", "model")
        assert verdict.judged.quote == "Find out where the person went last"
    figures = report_of(loaded)["judge"]
    assert (figures["judge"], figures["plans"], figures["decided"]) == ("referee", len(verdicts), len(verdicts))
    assert (figures["refused"], figures["disagreements"], figures["void"]) == (0, 0, {})
    usage = read_json(loaded.study.folder / "validation" / "planner.usage.json")
    assert usage["requests"] == figures["plans"] + figures["steps"]
    assert usage["bought"] > 0
    assert usage["usd"] > 0
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        before = cache.balance("small").spent.calls
    written = (loaded.study.folder / "validation" / "planner.jsonl").read_bytes()
    (loaded.study.folder / "validation" / "planner.jsonl").unlink()
    pipeline.run(loaded, "validate", quiet=True)
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        assert cache.balance("small").spent.calls == before
    assert (loaded.study.folder / "validation" / "planner.jsonl").read_bytes() == written
    assert read_json(loaded.study.folder / "validation" / "planner.usage.json") == usage, "as if nothing had happened"


@pytest.mark.parametrize(("keep", "accepted"), [("correct", 0), ("parsed", None)])
def test_what_only_a_judge_finds_wrong_is_refused_where_the_rule_wants_correct_ones(
    study: Any, keep: str, accepted: int | None
) -> None:
    loaded = study({**JUDGE, "model": "scripted:tests.teacher_scripts:strict_judge"}, keep=keep)
    pipeline.run(loaded, "validate", quiet=True)
    verdicts = verdicts_of(loaded)
    assert sum(verdict.accepted for verdict in verdicts) == (len(verdicts) if accepted is None else accepted)
    figures = report_of(loaded)
    assert figures["judge"]["refused"] == (0 if accepted is None else len(verdicts))
    if accepted is not None:
        assert {verdict.reason for verdict in verdicts} == {"model judge referee says incorrect: I never like it"}
        assert figures["reasons"] == {"model judge referee says incorrect": len(verdicts)}


def test_a_changed_judge_judges_again_and_a_cheaper_one_does_not(study: Any) -> None:
    pipeline.run(study(), "validate", quiet=True)
    assert pipeline.run(study({**JUDGE, "usd_per_million_in": 1.0}), "validate", quiet=True) == []
    changed = study({**JUDGE, "system": "Be strict."})
    assert pipeline.run(changed, "validate", quiet=True) == ["validate:planner"]
    assert pipeline.run(study(judge_asks="all"), "validate", quiet=True) == ["validate:planner"]
    assert pipeline.run(study(judge="none"), "validate", quiet=True) == ["validate:planner"]
    assert report_of(study(judge="none"))["judge"] is None


def test_the_budget_holds_for_the_judge_too(study_file: StudyFile, study: Any) -> None:
    loaded = study()
    calls = len([*read_lines_after_teaching(loaded)])
    limited = pipeline.load(loaded.recipe, [f"budget.calls={16 + calls // 100}"])
    with pytest.raises(InputError, match="budget"):
        pipeline.run(limited, "validate", quiet=True)


def read_lines_after_teaching(loaded: pipeline.LoadedStudy) -> Any:
    pipeline.run(loaded, "teach", quiet=True)
    return read_lines(loaded.study.folder / "traces" / "planner.jsonl")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"judge": "referre"}, r"validation.judge.*unknown teacher 'referre'; did you mean 'referee'\?; or none"),
        ({"judge": "rules"}, "'rules' is a teacher of kind rules; a judge must be of kind model"),
        ({"judge_asks": "some"}, "'some' is not one of undecided, all"),
    ],
)
def test_judges_that_cannot_work(study_file: StudyFile, rule: dict[str, str], words: str) -> None:
    teachers = {"rules": {"kind": "rules"}, "referee": JUDGE}
    arms = {"standard": {"teacher": "rules"}}
    with pytest.raises(InputError, match=words):
        pipeline.load(study_file(teachers=teachers, arms=arms, comparisons=[], validation=rule))


# ---- rules and model side by side

STEPS = (Step("plan", "Add 3 and 4."), Step("plan", "Double the sum."))
TRACE = Trace("t", "p", "x", STEPS, "1. Add 3 and 4.\n2. Double the sum.")


def rule(outcome: Any, *steps: Any) -> Verdict:
    parts = tuple(StepVerdict(index, "plan", step) for index, step in enumerate(steps))
    return Verdict(outcome, reason="as rules say", steps=parts)


def test_what_is_asked() -> None:
    assert [item.item_id for item in items_for("Q", TRACE, rule("undecided", "correct", "undecided"))] == ["t", "t/1"]
    assert list(items_for("Q", TRACE, rule("correct", "correct", "undecided"))) == []
    every = items_for("Q", TRACE, rule("correct", "correct", "undecided"), ask_all=True)
    assert [item.item_id for item in every] == ["t", "t/0", "t/1"]
    solved = Trace("t", "p", "x", (Step("calculation", "3 + 4 = 7"),), "3 + 4 = 7")
    assert list(items_for("Q", solved, rule("correct", "correct"), ask_all=True)) == []


def test_a_rule_is_never_overruled_and_disagreements_are_listed() -> None:
    said = {
        "t": ModelVerdict("t", "incorrect", "Double", "no doubling"),
        "t/0": ModelVerdict("t/0", "correct", "Add 3"),
        "t/1": ModelVerdict("t/1", "incorrect", "Double", "no"),
    }
    decided = rule("correct", "correct", "undecided")
    judged = judged_of("referee", "t", decided, said)
    assert judged is not None
    assert (judged.outcome, judged.decided_by, judged.disagree) == ("correct", "rule", True)
    assert "a model says incorrect: no doubling" in judged.reason
    assert [step.decided_by for step in judged.steps] == ["rule", "model"]
    tally = JudgeTally("referee")
    tally.add("t", decided, judged, refused=False)
    figures = tally.report()
    assert (figures.disagreements, figures.disagreeing, figures.decided) == (1, ("t",), 0)
    assert figures.outcomes == {"incorrect": 1}
    assert figures.step_outcomes == {"correct": 1, "incorrect": 1}
    assert judged_of("referee", "other", decided, said) is None


def test_void_verdicts_and_inconsistent_ones_are_counted() -> None:
    said = {"t": ModelVerdict("t", "undecided", void="no verdict can be read", said="hm")}
    open_rule = rule("undecided", "undecided", "undecided")
    void = judged_of("referee", "t", open_rule, said)
    assert void is not None
    assert (void.decided_by, void.said) == ("nobody", "hm")
    torn = judged_of(
        "referee", "t", open_rule,
        {"t": ModelVerdict("t", "correct", "Add 3 and 4"), "t/1": ModelVerdict("t/1", "incorrect", "Double")},
    )  # fmt: skip
    assert torn is not None
    assert torn.inconsistent
    tally = JudgeTally("referee")
    for judged in (void, torn):
        tally.add("t", open_rule, judged, refused=False)
    figures = tally.report()
    assert (figures.void, figures.inconsistent) == ({"no verdict can be read": 1}, 1)
    assert figures.outcomes == {"void": 1, "correct": 1}


# ---- audit-judge


def labelled(tmp_path: Path, **changes: Any) -> Path:
    rows = [
        {"problem": "Where is Ann?", "kind": "plan", "text": text, "label": label, "problem_id": f"p{number % 3}"}
        for number in range(6)
        for text, label in (
            (f"1. Find out where the person went last.\n2. Say {number}.", "correct"),
            (f"1. Find out where the person went last, by sabotage {number}.", "incorrect"),
        )
    ]
    rows.append({**rows[0], "kind": "step", "text": "1. Find out where the person went last.", "plan": "1. Find."})
    rows[0] |= changes
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_audit_judge_prints_and_writes_its_figures_and_pays_once(
    study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = str(study().recipe), tmp_path / "audit.json"
    command = ["audit-judge", recipe, "--labels", str(labelled(tmp_path)), "--judge", "referee", "--out", str(out)]
    assert main(command) == 0
    shown = capsys.readouterr().out
    for words in ("judge referee: 13 labelled rows", "agrees, of decided rows", "false positives", "position", "length",
                  "void 6: the quoted evidence does not occur"):  # fmt: skip
        assert words in shown
    figures = read_json(out)
    assert figures["agreement"]["successes"] == figures["agreement"]["n"] == 7
    assert {"low", "high"} <= set(figures["agreement"])
    assert figures["void"] == 6
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        before = cache.balance("small").spent.calls
    assert before > 0
    assert main([*command, "--quiet"]) == 0
    assert "first prompt" not in capsys.readouterr().out
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        assert cache.balance("small").spent.calls == before
    assert not (tmp_path / "run").exists(), "an audit needs no run folder"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"label": "good"}, "row 1: label is 'good', not correct or incorrect"),
        ({"kind": "trace"}, "row 1: kind is 'trace', not plan or step"),
        ({"text": " "}, "row 1: no text; every row needs problem, kind, text, label"),
        ({"id": "row 2"}, "row 2: duplicate id 'row 2'"),
    ],
)
def test_bad_labels(tmp_path: Path, changes: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        list(read_labels(labelled(tmp_path, **changes)))


def test_audit_of_what_is_no_judge(study: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(study().recipe)
    assert main(["audit-judge", recipe, "--labels", str(labelled(tmp_path)), "--judge", "nobody"]) == 2
    assert "no such teacher of kind model in the recipe; it has: planner, referee" in capsys.readouterr().err


# ---- the report


def test_the_report_tells_what_teachers_cost_and_what_leaks(study: Any) -> None:
    hinted = {"kind": "model", "model": "scripted:tests.teacher_scripts:hinted", "prompt": "plan-with-hint"}
    loaded = study({**JUDGE, "model": "scripted:tests.teacher_scripts:strict_judge"}, hinted)
    pipeline.run(loaded, quiet=True)
    report = pipeline.report_of(loaded)
    (teacher,) = report.teachers
    assert (teacher.name, teacher.requests, teacher.traces, teacher.oracle) == ("planner", 16, 16, 16)
    assert teacher.failures == {}
    assert teacher.tokens_in > 0
    assert teacher.usd == 0
    assert sum(cell[1] for cell in teacher.by_difficulty.values()) == 16
    assert sum(cell[1] for cell in teacher.by_length.values()) == 16
    assert teacher.leaks.genuine.successes == teacher.leaks.eligible
    (arm,) = report.arms
    without = arm.without_leaks
    assert without.leaking + without.n == 16
    assert without.leaking > 0
    page = (loaded.study.folder / "report.html").read_text()
    assert "<h2>Teachers</h2>" in page
    assert "without the problems whose plan leaks" in page
    assert "model judge referee" in page


def test_failures_stand_in_the_report_by_cause(study: Any) -> None:
    loaded = study(judge="none")
    pipeline.run(loaded, quiet=True)
    (teacher,) = pipeline.report_of(loaded).teachers
    assert set(teacher.failures) == {"cut off", "refusal"}
    assert teacher.failed == sum(teacher.failures.values()) == 16 - teacher.traces
    (arm,) = pipeline.report_of(loaded).arms
    assert arm.without_leaks.leaking == 0
    assert arm.without_leaks.n == 16


def test_causes_out_of_a_servers_mouth_are_text(study: Any) -> None:
    loaded = study(planner={"kind": "model", "model": "scripted:tests.teacher_scripts:hostile"}, judge="none")
    pipeline.run(loaded, quiet=True)
    (teacher,) = pipeline.report_of(loaded).teachers
    assert set(teacher.failures) == {"<script>alert(1)</script>"}
    page = (loaded.study.folder / "report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
