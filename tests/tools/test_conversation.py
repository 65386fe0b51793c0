from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tuned_study import recipe_of, small_study
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl
from tracedistill.records import Attempt
from tracedistill.tools.conversation import Conversation, Question, context_of
from tracedistill.tools.open_study import open_study

# PEFT asks transformers by a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
STORY = ("Mary went to the kitchen.", "John went to the cellar.")
ASKED = Question("Where is Mary?", STORY)
Recipe = Callable[..., Path]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """A study on a scripted student; nothing of it is made."""

    def write(**changes: Any) -> Path:
        student = {"solver": {"model": "scripted:tests.scripts:solver", "system": "Be brief."}}
        arms = {
            "standard": {},
            "few-shot": {"prompt": "few-shot", "shots": 2},
            "trace-of-thought": {"prompt": "trace-of-thought"},
            "own": {"prompt": "chain-of-thought", "forced": "own"},
            "chain-of-thought": {"prompt": "chain-of-thought"},
        }
        return recipe_of(
            tmp_path, tmp_path, **{"students": student, "base": {"max_tokens": 60}, "arms": arms, **changes}
        )

    return write


def talk(recipe: Path, arm: str = "standard", **settings: Any) -> Conversation:
    return Conversation(open_study(recipe), arm, **settings)


def said(reply: Any) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in reply.messages]


# ---- what is sent


def test_a_bare_question_is_rendered_as_the_study_does(recipe: Recipe) -> None:
    reply = talk(recipe()).ask(ASKED)
    hint = "End with a line `Answer: ` and the answer in as few words as possible."
    user = "\n".join((*STORY, "Question: Where is Mary?", hint))
    assert said(reply) == [("system", "Be brief."), ("user", user)]
    assert (reply.answer, reply.finish) == ("kitchen", "stop")
    assert reply.trace is not None
    assert reply.trace.startswith("Question type: single-supporting-fact")


def test_plain_sends_the_text_as_it_is(recipe: Recipe) -> None:
    place = recipe(students={"s": {"model": "scripted:tests.scripts:rambler", "system": "Be brief."}})
    for arm in ("standard", "few-shot", "trace-of-thought"):
        reply = talk(place, arm, plain=True).ask(Question("Hello {problem}\n  there"))
        assert said(reply) == [("system", "Be brief."), ("user", "Hello {problem}\n  there")]


def test_turns_stand_behind_one_another_until_forgotten(recipe: Recipe) -> None:
    conversation = talk(recipe())
    first = conversation.ask(ASKED)
    second = conversation.ask(Question("Where is John?", STORY))
    assert said(second)[:3] == [*said(first), ("assistant", first.text)]
    assert second.answer == "cellar"
    conversation.forget()
    assert said(conversation.ask(ASKED)) == said(first)


def test_shots_come_before_what_was_said(recipe: Recipe) -> None:
    place = recipe()
    with pytest.raises(InputError, match=r"shows solved problems; first run: tracedistill validate"):
        talk(place, "few-shot")
    pipeline.run(pipeline.load(place), "validate", quiet=True)
    conversation = talk(place, "few-shot")
    first = conversation.ask(ASKED)
    assert [role for role, _ in said(first)] == ["system", "user", "assistant", "user", "assistant", "user"]
    second = conversation.ask(ASKED)
    assert said(second)[:6] == said(first)
    assert [role for role, _ in said(second)][6:] == ["assistant", "user"]


@pytest.mark.parametrize("format", ["tags", "reasoning"])
def test_earlier_thinking_is_not_shown_again_where_families_hide_it(recipe: Recipe, format: str) -> None:
    place = recipe(format=format, students={"s": {"model": f"scripted:tests.tools.test_conversation:{format}"}})
    conversation = talk(place)
    first = conversation.ask(ASKED)
    assert (first.trace, first.answer) == ("because", "kitchen")
    remembered = said(conversation.ask(ASKED))[1][1]
    assert (
        remembered
        == {"tags": "<think>because</think> <answer>kitchen</answer>", "reasoning": "Answer: kitchen"}[format]
    )


