"""The generator, its rules against all possible worlds, and the judges."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import Step
from tracedistill.tasks._base import Source
from tracedistill.tasks._overlap import overlap
from tracedistill.tasks.acre.panels import generate, panel_line, question_line, read_panel, read_question
from tracedistill.tasks.acre.rules import TYPES, Panel, infer
from tracedistill.tasks.acre.task import GRAMMAR, Acre

TASK = Acre()
PROBLEMS = {split: list(TASK.load(split, Source(seed=3))) for split in TASK.splits}
TEST = PROBLEMS["test"]


def possible_answers(panels, query):
    """The light for the query in every assignment of blickets that fits all panels."""
    items = sorted({item for panel in panels for item in panel.objects} | set(query))
    lights = set()
    for world in product((False, True), repeat=len(items)):
        blicket = dict(zip(items, world, strict=True))
        if all(any(blicket[item] for item in panel.objects) == panel.lit for panel in panels):
            lights.add(any(blicket[item] for item in query))
    return {frozenset({True}): "on", frozenset({False}): "off"}.get(frozenset(lights), "undetermined")


@pytest.mark.parametrize("split", TASK.splits)
def test_the_rules_agree_with_all_possible_worlds(split):
    for puzzle in generate(split, 150, seed=11):
        found = infer(puzzle.panels, puzzle.query)
        assert found.answer == possible_answers(puzzle.panels, puzzle.query)
        assert found.unique
        if found.answer != "undetermined":  # the panels used suffice alone
            used = [puzzle.panels[index] for index in found.panels]
            assert possible_answers(used, puzzle.query) == found.answer


objects = st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True)


@given(st.lists(objects, max_size=6), st.sets(st.sampled_from("abcd")), objects)
def test_the_rules_agree_on_any_panels(sets, blickets, query):
    panels = [Panel(tuple(chosen), not blickets.isdisjoint(chosen)) for chosen in sets]
    assert infer(panels, query).answer == possible_answers(panels, query)


A, B, C = "red metal cube", "blue rubber sphere", "green metal cylinder"


@pytest.mark.parametrize(
    ("panels", "query", "answer", "kind", "used"),
    [
        ([((A,), True)], (A,), "on", "direct", (0,)),
        ([((A,), False)], (A,), "off", "direct", (0,)),
        ([((A, B), False)], (A, B), "off", "direct", (0,)),
        ([((A, B), True)], (A, B), "on", "direct", (0,)),
        ([((A,), False), ((B,), False)], (A, B), "off", "indirect", (0, 1)),
        ([((A, B), True), ((B,), False)], (A,), "on", "indirect", (0, 1)),
        ([((A, B, C), True), ((B,), False), ((C,), False)], (A,), "on", "indirect", (0, 1, 2)),
        ([((A, B), True), ((B,), False)], (B,), "off", "screened-off", (0, 1)),
        ([((A, B), True), ((A,), True)], (B,), "undetermined", "backward-blocking", (0, 1)),
        ([((A, B), True), ((A, C), True), ((C,), False)], (B,), "undetermined", "backward-blocking", (0, 1, 2)),
        ([((A, B), True)], (B,), "undetermined", "potential", (0,)),
        ([((A, B), True), ((C,), False)], (B, C), "undetermined", "potential", (0, 1)),
    ],
)
def test_inference_types(panels, query, answer, kind, used):
    found = infer([Panel(*panel) for panel in panels], query)
    assert (found.answer, found.type, found.panels) == (answer, kind, used)


def test_sizes_types_and_ids():
    assert [len(problems) for problems in PROBLEMS.values()] == [400, 100, 200]
    assert {problem.category for problem in TEST} == set(TYPES)
    ids = [problem.problem_id for problems in PROBLEMS.values() for problem in problems]
    assert len(set(ids)) == len(ids)
    assert TEST[0].problem_id == "acre-s3-test-0"


def test_splits_are_disjoint_for_any_seeds():
    train = list(TASK.load("train", Source(seed=9, size=600)))
    assert overlap(TEST, train).found == 0
    assert overlap(TEST, PROBLEMS["train"]).found == 0
    assert overlap(TEST, PROBLEMS["validation"]).found == 0


def test_the_seed_fixes_the_problems():
    assert list(TASK.load("test", Source(seed=3))) == TEST
    assert list(TASK.load("test", Source(seed=4, size=20))) != TEST[:20]
    # a larger size goes on where the smaller one ended
    assert list(TASK.load("test", Source(seed=3, size=20))) == TEST[:20]


def test_unknown_split_raises():
    with pytest.raises(InputError, match="train, validation, test"):
        list(TASK.load("dev", Source()))


def test_the_rules_see_no_gold_and_make_the_gold_trace():
    for problem in TEST:
        trace = TASK.decompose(problem.blind())
        assert trace.steps == problem.gold_steps
        assert trace.answer == problem.answers[0]
        assert not trace.oracle


def test_gold_passes_its_judges_also_through_text():
    for problem in TEST:
        assert TASK.audit(problem) == []
        text = formats.write_completion(TASK.render_trace(problem.gold_steps), TASK.render_answer(problem), "tags")
        assert TASK.judge_output_trace(problem, formats.parse_completion(text).trace).ok
        assert TASK.judge_answer(problem, text).answer.ok
        assert "|" not in "".join(problem.context)


steps = st.one_of(
    st.sampled_from(TYPES).map(GRAMMAR.class_step),
    st.sampled_from([line for problem in TEST[:20] for line in problem.context]).map(
        lambda line: GRAMMAR.retrieval_step((line,))
    ),
    st.sampled_from([problem.context for problem in TEST]).map(GRAMMAR.retrieval_step),
)


@given(st.lists(steps, min_size=1, max_size=4).map(tuple))
def test_render_then_parse_is_the_identity(trace):
    assert TASK.parse_trace(TASK.render_trace(trace)).steps == trace


def test_panels_and_questions_are_read_back():
    panel = Panel((A, B), lit=False)
    assert read_panel(panel_line(4, panel)) == panel
    assert read_question(question_line((A, B))) == (A, B)
    assert read_panel("Mary went home.") is None
    assert read_question("Where is Mary?") == ()


EXAMPLE = next(p for p in TEST if p.category == "indirect" and p.answers == ("on",) and p.difficulty == 2)


def numbered(problem):
    return [problem.context.index(fact) + 1 for fact in problem.gold_steps[1].facts]


def test_panels_may_be_cited_by_number():
    first, second = numbered(EXAMPLE)
    for cited in (f"Panel {first}, Panel {second}", f"panels {first} and {second}", f"{first}, {second}"):
        verdict = TASK.judge_output_trace(EXAMPLE, f"Inference type: indirect.\nPanels used: {cited}")
        assert verdict.ok, (cited, verdict)


@pytest.mark.parametrize(
    ("trace", "outcome", "reason"),
    [
        ("Inference type: direct.\nPanels used: {gold}", "incorrect", "class is indirect"),
        ("Inference type: indirect.\nPanels used: {one}", "incorrect", "1 of 2 gold"),
        ("Inference type: indirect.", "incorrect", "no facts cited"),
        ("The light is bright.", "unparsed", "no class step"),
        ("", "none", "no trace"),
    ],
)
def test_wrong_traces_say_why(trace, outcome, reason):
    gold = EXAMPLE.gold_steps[1].facts
    verdict = TASK.judge_output_trace(EXAMPLE, trace.format(gold=" | ".join(gold), one=gold[0]))
    assert verdict.outcome == outcome
    assert reason in verdict.reason


def test_panels_that_do_not_exist_stay_wrong():
    verdict = TASK.judge_trace(EXAMPLE, (EXAMPLE.gold_steps[0], Step("retrieval", "", facts=("Panel 99",))))
    assert verdict.outcome == "incorrect"


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("Answer: on", "on"),
        ("Answer: On.", "on"),
        ("Answer: yes", "on"),
        ("Answer: **off**", "off"),
        ("Answer: no, it will not", "off"),
        ("Answer: undetermined", "undetermined"),
        ("Answer: It cannot be determined.", "undetermined"),
        ("<answer>unknown</answer>", "undetermined"),
        ("The light will go on.", "on"),
        ("So the light goes on.", "on"),
        ("The light stays off.", "off"),
        ("The light will not go on.", "off"),
        ("The light won't turn on.", "off"),
        ("Yes, the cube is a blicket.", "on"),
        ("We can't tell whether the light will be on or off.", "undetermined"),
        ("Panel 1 shows light on.\nPanel 2: red metal cube: light off.\nThe light will go on.", "on"),
        ("Inference type: direct.\nPanels used: Panel 1: x: light off.\nAnswer: on", "on"),
        ("Answer: on or off", None),
        ("Answer: perhaps the cube", None),
        ("A cube stands on the detector.", None),
        ("", None),
    ],
)
def test_answers(text, stated):
    for gold in ("on", "off", "undetermined"):
        problem = next(p for p in TEST if p.answers == (gold,))
        verdict = TASK.judge_answer(problem, text).answer
        expected = "missing" if stated is None else "correct" if stated == gold else "incorrect"
        assert verdict.outcome == expected, (gold, verdict)


def test_no_gold_is_ungradable():
    assert TASK.judge_answer(EXAMPLE.blind(), "Answer: on").answer.outcome == "ungradable"
    assert TASK.judge_trace(EXAMPLE.blind(), EXAMPLE.gold_steps).outcome == "ungradable"


def test_answer_in_trace_says_whether_copying_would_do():
    assert TASK.answer_in_trace(EXAMPLE, EXAMPLE.gold_steps)
    undetermined = next(p for p in TEST if p.answers == ("undetermined",))
    assert not TASK.answer_in_trace(undetermined, undetermined.gold_steps)
