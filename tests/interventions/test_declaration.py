"""Each intervention's declaration, held against thousands of rows of every kind of trace."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import get_args

import pytest

from tests.conftest import ROOT
from tests.tasks.shared_data import DATA, SOURCE
from tracedistill.interventions import INTERVENTIONS, Intervention, Kept, broken, intervene, measure
from tracedistill.interventions.reassignment import reassign, reassign_near
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Source, Task, get_task
from tracedistill.teachers import teach_by_rules
from tracedistill.teachers.rules import teach_gold_plans

RETRIEVAL = {"babi", "acre", "cotempqa", "msmarco"}
NEEDS = {"cotempqa": "cotempqa", "msmarco": "msmarco", "gsm8k": "gsm8k", "svamp": "other"}
SIZES = {"babi": 600, "acre": 300, "cotempqa": 1000, "msmarco": 200, "gsm8k": 300, "svamp": 300, "sample": 8}


@dataclass(frozen=True)
class Rows:
    """Problems of one task with their gold traces."""

    task: Task
    problems: Mapping[str, Problem]
    traces: tuple[Trace, ...]


@lru_cache(maxsize=16)
def rows(name: str) -> Rows:
    """Gold traces of a task: generated ones, the repository's arithmetic sample, or the shared data's."""
    task = get_task("gsm8k" if name == "sample" else name)
    split = {"msmarco": "sample", "svamp": "test"}.get(name, "train")
    source = Source(seed=3, size=SIZES[name]) if name in ("babi", "acre") else SOURCE
    with tempfile.TemporaryDirectory() as folder:
        if name == "sample":
            source = Source(data_dir=Path(folder))
            (Path(folder) / "gsm8k").mkdir()
            shutil.copy(ROOT / "data" / "arithmetic_sample.jsonl", Path(folder) / "gsm8k" / "train.jsonl")
        drawn = list(islice(task.load(split, source), SIZES[name]))
    problems = {problem.problem_id: problem for problem in drawn}
    return Rows(task, problems, tuple(teach_by_rules(task, drawn, "rules")))


@lru_cache(maxsize=128)
def after(name: str, intervention: str, seed: int = 0) -> tuple[Trace, ...]:
    here = rows(name)
    return tuple(intervene(intervention, here.task, here.problems, here.traces, seed))


def present(name: str) -> object:
    absent = name in NEEDS and not (DATA / NEEDS[name]).is_dir()
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason=f"no {name} under {DATA}; set TRACEDISTILL_DATA"))


ALL = [present(name) for name in SIZES]
TRUTH_CHANGED: dict[tuple[str, str], float] = {
    **{(task, name): 1.0 for task in sorted(RETRIEVAL) for name in (
        "incorrect", "wrong-class", "wrong-facts", "wrong-facts-with-answer", "right-facts-answer-masked", "foreign",
        "dropped-step", "filler",
    )},
    **{(task, "wrong-number-one-step"): 0.99 for task in ("gsm8k", "svamp", "sample")},
    ("gsm8k", "wrong-number"): 0.96,
    ("svamp", "wrong-number"): 0.98,
    # a foreign trace calculates right: what gives it away are operands that this question does not have
    ("gsm8k", "foreign"): 0.7,
    ("svamp", "foreign"): 0.85,
}  # fmt: skip
"""(task, intervention) -> share of rows, at least, in which the task's judge must find the trace incorrect."""


@pytest.mark.parametrize("intervention", INTERVENTIONS)
@pytest.mark.parametrize("name", ALL)
def test_declarations_hold(name: str, intervention: str) -> None:
    here = rows(name)
    measured = measure(here.task, here.problems, here.traces, after(name, intervention))
    found = broken(INTERVENTIONS[intervention], measured)
    if name == "msmarco" and intervention == "wrong-class":
        # more than half of the queries are descriptions: no deal of classes keeps their frequency
        assert 2 * measured.classes_before["description"] > measured.n
        found = [sentence for sentence in found if "class frequencies" not in sentence]
    assert found == []
    assert measured.n + measured.left_out == len(here.traces)