def tags(request: Any) -> str:
    return "<think>because</think> <answer>kitchen</answer>"


def reasoning(request: Any) -> str:
    return "<think>\nbecause\n</think>\n\nAnswer: kitchen"


def test_choices_get_letters(recipe: Recipe, tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", "choices": ["red", "blue"], "answer": "A"} for n in range(40)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    place = recipe(
        task={"name": "file", "path": "mine.jsonl"}, students={"s": {"model": "scripted:tests.scripts:rambler"}}
    )
    reply = talk(place).ask(Question("Which?", choices=("red", "blue")))
    assert "Which?\nA. red\nB. blue" in said(reply)[-1][1]
    with pytest.raises(InputError, match="at most 26"):
        talk(place).ask(Question("Which?", choices=("x",) * 27))


def test_what_a_task_cannot_render_is_said(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def render(self: object, problem: Any) -> str:
        return str(problem.meta["grid"])

    monkeypatch.setattr("tracedistill.tasks.babi.task.Babi.render_problem", render)
    with pytest.raises(InputError, match=r"cannot render a new question \(KeyError: 'grid'\).*--problem ID"):
        talk(recipe()).ask(ASKED)


# ---- plans


def test_rules_make_the_plan_of_a_new_question(recipe: Recipe) -> None:
    reply = talk(recipe(), "trace-of-thought").ask(ASKED)
    assert reply.plan == "Question type: single-supporting-fact.\nSupporting facts: Mary went to the kitchen."
    assert reply.plan in said(reply)[-1][1]


def test_a_plan_of_ones_own(recipe: Recipe) -> None:
    reply = talk(recipe(), "trace-of-thought", plan="1. Look.").ask(ASKED)
    assert reply.plan == "1. Look."
    assert "1. Look." in said(reply)[-1][1]
    with pytest.raises(InputError, match="shows no plan"):
        talk(recipe(), "standard", plan="1. Look.")


def test_a_model_makes_the_plan_within_the_studys_budget(recipe: Recipe, tmp_path: Path) -> None:
    model = {"kind": "model", "model": "scripted:tests.tools.test_conversation:planner", "prompt": "delegation"}
    place = recipe(teachers={"paid": model}, cache=str(tmp_path / "cache.sqlite"))
    assert talk(place, "trace-of-thought").ask(ASKED).plan == "1. Find Mary."
    assert (tmp_path / "cache.sqlite").exists()
    broke = recipe(teachers={"paid": {**model, "max_tokens": 2}}, cache=str(tmp_path / "cache.sqlite"))
    with pytest.raises(InputError, match=r"paid made none: length; give one with --plan FILE"):
        talk(broke, "trace-of-thought").ask(ASKED)


def planner(request: Any) -> str:
    assert "Where is Mary?" in request.messages[-1].content
    return "1. Find Mary."


@pytest.mark.parametrize(
    ("teacher", "plan", "told"),
    [
        ({"kind": "gold"}, "correct", "teacher t cannot make one for a new question"),
        ({"kind": "model", "model": "scripted:tests.tools.test_conversation:planner", "prompt": "plan-with-hint"},
         "correct", "teacher t cannot make one for a new question"),
        ({"kind": "rules"}, "shuffled", "plans changed by 'shuffled'"),
        ({"kind": "rules"}, "correct", "rules cannot make one for this question"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_had(recipe: Recipe, teacher: dict[str, Any], plan: str, told: str) -> None:
    place = recipe(teachers={"t": teacher}, arms={"told": {"prompt": "trace-of-thought", "plan": plan}})
    with pytest.raises(InputError, match=f"{told}.*--plan FILE"):
        talk(place, "told").ask(Question("What is love?"))


# ---- problems of the study


def test_a_known_problem_is_asked_as_the_study_asked_it(recipe: Recipe) -> None:
    """In context, with its plan and its shots: the study's own text comes back, and its verdict."""
    place = recipe()
    with pytest.raises(InputError, match="no problems yet; first run: tracedistill teach"):
        talk(place).ask_known("babi-s0-test-1")
    pipeline.run(pipeline.load(place), quiet=True)
    for arm in ("standard", "few-shot", "trace-of-thought"):
        attempts = read_jsonl(place.parent / "run" / "generations" / f"{arm}.jsonl", Attempt)
        conversation = talk(place, arm)
        for attempt in attempts:
            reply = conversation.ask_known(attempt.problem_id)
            assert (reply.text, reply.tokens) == (attempt.text, attempt.tokens_out)
            assert reply.verdict is not None
            assert reply.verdict.ok
            conversation.forget()
        with pytest.raises(InputError, match="no problem of this id"):
            conversation.ask_known("nope")


def test_a_training_problem_gets_a_plan_without_its_gold(recipe: Recipe) -> None:
    place = recipe(teachers={"gold": {"kind": "gold"}})
    pipeline.run(pipeline.load(place), "assemble", quiet=True)
    with pytest.raises(InputError, match="teacher gold cannot make one for a new question"):
        talk(place, "trace-of-thought").ask_known("babi-s0-train-1")
    assert talk(place, "trace-of-thought").ask_known("babi-s0-test-1").plan is not None


# ---- tuned students


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    import warnings

    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("tuned")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        loaded = small_study(place)
        unchecked = Conversation(open_study(place / "run"), "correct")
        assert "kept separate: merging was not checked yet" in unchecked.how
        pipeline.run(loaded, quiet=True)
    yield place
    torch.set_num_threads(threads)


def test_a_tuned_arm_answers_as_in_the_study(tuned: Path) -> None:
    for target in (tuned / "study.yaml", tuned / "run"):
        for arm in ("correct", "borrowed", "standard"):
            conversation = talk(target, arm)
            for attempt in read_jsonl(tuned / "run" / "generations" / f"{arm}.jsonl", Attempt):
                assert conversation.ask_known(attempt.problem_id).text == attempt.text
                conversation.forget()


def test_it_says_what_answers(tuned: Path) -> None:
    assert talk(tuned / "run", "correct").how == (
        "tiny (model, float32), tuned; adapter merged: merging changes 0 of 6 verdicts"
    )
    assert "tuned on arm correct" in talk(tuned / "run", "borrowed").how
    assert talk(tuned / "run").how == "tiny (model, float32), untuned"
    with pytest.raises(InputError, match="has 1 adapter"):
        talk(tuned / "run", "correct", seed=1)


def test_a_student_that_plans_for_itself_does_so_without_its_adapter(tuned: Path, tmp_path: Path) -> None:
    planner = {"kind": "student", "prompt": "standard", "reads": "plan", "max_tokens": 8}
    arms = {"correct": {"tune": "correct", "teacher": "rules"},
            "told": {"adapter": "correct", "prompt": "trace-of-thought", "teacher": "self"}}  # fmt: skip
    recipe = recipe_of(tmp_path, tuned / "model", arms=arms, teachers={"rules": {}, "self": planner},
                       cache=str(tmp_path / "cache.sqlite"), run_dir=str(tuned / "run"))  # fmt: skip
    conversation = Conversation(open_study(recipe), "told")
    with contextlib.suppress(InputError):  # the tiny model says nothing of use: what is looked at is who answers
        conversation.ask(ASKED)
    assert conversation._engine is None
    engine: Any = conversation._load()[0]
    assert engine.describe()["adapter"] == "merged"


def test_a_question_longer_than_the_window(tuned: Path) -> None:
    conversation = talk(tuned / "run", "correct")
    with pytest.raises(InputError, match=r"plus max_tokens exceeds the student's context window$"):
        conversation.ask(Question("Where? " * 600))
    conversation.ask(ASKED)
    with pytest.raises(InputError, match="an empty line starts a new conversation"):
        conversation.ask(Question("Where? " * 600))
    assert conversation.ask(ASKED).finish in ("stop", "length"), "what failed was not said"


# ---- the command


def test_a_question_behind_options_and_overrides(recipe: Recipe, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "story.txt").write_text("\n".join((*STORY, "")))
    place = str(recipe())
    for argv in (
        ["ask", place, "Where is Mary?", "--arm", "standard", "--context", str(tmp_path / "story.txt")],
        ["ask", place, "--arm", "standard", "--context", str(tmp_path / "story.txt"), "seed=3", "Where", "is", "Mary?"],
    ):
        assert main(argv) == 0
        told = capsys.readouterr()
        assert "[answer] kitchen" in told.out
        assert "[trace] Question type: single-supporting-fact. | Supporting facts: Mary" in told.out
        assert told.err == "arm standard: solver (scripted:tests.scripts:solver), untuned\n"


def test_an_equation_is_a_question_and_a_misspelt_key_is_none(recipe: Recipe, capsys: Any) -> None:
    place = str(recipe(students={"s": {"model": "scripted:tests.tools.test_conversation:echo"}}))
    assert main(["ask", place, "--arm", "standard", "--plain", "x=3. What is 2x=?"]) == 0
    assert capsys.readouterr().out.startswith("x=3. What is 2x=?\n")
    assert main(["ask", place, "--arm", "standard", "--plain", "task.nope=3", "hi"]) == 2
    assert "unknown key" in capsys.readouterr().err


def echo(request: Any) -> str:
    return str(request.messages[-1].content)


def test_lines_are_turns_and_empty_lines_part_conversations(
    recipe: Recipe, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "story.txt").write_text("\n".join(STORY))
    monkeypatch.setattr("sys.stdin", io.StringIO("Where is Mary?\nWhere is John?\n\nWhere is Mary?\n"))
    assert main(["ask", str(recipe()), "--arm", "standard", "--context", str(tmp_path / "story.txt"), "--json"]) == 0
    replies = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [reply["answer"] for reply in replies] == ["kitchen", "cellar", "kitchen"]
    assert [len(reply["messages"]) for reply in replies] == [2, 4, 2]


def test_a_person_at_the_terminal(recipe: Recipe, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors do not end the talk; Ctrl-D does."""
    lines = iter(["Where is Mary?", "", "Where is John?"])
    place = recipe(students={"s": {"model": "scripted:tests.tools.test_conversation:moody"}})

    def typed(prompt: str) -> str:
        assert prompt == "> "
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    assert main(["ask", str(place), "--arm", "standard", "--plain"]) == 0
    told = capsys.readouterr()
    assert "no answer (error): not in the mood" in told.err
    assert "Answer: there" in told.out


def moody(request: Any) -> Any:
    from tracedistill.engines import Generation

    if "Mary" in request.messages[-1].content:
        return Generation(request.request_id, "", "error", error="not in the mood")
    return "Answer: there"


def test_context_from_the_input(recipe: Recipe, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(STORY)))
    assert main(["ask", str(recipe()), "--arm", "standard", "--context", "-", "Where is John?"]) == 0
    assert "[answer] cellar" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--arm", "nope", "q"], "no such arm; the study has: standard"),
        (["--arm", "own", "q"], "chat with chain-of-thought instead"),
        (["--arm", "standard", "--context", "nowhere.txt", "q"], "nowhere.txt: cannot be read"),
        (["--arm", "standard", "--context", "-"], "give the question on the command line"),
        (["--arm", "standard", "--problem", "p", "q"], "leave out QUESTION, --context and --choice"),
        (["--arm", "standard", "--plan", "x", "q"], "x: cannot be read"),
    ],
)
def test_bad_arguments(recipe: Recipe, argv: list[str], told: str, capsys: Any) -> None:
    assert main(["ask", str(recipe()), *argv]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""


def test_context_lines() -> None:
    assert context_of(" a \n\n b\r\n") == ("a", "b")
