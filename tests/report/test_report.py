from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report_kit import arm, comparison, facts, report
from tracedistill import pipeline, stats
from tracedistill.report.findings import ONE_ADAPTER, findings, limits
from tracedistill.report.format import p_value, percent, points
from tracedistill.report.html import _forest, _mosaic
from tracedistill.report.markdown import markdown

StudyFile = Callable[..., Path]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


# ---- findings


def test_a_finding_names_the_arms_the_points_the_interval_and_the_p_value() -> None:
    assert findings(report(comparisons=[comparison(p_holm=0.002)])) == [
        (
            "correct-trace answered 23.5 points more of the 200 test problems right than answer-only "
            "(95% interval 16.0 to 31.0, p = 0.0020 after Holm)."
        )
    ]


def test_a_very_small_p_value_reads_well() -> None:
    assert "p = <" not in findings(report(comparisons=[comparison()]))[0]


def test_a_finding_says_who_is_ahead() -> None:
    behind = comparison(difference=-0.1, low=-0.18, high=-0.02, p_holm=0.012)
    assert findings(report(comparisons=[behind])) == [
        (
            "answer-only answered 10.0 points more of the 200 test problems right than correct-trace "
            "(95% interval 2.0 to 18.0, p = 0.0120 after Holm)."
        )
    ]


def test_no_finding_without_the_corrected_test() -> None:
    unsupported = comparison(p=0.04, p_holm=0.12)
    (said,) = findings(report(comparisons=[unsupported]))
    assert said.startswith("No declared comparison is significant")
    assert len(findings(report(comparisons=[unsupported, comparison()]))) == 1
    assert findings(report()) == []


def test_the_bound_itself_is_no_finding() -> None:
    assert findings(report(comparisons=[comparison(p_holm=0.05)]))[0].startswith(
        "No declared comparison is significant"
    )
    assert not findings(report(comparisons=[comparison(p_holm=0.0499)]))[0].startswith(
        "No declared comparison is significant"
    )


def test_no_finding_compares_an_oracle_plan_with_an_arm_that_had_none() -> None:
    plan = facts(9, holding_answer=9, oracle=9)
    oracle = arm(name="trace-of-thought", prompt="trace-of-thought", plan=plan)
    compared = comparison(first="trace-of-thought", second="few-shot")
    said = findings(report(oracle, arm(name="few-shot", prompt="few-shot"), comparisons=[compared]))
    assert not any("few-shot" in line for line in said)
    assert said == ["No finding: every comparison is between an arm with a plan or trace from gold and one without."]


def test_no_finding_compares_a_forced_trace_from_gold_with_an_arm_that_had_none() -> None:
    forced = arm(name="forced", forced_trace=facts(9, holding_answer=9, oracle=9))
    plain, other = arm(name="plain"), replace(forced, name="corrupted")
    compared = [comparison(first="forced", second="plain"), comparison(first="forced", second="corrupted")]
    (said,) = findings(report(forced, plain, other, comparisons=compared))
    assert said.startswith("forced answered 23.5 points more of the 200 test problems right than corrupted")
    assert forced.label == "forced (oracle trace)"
    assert replace(forced, forced_trace=facts(9)).label == "forced"


def test_one_seed_is_said_of_the_arms_that_have_one() -> None:
    """Another arm's seeds (imported, of another run) do not make one adapter more."""
    one, three = arm(name="one", kind="tuned", seeds=1), arm(name="three", kind="tuned", seeds=3)
    imported = arm(name="theirs", kind="imported", prompt=None, seeds=5)
    assert ONE_ADAPTER in limits(report(one, imported))
    assert limits(report(three))[:1] != [ONE_ADAPTER]
    assert "One adapter and one seed: one." in limits(report(one, three))[0]


# ---- limits


def test_limits_say_the_measured_share() -> None:
    plan, data = facts(200, holding_answer=145), facts(320, holding_answer=80)
    said = "\n".join(
        limits(report(arm(name="tot", plan=plan), arm(name="tuned", kind="tuned", tune="correct", data=data)))
    )
    assert "tot shows the student steps that contain the answer in 72% of the problems" in said
    assert "82%" in said, "beside the share of the original files"
    assert "tuned: its training traces contain the answer in 25% of the rows" in said
    assert "saw the gold" not in said