@pytest.mark.parametrize("name", ALL)
def test_where_an_intervention_applies(name: str) -> None:
    """Facts and classes in retrieval traces, numbers in calculations; the rest in both."""
    counts = {one: len(after(name, one)) for one in INTERVENTIONS}
    facts = {"incorrect", "wrong-class", "wrong-facts", "right-facts-answer-masked"}
    everywhere = {"correct", "foreign", "filler", "wrong-answer"}
    assert all(counts[one] == len(rows(name).traces) for one in everywhere)
    if name in RETRIEVAL:
        assert counts["wrong-number"] == counts["wrong-number-one-step"] == 0
        assert all(counts[one] >= 0.5 * len(rows(name).traces) for one in facts)
    else:
        assert all(counts[one] == 0 for one in (*facts, "wrong-facts-with-answer"))
        assert counts["wrong-number"] >= 0.97 * len(rows(name).traces)
        assert counts["wrong-number-one-step"] >= 0.95 * len(rows(name).traces)


@pytest.mark.parametrize(("name", "intervention"), TRUTH_CHANGED)
def test_the_judge_finds_them_incorrect(name: str, intervention: str) -> None:
    if name in NEEDS and not (DATA / NEEDS[name]).is_dir():
        pytest.skip(f"no {name} under {DATA}; set TRACEDISTILL_DATA")
    here = rows(name)
    made = after(name, intervention)
    if (name, intervention) == ("cotempqa", "wrong-facts-with-answer"):
        assert made == ()  # the gold facts of this task are all facts that hold an answer
        return
    wrong = 0
    for trace in made:
        verdict = here.task.judge_output_trace(here.problems[trace.problem_id], trace.text, tagged=True)
        wrong += verdict.outcome == ("unparsed" if intervention == "filler" else "incorrect")
    share = wrong / len(made)
    print(f"{name} {intervention}: {share:.3f} of {len(made)} incorrect")
    assert share >= TRUTH_CHANGED[name, intervention]


@pytest.mark.parametrize("intervention", sorted(set(INTERVENTIONS) - {"correct"}))
@pytest.mark.parametrize("name", ["babi", "sample"])
def test_seeded(name: str, intervention: str) -> None:
    here = rows(name)
    assert after(name, intervention) == tuple(intervene(intervention, here.task, here.problems, here.traces, 0))


def owners(traces: Sequence[Trace]) -> dict[str, Problem]:
    """A problem for every trace."""
    return {trace.problem_id: Problem(trace.problem_id, "gsm8k", "train", "q", ("1",)) for trace in traces}


@pytest.mark.parametrize("intervention", sorted(set(INTERVENTIONS) - {"correct", "right-facts-answer-masked"}))
def test_another_seed_draws_anew(intervention: str) -> None:
    """Nothing is drawn where the answer is struck out, and nothing can differ where two steps change places."""
    name = "babi" if len(after("babi", intervention)) and intervention != "shuffled" else "sample"
    one, two = after(name, intervention), after(name, intervention, 1)
    pairs = list(zip(one, two, strict=True))
    if intervention == "shuffled":  # most of the sample's traces have two steps: the same swap under every seed
        task, four = get_task("gsm8k"), tuple(Step("text", word) for word in ("one", "two", "three", "four"))
        traces = [Trace(str(n), str(n), "t", four, task.render_trace(four)) for n in range(20)]
        pairs = list(zip(*(intervene("shuffled", task, owners(traces), traces, seed) for seed in (0, 1)), strict=True))
    assert sum((a.text, a.answer) != (b.text, b.answer) for a, b in pairs) > 0.2 * len(pairs)


@pytest.mark.parametrize("intervention", sorted(set(INTERVENTIONS) - {"correct"}))
@pytest.mark.parametrize("name", ["babi", "sample"])
def test_where_a_trace_comes_from(name: str, intervention: str) -> None:
    here = rows(name)
    made = after(name, intervention)
    originals = {trace.trace_id for trace in here.traces}
    assert {trace.intervention for trace in made} <= {intervention}
    assert {trace.parent_id for trace in made} <= originals
    assert len({trace.trace_id for trace in made} | originals) == len(made) + len(originals)
    places = list(here.problems)
    assert [places.index(trace.problem_id) for trace in made] == sorted(places.index(t.problem_id) for t in made)


DRAWN_ALONE = (
    "wrong-facts", "wrong-facts-with-answer", "right-facts-answer-masked", "wrong-number", "wrong-number-one-step",
    "shuffled", "dropped-step", "filler",
)  # fmt: skip


@pytest.mark.parametrize("intervention", DRAWN_ALONE)
def test_a_draw_does_not_depend_on_other_problems(intervention: str) -> None:
    for name in ("babi", "sample"):
        here = rows(name)
        few = here.traces[1::3]
        alone = intervene(intervention, here.task, here.problems, few, 0)
        wanted = {trace.problem_id for trace in few}
        assert alone == [trace for trace in after(name, intervention) if trace.problem_id in wanted]


