from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATA
from tracedistill import pipeline
from tracedistill.chat.prompts import PROMPTS, TEACHER_PROMPTS, fill
from tracedistill.engines.cache import GenerationCache
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl, read_lines
from tracedistill.recipes import TeacherConfig
from tracedistill.records import Trace
from tracedistill.tasks import get_task
from tracedistill.teachers import read_recorded

StudyFile = Callable[..., Path]
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here (set TRACEDISTILL_DATA)")
PLAN_ARM = {"trace-of-thought": {"prompt": "trace-of-thought"}}


@pytest.fixture
def study(study_file: StudyFile, tmp_path: Path) -> Callable[..., pipeline.LoadedStudy]:
    def load(teachers: dict[str, dict[str, Any]], **changes: Any) -> pipeline.LoadedStudy:
        settings: dict[str, Any] = {"arms": PLAN_ARM, "comparisons": [], "cache": str(tmp_path / "cache.sqlite")}
        settings |= changes
        return pipeline.load(study_file(teachers=teachers, **settings))

    return load


def traces_of(loaded: pipeline.LoadedStudy, teacher: str) -> list[Trace]:
    return list(read_jsonl(loaded.study.folder / "traces" / f"{teacher}.jsonl", Trace))


def test_a_model_teachers_failures_are_counted_and_nothing_is_paid_twice(study: Any, tmp_path: Path) -> None:
    loaded = study({"planner": {"kind": "model", "model": "scripted:tests.teacher_scripts:planner"}})
    pipeline.run(loaded, quiet=True)
    traces = traces_of(loaded, "planner")
    failures = [row for _, row in read_lines(loaded.study.folder / "traces" / "planner.failures.jsonl")]
    assert len(traces) + len(failures) == 16, "test problems alone: no arm needs this teacher's plans of others"
    assert {row["finish"] for row in failures} == {"length", "refusal"}
    assert all(step.kind == "plan" for trace in traces for step in trace.steps)
    assert all(trace.answer is None and not trace.oracle for trace in traces)
    (arm,) = pipeline.report_of(loaded).arms
    assert arm.n == 16, "problems without a plan stay in the denominator"
    assert arm.no_plan == len(failures)
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        before = cache.balance("small").spent.calls
    (loaded.study.folder / "traces" / "planner.jsonl").unlink()
    assert pipeline.run(loaded, quiet=True) == ["teach:planner"], "the same traces out of the cache"
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        assert cache.balance("small").spent.calls == before


def test_samples_have_distinct_seeds_and_ids(study: Any) -> None:
    teacher = {"kind": "model", "model": "scripted:tests.teacher_scripts:planner", "samples": 3, "temperature": 0.7}
    loaded = study({"planner": teacher})
    pipeline.run(loaded, "teach", quiet=True)
    traces = traces_of(loaded, "planner")
    assert len({trace.trace_id for trace in traces}) == len(traces)
    assert {trace.sample for trace in traces} == {0, 1, 2}


def test_who_is_shown_the_gold_is_an_oracle_and_stays_one_in_chains(study: Any) -> None:
    echo = {"kind": "model", "model": "scripted:tests.teacher_scripts:echo"}
    teachers = {
        "hinted": {**echo, "prompt": "plan-with-hint"},
        "revised": {**echo, "prompt": "critique-and-revise", "source": "hinted"},
        "plain": {**echo, "prompt": "delegation"},
    }
    arms = {name: {"prompt": "trace-of-thought", "teacher": name} for name in ("revised", "plain")}
    loaded = study(teachers, arms=arms)
    made = pipeline.run(loaded, quiet=True)
    assert made.index("teach:hinted") < made.index("teach:revised")
    assert all(trace.oracle for trace in traces_of(loaded, "hinted"))
    assert all(trace.oracle for trace in traces_of(loaded, "revised"))
    assert not any(trace.oracle for trace in traces_of(loaded, "plain"))
    plans = {arm.name: arm.plan.oracle for arm in pipeline.report_of(loaded).arms}
    assert plans == {"revised": 16, "plain": 0}


def test_structured_and_reasoning_teachers(study: Any) -> None:
    teachers = {
        "json": {"kind": "model", "model": "scripted:tests.teacher_scripts:structured", "prompt": "structured"},
        "thinker": {"kind": "model", "model": "scripted:tests.teacher_scripts:thinker", "prompt": "reasoning"},
    }
    arms = {name: {"prompt": "trace-of-thought", "teacher": name} for name in teachers}
    loaded = study(teachers, arms=arms)
    pipeline.run(loaded, "teach", quiet=True)
    assert {(trace.steps[0].text, trace.answer) for trace in traces_of(loaded, "json")} == {
        ("Look for the place.", "garden")
    }
    assert {trace.answer for trace in traces_of(loaded, "thinker")} == {"garden"}
    assert all("She went to the garden" in trace.text for trace in traces_of(loaded, "thinker"))


