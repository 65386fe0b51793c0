from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracedistill.interventions import INTERVENTIONS, intervene
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Source, get_task
from tracedistill.tasks.babi.grammar import BABI_TYPES, COMPACT
from tracedistill.teachers import teach_by_rules

TASK = get_task("babi")


@pytest.fixture(scope="module")
def problems() -> dict[str, Problem]:
    return {problem.problem_id: problem for problem in TASK.load("train", Source(seed=3, size=2000))}


@pytest.fixture(scope="module")
def traces(problems: Mapping[str, Problem]) -> list[Trace]:
    return list(teach_by_rules(TASK, problems.values(), "rules"))


@pytest.fixture(scope="module")
def wrong(problems: Mapping[str, Problem], traces: Sequence[Trace]) -> list[Trace]:
    return intervene("incorrect", TASK, problems, traces, 0)


def facts_of(trace: Trace) -> tuple[str, ...]:
    return tuple(fact for step in trace.steps if step.kind == "retrieval" for fact in step.facts)


def class_of(trace: Trace) -> str:
    return next(step.value for step in trace.steps if step.kind == "class" and step.value is not None)


@pytest.mark.slow
def test_every_row_is_judged_incorrect(problems: Mapping[str, Problem], wrong: Sequence[Trace]) -> None:
    assert len(wrong) == len(problems) == 2000
    for trace in wrong:
        verdict = TASK.judge_trace(problems[trace.problem_id], trace.steps)
        assert verdict.outcome == "incorrect"
        assert [step.outcome for step in verdict.steps] == ["incorrect", "incorrect"]


def test_never_the_true_class_and_never_the_gold_facts(problems: Mapping[str, Problem], wrong: Sequence[Trace]) -> None:
    for trace in wrong:
        problem = problems[trace.problem_id]
        assert class_of(trace) != problem.category
        gold = {fact for step in problem.gold_steps for fact in step.facts}
        assert set(facts_of(trace)) != gold
        assert set(facts_of(trace)) <= set(problem.context)


def test_what_it_keeps(traces: Sequence[Trace], wrong: Sequence[Trace]) -> None:
    for before, after in zip(traces, wrong, strict=True):
        assert after.problem_id == before.problem_id
        assert [step.kind for step in after.steps] == [step.kind for step in before.steps]
        assert [len(step.facts) for step in after.steps] == [len(step.facts) for step in before.steps]
        assert len(set(facts_of(after))) == len(facts_of(after))
        assert (after.answer, after.oracle, after.teacher) == (None, before.oracle, before.teacher)


def test_facts_stand_in_the_order_of_the_story(problems: Mapping[str, Problem], wrong: Sequence[Trace]) -> None:
    for trace in wrong:
        places = [problems[trace.problem_id].context.index(fact) for fact in facts_of(trace)]
        assert places == sorted(places)


def test_classes_are_as_frequent_as_before(traces: Sequence[Trace], wrong: Sequence[Trace]) -> None:
    assert Counter(map(class_of, wrong)) == Counter(map(class_of, traces))


def test_the_wrong_class_does_not_tell_the_true_one(traces: Sequence[Trace], wrong: Sequence[Trace]) -> None:
    """Not a fixed swap: every class is dealt to every other one, about as often as chance has it."""
    pairs = Counter((class_of(before), class_of(after)) for before, after in zip(traces, wrong, strict=True))
    sizes = Counter(map(class_of, traces))
    for true, size in sizes.items():
        for other, many in sizes.items():
            if other != true:
                expected = size * many / (len(traces) - size)
                assert 0.5 * expected < pairs[true, other] < 2 * expected


def test_length(traces: Sequence[Trace], wrong: Sequence[Trace]) -> None:
    """What `keeps` promises: labels of 8 to 22 characters change places in traces of about 75."""
    ratios = [len(after.text) / len(before.text) for before, after in zip(traces, wrong, strict=True)]
    assert abs(sum(len(after.text) for after in wrong) / sum(len(before.text) for before in traces) - 1) < 0.03
    assert sum(abs(ratio - 1) <= 0.15 for ratio in ratios) >= 0.8 * len(ratios)
    assert sum(abs(ratio - 1) <= 0.1 for ratio in ratios) >= 0.65 * len(ratios)
    assert all(abs(ratio - 1) <= 0.5 for ratio in ratios)


def test_facts_are_drawn_not_merely_the_nearest(problems: Mapping[str, Problem], traces: Sequence[Trace]) -> None:
    drawn: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for seed in range(4):
        for trace in intervene("incorrect", TASK, problems, traces[:500], seed):
            drawn.setdefault((trace.problem_id, class_of(trace)), set()).add(facts_of(trace))
    assert sum(len(sets) > 1 for sets in drawn.values()) > 50