def test_limits_of_another_task_do_not_speak_of_babi() -> None:
    plan = facts(4, holding_answer=1, oracle=4)
    said = "\n".join(limits(report(arm(name="tot", plan=plan), task="gsm8k")))
    assert "in 25% of the problems. They were made with the gold in view." in said
    assert "82%" not in said
    assert "bAbI" not in said


def test_the_fair_baseline_is_the_arm_that_was_shown_the_format() -> None:
    tuned, plain, few = arm(name="t", kind="tuned", tune="none"), arm(name="p"), arm(name="f", prompt="few-shot")
    assert "the fair untuned baseline is f." in "\n".join(limits(report(tuned, plain, few)))
    assert "no untuned arm of this study shows the format." in "\n".join(limits(report(tuned, plain)))
    assert "baseline" not in "\n".join(limits(report(tuned, few)))
    assert "format alone" not in "\n".join(limits(report(plain, few)))


def test_prompts_that_the_window_has_no_room_for_are_a_caveat() -> None:
    said = "\n".join(limits(report(arm(name="few", too_long=3), arm(name="plain"))))
    assert "few: 3 of " in said
    assert "leave no room for max_tokens in the student's context window" in said
    assert "plain:" not in said


def test_one_adapter_supports_a_sentence_about_adapters() -> None:
    assert limits(report(arm(kind="tuned", tune="correct")))[0] == ONE_ADAPTER


def test_no_adapter_no_sentence_about_adapters() -> None:
    assert not any("adapter" in line for line in limits(report(arm())))


def test_an_incorrect_arm_is_not_said_to_hold_answers() -> None:
    data = facts(320, holding_answer=50)
    assert len(limits(report(arm(name="w", kind="tuned", tune="incorrect", data=data)))) == 1


# ---- numbers for people


@pytest.mark.parametrize(("p", "text"), [(0.0, "< 0.0001"), (0.00009, "< 0.0001"), (0.0001, "0.0001"), (1.0, "1.0000")])
def test_p_values(p: float, text: str) -> None:
    assert p_value(p) == text


def test_shares_and_points() -> None:
    assert (points(0.235), points(-0.1), points(0)) == ("23.5", "-10.0", "0.0")
    assert (percent(None), percent(0.5), percent(1)) == ("-", "50.0%", "100.0%")


# ---- the forest plot

SHARE = st.floats(-1, 1)
LABELS = {"correct-trace": "correct-trace", "answer-only": "answer-only"}


@given(st.lists(st.tuples(SHARE, SHARE, SHARE).map(sorted), min_size=1, max_size=4))
def test_the_axis_holds_every_interval_and_zero(intervals: list[list[float]]) -> None:
    plot = _forest([comparison(low=low, difference=middle, high=high) for low, middle, high in intervals], LABELS)
    ticks = [tick["x"] for tick in plot["ticks"]]
    assert (ticks[0], ticks[-1]) == (0, 100)
    assert ticks == sorted(ticks)
    assert len(ticks) <= 13
    assert {"x": 50.0, "label": "0"} in plot["ticks"]
    for row in plot["rows"]:
        assert 0 <= row["left"] <= row["x"] + 0.011
        assert row["x"] <= row["left"] + row["width"] + 0.011
        assert row["left"] + row["width"] <= 100.01
        assert row["width"] >= 0


def test_a_forest_of_zero_width() -> None:
    plot = _forest([comparison(difference=0.0, low=0.0, high=0.0)], LABELS)
    assert (plot["rows"][0]["x"], plot["rows"][0]["left"], plot["rows"][0]["width"]) == (50, 50, 0)
    assert [tick["label"] for tick in plot["ticks"]] == ["-6", "-4", "-2", "0", "+2", "+4", "+6"]
    assert _forest([], {}) == {"rows": [], "ticks": []}


@given(st.tuples(*[st.integers(0, 300)] * 4))
def test_mosaics_fill_their_place(joint: tuple[int, int, int, int]) -> None:
    n = sum(joint)
    tiles = _mosaic(arm(joint=joint))
    if n:
        assert tiles["ok_width"] + tiles["wrong_width"] == pytest.approx(100, abs=0.02)
    assert 0 <= tiles["ok_height"] <= 100
    assert 0 <= tiles["wrong_height"] <= 100


# ---- a whole report