def test_a_model_teachers_validated_traces_become_rows(study: Any) -> None:
    teacher = {"kind": "model", "model": "scripted:tests.teacher_scripts:good", "prompt": "worked"}
    loaded = study(
        {"good": teacher},
        arms={"correct-trace": {"tune": "correct"}, "answer-only": {"tune": "none"}},
        prompts={"worked": "{problem}"},
    )
    pipeline.run(loaded, "assemble", quiet=True)
    verdicts = [row for _, row in read_lines(loaded.study.folder / "validation" / "good.jsonl")]
    assert len(verdicts) == 20
    assert all(row["accepted"] for row in verdicts)
    rows = [row for _, row in read_lines(loaded.study.folder / "sft" / "correct-trace.jsonl")]
    assert len(rows) == 20
    assert rows[0]["completion"].startswith("Question type: ")


def test_the_student_as_its_own_teacher(study: Any) -> None:
    students = {"small": {"model": "scripted:tests.teacher_scripts:echo"}}
    loaded = study({"self": {"kind": "student", "prompt": "delegation"}}, students=students)
    pipeline.run(loaded, "teach", quiet=True)
    assert len(traces_of(loaded, "self")) == 16


def test_a_changed_word_asks_again_and_cheaper_calls_do_not(study: Any) -> None:
    teacher = {"kind": "model", "model": "scripted:tests.teacher_scripts:planner"}
    pipeline.run(study({"planner": teacher}), "teach", quiet=True)
    cheaper = study({"planner": {**teacher, "usd_per_million_in": 0.1, "concurrency": 2}})
    assert pipeline.run(cheaper, "teach", quiet=True) == []
    other = study({"planner": {**teacher, "system": "You are brief."}})
    assert pipeline.run(other, "teach", quiet=True) == ["teach:planner"]


def test_budget_stops_cleanly_and_a_larger_one_goes_on(study: Any) -> None:
    teacher = {"kind": "model", "model": "scripted:tests.teacher_scripts:planner"}
    with pytest.raises(InputError, match="budget"):
        pipeline.run(study({"planner": teacher}, budget={"calls": 5}), "teach", quiet=True)
    loaded = study({"planner": teacher}, budget={"calls": 16})
    pipeline.run(loaded, "teach", quiet=True)
    assert traces_of(loaded, "planner")