@pytest.mark.parametrize("name", [present("babi"), present("gsm8k")])
def test_measuring_is_quick(name: str) -> None:
    here = rows(name)
    for intervention in ("foreign", "filler", "shuffled"):
        made = after(name, intervention)
        started = time.process_time()
        measure(here.task, here.problems, here.traces, made)
        # 5,000 rows a second and more on a quiet machine
        assert time.process_time() - started < len(made) / 1000


# ---- what a deliberately broken one shows

BABI = get_task("babi")


def _text(trace: Trace, text: str) -> Trace:
    return replace(trace, text=text, steps=BABI.parse_trace(text).steps)


def _steps(trace: Trace, *steps: Step) -> Trace:
    return replace(trace, text=BABI.render_trace(steps), steps=BABI.parse_trace(BABI.render_trace(steps)).steps)


BROKEN: dict[str, tuple[Kept, object]] = {
    "a fixed class": ("class frequencies", lambda t, _: _steps(t, replace(t.steps[0], value="counting"), t.steps[1])),
    "one fact more": (
        "number of facts", lambda t, p: _steps(t, t.steps[0], replace(t.steps[1], facts=(*t.steps[1].facts, "A fact.")))
    ),
    "a step lost": ("number of steps", lambda t, _: _steps(t, t.steps[0])),
    "kinds changed": ("step kinds", lambda t, _: _steps(t, t.steps[1], t.steps[0])),
    "too long": ("length", lambda t, _: _steps(t, t.steps[0], replace(t.steps[1], facts=t.steps[1].facts * 2))),
    "longer on average": ("length: mean within 3%", lambda t, _: _text(t, t.text + " Well, well, well.")),
    "longer still": ("length: mean within 5%", lambda t, _: _text(t, t.text + " Well, well, well.")),
    "far longer": ("length: mean within 10%", lambda t, _: _text(t, t.text + " Well, well, well.")),
    "text and steps differ": ("format", lambda t, _: replace(t, steps=t.steps[::-1])),
    "unreadable": ("format", lambda t, _: _text(t, "Nothing to be read.")),
    "the answer told": (
        "answer string",
        lambda t, p: _steps(t, t.steps[0], replace(t.steps[1], facts=(f"It is {' and '.join(p.answers)}.",))),
    ),
    "another line": ("number of lines", lambda t, _: _text(t, t.text + "\n\nDone.")),
    "other lines": ("steps", lambda t, _: _steps(t, t.steps[0], replace(t.steps[1], facts=("A fact.",)))),
    "two lines lost": ("steps but one", lambda t, _: _text(t, "")),
    "another text": ("trace", lambda t, _: _text(t, t.text + " ")),
    "another answer": ("everything", lambda t, _: replace(t, answer="nobody knows")),
    "a text not dealt": ("traces", lambda t, _: _text(t, t.text + " ")),
    "an answer not dealt": ("answer frequencies", lambda t, _: replace(t, answer="nobody knows")),
}  # fmt: skip
"""Why -> the declaration that must be found broken, and the change that breaks it."""


@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_intervention_is_caught(why: str) -> None:
    here = rows("babi")
    kept, change = BROKEN[why]
    traces = here.traces[:200]
    made = [change(trace, here.problems[trace.problem_id]) for trace in traces]  # type: ignore[operator]
    liar = Intervention("liar", (kept,), ("something",), lambda *_: made)
    found = broken(liar, measure(BABI, here.problems, traces, made))
    assert found[0].startswith(f"liar must keep {kept}: ")
    truthful = replace(liar, keeps=())
    assert broken(truthful, measure(BABI, here.problems, traces, made)) == found[1:]


def test_every_declaration_can_be_caught() -> None:
    assert {kept for kept, _ in BROKEN.values()} == set(get_args(Kept))


def test_a_change_that_changes_nothing_is_caught() -> None:
    here = rows("babi")
    half = [*here.traces[:50], *after("babi", "shuffled")[50:100]]
    idle = Intervention("idle", (), ("order",), lambda *_: half)
    assert broken(idle, measure(BABI, here.problems, here.traces[:100], half)) == [
        "idle must change every row: 50 of 100 are unchanged"
    ]