@pytest.fixture
def made(study_file: StudyFile) -> Iterator[pipeline.LoadedStudy]:
    students = {"half": {"model": "scripted:tests.scripts:half"}, "solver": {"model": "scripted:tests.scripts:solver"}}
    arms = {
        "standard": {"student": "half"},
        "few-shot": {"student": "solver", "prompt": "few-shot", "shots": 2},
        "trace-of-thought": {"student": "solver", "prompt": "trace-of-thought"},
        "rambler": {"student": "rambler"},
    }
    students["rambler"] = {"model": "scripted:tests.scripts:rambler"}
    comparisons = [["few-shot", "standard"], ["trace-of-thought", "standard"], ["trace-of-thought", "few-shot"]]
    loaded = pipeline.load(study_file(students=students, arms=arms, comparisons=comparisons))
    pipeline.run(loaded, quiet=True)
    return loaded


def test_holm_over_the_declared_family(made: pipeline.LoadedStudy) -> None:
    entries = pipeline.report_of(made).comparisons
    assert [(entry.first, entry.second) for entry in entries] == list(made.study.comparisons)
    assert [entry.p_holm for entry in entries] == pytest.approx(list(stats.holm([entry.p for entry in entries])))
    for entry in entries:
        assert entry.p == stats.mcnemar_exact(entry.only_first, entry.only_second)
        assert entry.p_holm >= entry.p
        assert entry.difference == pytest.approx((entry.only_first - entry.only_second) / entry.n)
        assert entry.low <= entry.difference <= entry.high
    alike = entries[2]
    assert (alike.difference, alike.p) == (0, 1)
    assert alike.low < 0 < alike.high, "that nobody differed on 16 problems does not make the interval a point"


class Reader(HTMLParser):
    """Notes what is open, and every attribute that could reach out."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


def test_the_page_is_whole_and_reaches_nobody(made: pipeline.LoadedStudy) -> None:
    text = (made.study.folder / "report.html").read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.wrong == []
    assert reader.open == []
    assert {link for link in reader.links if not link.startswith("#")} == {
        f"attempts/{name}.jsonl" for name in made.study.arms
    }
    anchors = set(re.findall(r'id="([^"]+)"', text))
    assert {link[1:] for link in reader.links if link.startswith("#")} <= anchors
    assert reader.handlers == []
    assert not reader.tags & {"iframe", "object", "embed", "link", "img"}
    assert not re.search(r"(?:url\(|@import|src\s*=|fetch\(|XMLHttp|innerHTML)", text)


def test_the_page_runs_its_own_script_and_no_other(made: pipeline.LoadedStudy) -> None:
    text = (made.study.folder / "report.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in policy


def test_the_page_says_what_the_report_says(made: pipeline.LoadedStudy) -> None:
    found = pipeline.report_of(made)
    page = (made.study.folder / "report.html").read_text(encoding="utf-8")
    table = (made.study.folder / "report.md").read_text(encoding="utf-8")
    for line in (*found.findings, *found.limits):
        assert line in table
        assert line.replace("<", "&lt;") in page
    for each in found.arms:
        assert f"| {each.name} | {each.n} | {each.correct} (" in table
        assert each.name in page
    assert table == markdown(found)


def test_every_row_of_the_tables_has_the_columns_of_its_head(made: pipeline.LoadedStudy) -> None:
    lines = (made.study.folder / "report.md").read_text(encoding="utf-8").splitlines()
    for first, second in itertools.pairwise(lines):
        if first.startswith("|") and second.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", first)) == len(re.findall(r"(?<!\\)\|", second))
    page = (made.study.folder / "report.html").read_text(encoding="utf-8")
    tables = re.findall(r"<table>(.*?)</table>", page, re.DOTALL)
    assert len(tables) > 5
    for table in tables:
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        assert len({len(re.findall(r"<t[hd]\b", row)) for row in rows}) == 1


def test_the_majority_baseline_is_counted(made: pipeline.LoadedStudy) -> None:
    baseline = pipeline.report_of(made).baseline
    assert 1 / 16 <= baseline.answer_share <= 1
    assert 1 / 16 <= baseline.category_share <= 1


def test_every_table_marks_an_oracle_plan(made: pipeline.LoadedStudy) -> None:
    found = pipeline.report_of(made)
    arms = tuple(
        each if each.plan is None else replace(each, plan=replace(each.plan, oracle=each.plan.traces))
        for each in found.arms
    )
    assert "(oracle plan)" in markdown(replace(found, arms=arms))