def test_the_text_is_its_steps(wrong: Sequence[Trace]) -> None:
    for trace in wrong:
        assert TASK.render_trace(trace.steps) == trace.text
        assert TASK.parse_trace(trace.text).steps == trace.steps


def test_where_a_trace_comes_from(traces: Sequence[Trace], wrong: Sequence[Trace]) -> None:
    assert [trace.parent_id for trace in wrong] == [trace.trace_id for trace in traces]
    assert {trace.intervention for trace in wrong} == {"incorrect"}
    assert len({trace.trace_id for trace in wrong} | {trace.trace_id for trace in traces}) == 4000


def test_seeded(problems: Mapping[str, Problem], traces: Sequence[Trace], wrong: Sequence[Trace]) -> None:
    assert intervene("incorrect", TASK, problems, traces, 0) == wrong
    other = intervene("incorrect", TASK, problems, traces, 1)
    assert sum(one != two for one, two in zip(wrong, other, strict=True)) > 1500


def test_facts_depend_on_problem_and_wrong_class_alone(
    problems: Mapping[str, Problem], traces: Sequence[Trace], wrong: Sequence[Trace]
) -> None:
    """The class is dealt among all problems, and facts make up for its length: the same class, the same facts."""
    some = [*traces[5:900:7], *traces[1000:1003]]
    alone = {trace.problem_id: trace for trace in intervene("incorrect", TASK, problems, some, 0)}
    whole = {trace.problem_id: trace for trace in wrong}
    assert set(alone) == {trace.problem_id for trace in some}
    alike = [name for name, trace in alone.items() if class_of(trace) == class_of(whole[name])]
    assert len(alike) > 15
    assert all(facts_of(alone[name]) == facts_of(whole[name]) for name in alike)


def test_correct_changes_nothing(problems: Mapping[str, Problem], traces: Sequence[Trace]) -> None:
    assert intervene("correct", TASK, problems, traces, 0) == list(traces)


def test_every_intervention_says_what_it_does() -> None:
    for name, intervention in INTERVENTIONS.items():
        assert intervention.name == name
        assert intervention.keeps
        assert intervention.changes or name == "correct"


# ---- at the edges


def made(labels: Sequence[str], context: Sequence[str], cited: Sequence[int]) -> tuple[dict[str, Problem], list[Trace]]:
    """Problems of these classes, all with one story and the same facts cited."""
    problems, traces = {}, []
    for number, label in enumerate(labels):
        steps = (COMPACT.class_step(label), COMPACT.retrieval_step(tuple(context[line] for line in cited)))
        name = f"p{number}"
        problems[name] = Problem(name, "babi", "train", "q", ("a",), tuple(context), category=label, gold_steps=steps)
        traces.append(Trace(f"t{number}", name, "rules", steps, TASK.render_trace(steps), answer="a"))
    return problems, traces


STORY = ("John went out.", "Mary came in.", "Fred sat down.", "Julie stood up.")


def test_one_class_alone_has_no_wrong_one() -> None:
    assert intervene("incorrect", TASK, *made(["counting"] * 3, STORY, [0]), 0) == []


def test_a_class_that_fills_more_than_half() -> None:
    labels = ["counting"] * 8 + ["lists-sets", "yes-no-questions"]
    out = intervene("incorrect", TASK, *made(labels, STORY, [0]), 0)
    assert len(out) == 10
    assert all(class_of(trace) != label for trace, label in zip(out, labels, strict=True))


def test_a_story_that_is_cited_whole_has_no_wrong_facts() -> None:
    assert intervene("incorrect", TASK, *made(["counting", "lists-sets"], STORY, [0, 1, 2, 3]), 0) == []


def test_a_story_with_too_few_others_keeps_some() -> None:
    for trace in intervene("incorrect", TASK, *made(["counting", "lists-sets"], STORY, [0, 1, 2]), 0):
        assert len(facts_of(trace)) == 3
        assert set(facts_of(trace)) != set(STORY[:3])


def test_several_retrieval_steps() -> None:
    problems, traces = made(["counting", "lists-sets"], STORY, [0])
    steps = (COMPACT.class_step("counting"), COMPACT.retrieval_step(STORY[:1]), COMPACT.retrieval_step(STORY[1:2]))
    traces[0] = replace(traces[0], steps=steps, text=TASK.render_trace(steps))
    (first, _) = intervene("incorrect", TASK, problems, traces, 0)
    assert [len(step.facts) for step in first.steps] == [0, 1, 1]
    assert facts_of(first) == STORY[2:]