def test_no_rows_no_complaint() -> None:
    here = rows("babi")
    measured = measure(BABI, here.problems, here.traces[:5], [])
    assert (measured.n, measured.left_out) == (0, 5)
    assert all(broken(one, measured) == [] for one in INTERVENTIONS.values())


def test_every_declaration_is_one_that_is_measured() -> None:
    measured = measure(BABI, rows("babi").problems, rows("babi").traces[:5], rows("babi").traces[:5])
    assert set(measured.holds) == set(get_args(Kept))
    assert all(share == 1.0 for name, share in measured.holds.items() if name != "steps but one")
    for one in INTERVENTIONS.values():
        assert set(one.keeps) <= set(get_args(Kept)), one.name


# ---- what they tell of the truth: nothing


def test_a_wrong_class_helps_no_classifier() -> None:
    """Who knows the wrong class guesses the true one no better than who leaves the wrong one out and takes the rest."""
    here = rows("babi")
    for intervention in ("wrong-class", "incorrect"):
        pairs = [
            (here.problems[trace.problem_id].category, next(step.value for step in trace.steps if step.value))
            for trace in after("babi", intervention)
        ]
        learned: dict[str, Counter[str]] = {}
        for true, wrong in pairs[::2]:
            learned.setdefault(str(wrong), Counter())[true] += 1
        overall = Counter(true for true, _ in pairs)
        hits = sum(learned[str(wrong)].most_common(1)[0][0] == true for true, wrong in pairs[1::2])
        blind = sum(
            next(name for name, _ in overall.most_common() if name != wrong) == true for true, wrong in pairs[1::2]
        )
        assert (hits - blind) / len(pairs[1::2]) < 0.03


def test_other_facts_tell_no_place() -> None:
    """The place of the wrong facts in the story does not tell the gold ones': early and late ones are cited."""
    here = rows("babi")
    places: Counter[tuple[bool, bool]] = Counter()
    for trace in after("babi", "wrong-facts"):
        problem = here.problems[trace.problem_id]
        gold = problem.context.index(problem.gold_steps[1].facts[-1])
        wrong = problem.context.index(trace.steps[1].facts[-1])
        middle = len(problem.context) / 2
        places[gold < middle, wrong < middle] += 1
    assert all(count > 50 for count in places.values())
    assert len(places) == 4


# ---- dealing


def test_a_deal_gives_every_card_once() -> None:
    rng = random.Random(0)
    for size in (2, 3, 10, 200):
        dealt = reassign(range(size), lambda card, place: card != place, rng)
        assert sorted(dealt.values()) == list(range(size))
        assert all(card != place for place, card in dealt.items())


def test_a_group_of_one_gets_a_card_of_another_group() -> None:
    for seed in range(20):
        dealt = reassign_near([["a", "a", "a", "b"]], lambda card, place: card != place, random.Random(seed))
        assert sorted(dealt.values()) == [0, 1, 2, 3]
        assert all(card != place for place, card in dealt.items())


# ---- single ones


def test_foreign_traces_come_from_the_same_category_with_another_answer() -> None:
    here = rows("babi")
    owners = {trace.trace_id: here.problems[trace.problem_id] for trace in here.traces}
    same = other = 0
    for trace in after("babi", "foreign"):
        own, donor = here.problems[trace.problem_id], owners[str(trace.parent_id)]
        assert donor.problem_id != own.problem_id
        assert set(donor.answers) != set(own.answers)
        assert trace.answer == BABI.render_answer(donor)
        same += donor.category == own.category
        other += 1
    # the rest has no one of its own category with another answer left to swap with
    assert same > 0.9 * other


def test_two_problems_of_one_answer_still_part() -> None:
    story = ("John went out.", "Mary came in.")
    problems, traces = {}, []
    for number in range(2):
        steps = BABI.parse_trace(f"Question type: counting.\nSupporting facts: {story[number]}").steps
        problems[str(number)] = Problem(str(number), "babi", "train", "q", ("a",), story, gold_steps=steps)
        traces.append(Trace(f"t{number}", str(number), "rules", steps, BABI.render_trace(steps), answer="a"))
    made = intervene("foreign", BABI, problems, traces, 0)
    assert [trace.text for trace in made] == [traces[1].text, traces[0].text]
    assert intervene("wrong-answer", BABI, problems, traces, 0) == []
    assert intervene("foreign", BABI, problems, traces[:1], 0) == []