def test_dry_run_shows_prompt_and_cost_and_calls_nothing(
    study: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loaded = study({"planner": {"kind": "model", "model": "scripted:tests.scripts:never"}})
    with pytest.raises(InputError, match="cannot import"):
        pipeline.dry_run(loaded)
    loaded = study({"planner": {"kind": "model", "model": "scripted:tests.teacher_scripts:planner"}})
    pipeline.dry_run(loaded)
    shown = capsys.readouterr().out
    assert "16 requests, 0 of them in the cache; 16 calls to make" in shown
    assert "Create very short step-by-step prompts" in shown
    assert not (loaded.study.folder / "traces").exists()


@pytest.mark.parametrize(
    ("teachers", "words"),
    [
        ({"a": {"kind": "model"}}, "a model teacher needs `model`"),
        ({"a": {"kind": "recorded"}}, "a recorded teacher needs `path`"),
        ({"a": {"kind": "model", "model": "m", "prompt": "delegatoin"}}, "did you mean 'delegation'"),
        ({"a": {"kind": "model", "model": "m", "samples": 2}}, "several samples at temperature 0"),
        ({"a": {"kind": "model", "model": "m", "mode": "batch"}}, "batch needs an endpoint"),
        ({"a": {"kind": "model", "model": "m", "source": "b"}}, "unknown teacher 'b'"),
        ({"a": {"kind": "student", "student": "x"}}, "unknown student 'x'"),
    ],
)
def test_recipes_that_cannot_work(study: Any, teachers: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        study(teachers)


def test_a_prompt_on_nobodys_traces_and_circles(study: Any) -> None:
    model = {"kind": "model", "model": "scripted:tests.teacher_scripts:echo", "prompt": "summary"}
    with pytest.raises(InputError, match="set `source`"):
        pipeline.run(study({"a": model}), quiet=True)
    circle = {"a": {**model, "source": "b"}, "b": {**model, "source": "a"}}
    with pytest.raises(InputError, match="cycle"):
        pipeline.run(study(circle, arms={"t": {"prompt": "trace-of-thought", "teacher": "a"}}), quiet=True)


@needs_data
def test_recorded_plans_of_the_published_study(study: Any) -> None:
    recorded = {
        "kind": "recorded",
        "path": str(DATA / "published_outputs" / "trace_of_thought.jsonl.gz"),
        "columns": {"text": "plan"},
        "where": {"teacher": "gpt4", "student": "gpt3point5", "dataset": "gsm8k"},
        "reads": "plan",
    }
    task = {"name": "gsm8k", "data_dir": str(DATA), "train": 5, "validation": 0}
    loaded = study({"gpt4": recorded}, task=task)
    pipeline.run(loaded, "validate", quiet=True)
    traces = traces_of(loaded, "gpt4")
    assert len(traces) == len({trace.problem_id for trace in traces}) == 200
    assert all(step.kind == "plan" for trace in traces for step in trace.steps)


@needs_data
def test_recorded_traces_in_nested_columns(study: Any) -> None:
    recorded = {
        "kind": "recorded",
        "path": str(DATA / "teacher_traces" / "gsm8k_llama_gemini.jsonl.gz"),
        "columns": {"problem_id": "id", "text": "traces.llama_l2.0"},
        "reads": "solution",
    }
    task = {"name": "gsm8k", "data_dir": str(DATA), "train": 60, "validation": 0, "test": 5}
    loaded = study({"llama": recorded}, task=task, arms={"correct-trace": {"tune": "correct"}})
    pipeline.run(loaded, "assemble", quiet=True)
    traces = traces_of(loaded, "llama")
    assert len(traces) >= 55
    assert sum(trace.answer is not None for trace in traces) >= 55
    verdicts = [row for _, row in read_lines(loaded.study.folder / "validation" / "llama.jsonl")]
    assert 30 <= sum(row["accepted"] for row in verdicts) < len(verdicts), "some are right, some refused with a reason"


def test_a_recorded_trace_may_be_of_several_columns(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    file.write_text(json.dumps({"problem_id": "p", "plan": "1. Add both.", "check": "2. Check it."}) + "\n")
    config = TeacherConfig(kind="recorded", columns={"text": "{plan}\n{check}"})
    (trace,) = read_recorded(get_task("gsm8k"), config, file, {"p"}, "gpt4", "plan")
    assert (trace.text, len(trace.steps)) == ("1. Add both.\n2. Check it.", 2)


@pytest.mark.parametrize(
    ("row", "words"),
    [({"problem_id": "babi-s0-test-0", "txt": "1. Look."}, "row 1: no column 'text'; it has: problem_id, txt"),
     ({"problem_id": "babi-s0-test-0", "text": 5}, "row 1: the trace of babi-s0-test-0 is int, not text")],
)  # fmt: skip
def test_bad_rows_of_recorded_traces(study: Any, tmp_path: Path, row: dict[str, Any], words: str) -> None:
    path = tmp_path / "recorded.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match=words):
        pipeline.run(study({"r": {"kind": "recorded", "path": str(path), "reads": "plan"}}), quiet=True)


def test_published_prompts_to_the_letter() -> None:
    asked = fill(TEACHER_PROMPTS["delegation"], problem="Q?")
    assert asked == (
        "Create very short step-by-step prompts for the following problem: Q?. Format as a list. "
        "Do not solve the problem."
    )
    asked = fill(TEACHER_PROMPTS["delegation-published"], problem="Q?")
    assert asked == (
        "Create step-by-step prompts for this problem:Q?Format as a list of simple instructions to guide a student. "
        "Do not solve the problem."
    )
    solved = fill(PROMPTS["trace-of-thought-published"], problem="Q?", steps="1. S", hint="H")
    assert solved.startswith(
        "First, carefully review this problem:\nQ?\n"
        "Then, solve the problem using the provided steps as a plan, thinking step-by-step.\n1. S"
    )


def test_problems_that_rules_have_nothing_to_say_about_are_counted(study: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [
        {"question": f"What is {n} + 1?", "answer": n + 1, "steps": [f"{n} + 1 = {n + 1}"] if n % 2 else []}
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = study(
        {"rules": {"kind": "rules"}}, task={"name": "file", "path": str(path)}, arms={"t": {"tune": "correct"}}
    )
    pipeline.run(loaded, "teach", quiet=True)
    failures = [row for _, row in read_lines(loaded.study.folder / "traces" / "rules.failures.jsonl")]
    assert {row["cause"] for row in failures} == {"the task has no rules for this problem"}
    assert len(failures) == 30
    assert len(traces_of(loaded, "rules")) == 30