def test_a_fact_cited_twice_is_replaced_twice() -> None:
    problems, traces = made(["counting", "lists-sets"], STORY, [0])
    steps = (COMPACT.class_step("counting"), COMPACT.retrieval_step(STORY[:2]), COMPACT.retrieval_step(STORY[1:2]))
    traces[0] = replace(traces[0], steps=steps, text=TASK.render_trace(steps))
    (first, _) = intervene("incorrect", TASK, problems, traces, 0)
    assert [step.facts for step in first.steps] == [(), STORY[2:], STORY[3:]]


def test_a_long_story_is_not_gone_through() -> None:
    story = [f"Line {number} says {'x' * (number % 30)}." for number in range(400)]
    problems, traces = made(["counting", "lists-sets"] * 5, story, [3, 50, 111, 300])
    out = intervene("incorrect", TASK, problems, traces, 0)
    for before, after in zip(traces, out, strict=True):
        assert abs(len(after.text) / len(before.text) - 1) < 0.15
        assert len(set(facts_of(after)) - set(facts_of(before))) == 4


def test_traces_that_were_wrong_already_do_not_become_right() -> None:
    problems, traces = made(["counting", "lists-sets", "conjunction"] * 20, STORY, [0])
    turned = {"counting": "lists-sets", "lists-sets": "conjunction", "conjunction": "counting"}
    mistaken = [
        replace(trace, steps=steps, text=TASK.render_trace(steps))
        for trace in traces
        for steps in [(COMPACT.class_step(turned[class_of(trace)]), COMPACT.retrieval_step(STORY[1:2]))]
    ]
    out = intervene("incorrect", TASK, problems, mistaken, 0)
    assert len(out) == 60
    for before, after in zip(mistaken, out, strict=True):
        assert class_of(after) not in (problems[after.problem_id].category, class_of(before))
        assert not set(facts_of(after)) & set(STORY[:2])


def test_no_third_class_no_trace() -> None:
    problems, traces = made(["counting", "lists-sets"] * 20, STORY, [0])
    turned = {"counting": "lists-sets", "lists-sets": "counting"}
    mistaken = [replace(trace, steps=(COMPACT.class_step(turned[class_of(trace)]), trace.steps[1])) for trace in traces]
    assert intervene("incorrect", TASK, problems, mistaken, 0) == []


def test_a_trace_without_class_is_left_out_and_deals_none() -> None:
    problems, traces = made(["counting", "lists-sets", "counting", "lists-sets"], STORY, [0])
    traces[0] = replace(traces[0], steps=traces[0].steps[1:], text=traces[0].steps[1].text)
    out = intervene("incorrect", TASK, problems, traces, 0)
    assert [trace.problem_id for trace in out] == ["p1", "p2", "p3"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(BABI_TYPES[:4]), min_size=1, max_size=12),
    st.sets(st.integers(0, 3), min_size=1, max_size=4),
    st.integers(0, 5),
)
def test_any_mix_of_classes(labels: list[str], cited: set[int], seed: int) -> None:
    problems, traces = made(labels, STORY, sorted(cited))
    out = intervene("incorrect", TASK, problems, traces, seed)
    by_id = {trace.problem_id: trace for trace in traces}
    assert [int(trace.problem_id[1:]) for trace in out] == sorted(int(trace.problem_id[1:]) for trace in out)
    for trace in out:
        assert TASK.judge_trace(problems[trace.problem_id], trace.steps).outcome == "incorrect"
        assert class_of(trace) != class_of(by_id[trace.problem_id])
    if len(set(labels)) > 1 and len(cited) < 4:
        assert len(out) == len(labels)
        if 2 * max(Counter(labels).values()) <= len(labels):
            assert Counter(map(class_of, out)) == Counter(labels)


def test_a_trace_without_facts_is_left_out() -> None:
    problems, traces = made(["counting", "lists-sets", "counting"], STORY, [0])
    bare = (COMPACT.class_step("counting"), Step("text", "I do not know."))
    traces[0] = replace(traces[0], steps=bare, text=TASK.render_trace(bare))
    assert [trace.problem_id for trace in intervene("incorrect", TASK, problems, traces, 0)] == ["p1", "p2"]


def test_order_is_kept(wrong: Sequence[Trace]) -> None:
    numbers = [int(trace.problem_id.rsplit("-", 1)[1]) for trace in wrong]
    assert all(one < two for one, two in pairwise(numbers))