def test_a_wrong_answer_is_never_right() -> None:
    for name in ("babi", "acre", "sample"):
        here = rows(name)
        for trace in after(name, "wrong-answer"):
            verdict = here.task.judge_answer(here.problems[trace.problem_id], f"Answer: {trace.answer}").answer
            assert verdict.outcome == "incorrect"


def test_facts_with_the_answer_are_others_and_hold_it() -> None:
    here = rows("babi")
    made = after("babi", "wrong-facts-with-answer")
    assert len(made) > 150
    for trace in made:
        problem = here.problems[trace.problem_id]
        cited = {fact for step in trace.steps for fact in step.facts}
        assert cited <= set(problem.context)
        assert cited != set(problem.gold_steps[1].facts)
        assert all(answer in " ".join(cited) for answer in problem.answers)


def test_a_mask_hides_the_answer_and_nothing_else() -> None:
    here = rows("babi")
    originals = {trace.trace_id: trace for trace in here.traces}
    for trace in after("babi", "right-facts-answer-masked"):
        original = originals[str(trace.parent_id)]
        assert len(trace.text) == len(original.text)
        assert {a for a, b in zip(trace.text, original.text, strict=True) if a != b} == {"_"}


def test_filler_says_nothing() -> None:
    for name in ("babi", "sample"):
        here = rows(name)
        for trace in after(name, "filler"):
            problem = here.problems[trace.problem_id]
            assert not here.task.answer_in_trace(problem, trace.steps)
            assert not any(char.isdigit() for step in trace.steps for char in step.text)


def test_no_step_stays_in_its_place() -> None:
    task = get_task("gsm8k")
    for count in (2, 3, 7):
        steps = tuple(Step("text", f"then {word}") for word in "abcdefg"[:count])
        traces = [Trace(str(n), str(n), "t", steps, task.render_trace(steps)) for n in range(50)]
        for trace in intervene("shuffled", task, owners(traces), traces, 0):
            assert all(one.text != two.text for one, two in zip(trace.steps, steps, strict=True))
    twins = (Step("text", "then a"), Step("text", "then a"), Step("text", "then b"))
    traces = [Trace("t", "p", "t", twins, task.render_trace(twins))]
    for trace in intervene("shuffled", task, owners(traces), traces, 0):
        assert [step.text for step in trace.steps] != [step.text for step in twins]
    same = (Step("text", "then a"), Step("text", "then a"))
    traces = [Trace("t", "p", "t", same, task.render_trace(same))]
    assert intervene("shuffled", task, owners(traces), traces, 0) == []


@pytest.mark.parametrize("name", ["babi", "sample"])
@pytest.mark.parametrize("intervention", ["shuffled", "dropped-step", "foreign", "filler", "wrong-number"])
def test_gold_plans_can_be_changed_too(name: str, intervention: str) -> None:
    here = rows(name)
    plans = list(teach_gold_plans(here.task, here.problems.values(), "gold"))
    made = intervene(intervention, here.task, here.problems, plans, 0)
    measured = measure(here.task, here.problems, plans, made)
    assert made
    if (name, intervention) != ("babi", "foreign"):  # many of these plans are the same, word for word
        assert broken(INTERVENTIONS[intervention], measured) == []
    assert all(trace.text == here.task.render_trace(trace.steps) for trace in made)


def test_what_each_one_says() -> None:
    for name, one in INTERVENTIONS.items():
        assert one.name == name
        assert one.keeps
        assert one.changes or name == "correct"
        assert one.answers == (name == "wrong-answer")
        assert one.plans != one.answers


def test_the_guide_names_every_intervention() -> None:
    guide = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")
    for one in INTERVENTIONS.values():
        (row,) = [line for line in guide.splitlines() if line.startswith(f"| `{one.name}` |")]
        for kept in one.keeps:
            assert kept in row, (one.name, kept)


@pytest.mark.parametrize("intervention", sorted(INTERVENTIONS))
def test_what_is_changed_alone_may_be_changed_anywhere(intervention: str) -> None:
    """Traces in two halves, as in two processes: the same, but where something is dealt out among all of them."""
    for name in ("babi", "sample"):
        here = rows(name)
        traces = here.traces[:60]
        whole, halves = (
            [trace for some in parts for trace in intervene(intervention, here.task, here.problems, some, 0)]
            for parts in ([traces], [traces[: len(traces) // 2], traces[len(traces) // 2 :]])
        )
        if INTERVENTIONS[intervention].alone:
            assert halves == whole
        elif name == "babi":
            assert halves != whole
