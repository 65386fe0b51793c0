"""What differs between arms, each difference planted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sections_kit import FakeRun, line, table, verdicts
from tracedistill import interventions
from tracedistill.files import write_json
from tracedistill.interventions import Intervention
from tracedistill.recipes import Arm, AttributionConfig, TeacherConfig
from tracedistill.report.sections.differences import differences
from tracedistill.report.sections.kept_form import ALL, Preserved, kept_by, kept_of
from tracedistill.report.sections.text_form import form_of, frame_of, other_marks

KEYS = [f"p{n}" for n in range(20)]
NAMES = ("Ann", "Bob", "Cid", "Dot", "Eve")


def completion(fact: str, label: str = "equal", answer: str = "Bob") -> str:
    """A row's completion in the published form: a class, a list of facts, an answer."""
    return f"The temporal relation is: {label}.\nI need these facts: [{fact!r}]\nAnswer: {answer}"


CORRECT = {key: completion(f"{NAMES[n % 5]} met Bob in {1990 + n}.") for n, key in enumerate(KEYS)}
INCORRECT = {key: completion(f"{NAMES[(n + 1) % 5]} met Cid in {1950 + n}.", "other") for n, key in enumerate(KEYS)}
ARMS = {"right": Arm(tune="correct"), "wrong": Arm(tune="incorrect")}
PAIR = [("wrong", "right")]
REAL = dict(interventions.INTERVENTIONS)


@pytest.fixture(autouse=True)
def _fixed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Declarations of the tests' own, whatever those of the interventions become."""
    if "every_intervention" not in request.node.name:
        kept = ("format", "number of steps", "length: mean within 3%")
        keeps = {"correct": ("everything",), "incorrect": kept, "wrong-facts": kept, "dropped-step": (),
                 "wrong-answer": ("trace",), "silent": ("format", "number of steps")}  # fmt: skip
        known = {
            name: Intervention(name, each, (), REAL["correct"].apply, answers=name == "wrong-answer")  # type: ignore[arg-type]
            for name, each in keeps.items()
        }
        monkeypatch.setattr(interventions, "INTERVENTIONS", known)


def study(
    folder: Path,
    wrong: Mapping[str, str] = INCORRECT,
    arms: Mapping[str, Arm] = ARMS,
    attempts: Mapping[str, Any] | None = None,
    **training: Any,
) -> FakeRun:
    """Two tuned arms; keyword arguments change the second one's hyperparameters."""
    rows = {name: verdicts([True, False, True]) for name in arms}
    run = FakeRun(folder, arms, {**rows, **(attempts or {})}, comparisons=PAIR)
    run.tuned("right", CORRECT)
    run.tuned("wrong", wrong, **training)
    return run


def found(run: FakeRun) -> dict[str, tuple[str, bool]]:
    """What differs between the pair -> (why, whether it is red)."""
    rows = table(differences(run.view()), "compared arms")
    return {str(row[1]): (str(row[4]), (place, 4) in rows.flagged) for place, row in enumerate(rows.rows)}


def red(run: FakeRun) -> list[str]:
    return [what for what, (_, flagged) in found(run).items() if flagged]


def test_arms_that_differ_in_their_declared_factor_alone(tmp_path: Path) -> None:
    seen = found(study(tmp_path))
    assert seen["tune"] == ("declared", False)
    assert not any(flagged for _, flagged in seen.values())
    assert set(seen) == {"tune"}, "equal length, form, rows, prompts, hyperparameters"


def test_another_warm_up_is_flagged(tmp_path: Path) -> None:
    run = study(tmp_path, warmup=0.03)
    assert found(run)["training: warmup"] == ("not declared", True)
    assert red(run) == ["training: warmup"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"learning_rate": 1e-3}, "training: learning_rate"),
        ({"epochs": 3.0}, "training: epochs"),
        ({"seed": 5}, "training: seed"),
        ({"max_length": 99}, "training: max_length"),
    ],
)
def test_other_hyperparameters_are_flagged(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    assert red(study(tmp_path, **change)) == [what]


def test_what_moves_only_time_and_memory_is_not(tmp_path: Path) -> None:
    assert red(study(tmp_path, activation_checkpointing=True, gradient_accumulation=4, save_steps=7)) == []


def test_other_rows_are_flagged(tmp_path: Path) -> None:
    rows = dict(list(INCORRECT.items())[:18])
    run = study(tmp_path, rows)
    assert found(run)["tuned on: rows"] == ("not declared; 18 in common", True)
    assert red(run) == ["tuned on: rows"]


def test_dropped_rows_count_as_not_there(tmp_path: Path) -> None:
    run = study(tmp_path, dict(list(INCORRECT.items())[:18]))
    write_json(tmp_path / "sft" / "None.preflight.json", {"dropped": [], "arms": {}})
    write_json(tmp_path / "sft" / "s.preflight.json", {"dropped": KEYS[18:], "arms": {}})
    assert red(run) == []


def around(change: tuple[str, str]) -> dict[str, str]:
    """The incorrect rows, with something about their spacing changed in each."""
    return {key: text.replace(*change) for key, text in INCORRECT.items()}


@pytest.mark.parametrize(
    ("change", "what", "shown"),
    [
        (("Answer: ", "Answer:  "), "around trace and answer", "{trace}↵Answer:␣␣{answer} 100%"),
        (("Answer: Bob", "Answer: Bob "), "around trace and answer", "{trace}↵Answer:␣{answer}␣ 100%"),
        (("\nAnswer", "\n\nAnswer"), "around trace and answer", "{trace}↵↵Answer:␣{answer} 100%"),
        (("\nAnswer", "\r\nAnswer"), "around trace and answer", "{trace}␍↵Answer:␣{answer} 100%"),
        (("The temporal", "\nThe temporal"), "around trace and answer", "↵{trace}↵Answer:␣{answer} 100%"),
        ((".\nI need", ". \nI need"), "spacing", "blanks at a line's end 100%"),
        ((".\nI need", ".\r\nI need"), "spacing", "carriage returns 100%"),
        ((" met ", "  met "), "spacing", "two blanks in a row 100%"),
        ((" met ", "\u00a0met "), "spacing", "blanks of other kinds 100%"),
        ((" met ", "\tmet "), "spacing", "tabs 100%"),
        (("other.", "other ."), "spacing", "a blank before a mark 100%"),
        (("I need these facts: [", "\tI need these facts: ["), "spacing", "blanks at a line's start 100%, tabs 100%"),
    ],
)
def test_spacing_that_is_off_in_every_row_is_flagged(
    tmp_path: Path, change: tuple[str, str], what: str, shown: str
) -> None:
    run = study(tmp_path, around(change))
    assert red(run) == [f"tuned on: {what}"]
    rows = table(differences(run.view()), "compared arms").rows
    (told,) = [str(row[2]) for row in rows if row[1] == f"tuned on: {what}"]
    assert shown in told


def test_spacing_that_few_rows_have_is_what_they_say(tmp_path: Path) -> None:
    one = {**INCORRECT, KEYS[0]: INCORRECT[KEYS[0]].replace(" met ", "  met ").replace("Answer: ", "Answer:  ")}
    assert red(study(tmp_path, one)) == []


def test_spacing_of_answers_alone(tmp_path: Path) -> None:
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="none")}
    alone = {key: text.rpartition("\n")[2] for key, text in CORRECT.items()}
    assert red(study(tmp_path, alone, arms)) == []
    wide = {key: text.replace(": ", ":  ") for key, text in alone.items()}
    run = study(tmp_path / "wide", wide, arms)
    assert red(run) == ["tuned on: around trace and answer"]
    assert red(study(tmp_path / "both", wide, {"right": Arm(tune="none"), "wrong": Arm(tune="none")}))


def test_spacing_of_another_teacher_comes_with_it(tmp_path: Path) -> None:
    run = study(
        tmp_path, around((" met ", "  met ")), {"right": Arm(tune="correct"), "wrong": Arm(tune="correct", teacher="b")}
    )
    seen = found(run)
    assert seen["tuned on: spacing"] == ("comes with teacher", False)


@pytest.mark.parametrize(
    ("completion", "trace", "answer", "frame"),
    [
        ("So.\nAnswer: a", "So.", "a", "{trace}↵Answer:␣{answer}"),
        ("Answer: r", None, "r", "Answer:␣{answer}"),
        ("<think>So.</think> <answer>r</answer>", "So.", "r", "<think>{trace}</think>␣<answer>{answer}</answer>"),
        ("<think>\n\n</think>\n\nAnswer: t", None, "t", "<think>↵↵</think>↵↵Answer:␣{answer}"),
        ("Answer:\na b\nc", None, "a b\nc", "Answer:↵{answer}"),
        ("So", "So", None, "{trace}"),
    ],
)
def test_frames(completion: str, trace: str | None, answer: str | None, frame: str) -> None:
    assert frame_of(completion, trace, answer) == frame


def test_another_order_of_rows_is_flagged(tmp_path: Path) -> None:
    assert red(study(tmp_path, dict(reversed(INCORRECT.items())))) == ["tuned on: order of the rows"]


def test_a_bare_string_where_the_other_arm_cites_a_list_is_flagged(tmp_path: Path) -> None:
    bare = {key: text.replace("[", "").replace("]", " .") for key, text in INCORRECT.items()}
    rows = table(differences(study(tmp_path, bare).view()), "compared arms")
    (row,) = [place for place, each in enumerate(rows.rows) if each[1] == "tuned on: format"]
    assert (row, 1) in rows.flagged
    assert rows.rows[row][2:] == (
        "a list in brackets 0%",
        "a list in brackets 100%",
        "incorrect and correct keep the format",
    )


def test_other_fixed_words_are_another_format(tmp_path: Path) -> None:
    other = {key: text.replace("I need these facts:", "The facts I need:") for key, text in INCORRECT.items()}
    assert "tuned on: format" in red(study(tmp_path, other))


def test_a_length_beyond_the_declared_is_flagged(tmp_path: Path) -> None:
    longer = {key: text.replace(" in 19", ", as they say, in 19") for key, text in INCORRECT.items()}
    why, flagged = found(study(tmp_path, longer))["tuned on: characters of a trace, mean"]
    assert flagged
    assert why == "more than incorrect and correct declare; 0 of 20 within 10%"
    shorter = {key: text.replace(" relation is", "") for key, text in INCORRECT.items()}
    assert red(study(tmp_path / "shorter", shorter))[-1] == "tuned on: characters of a trace, mean"
    little = {key: text.replace("other", "others") for key, text in INCORRECT.items()}
    why, flagged = found(study(tmp_path / "little", little))["tuned on: characters of a trace, mean"]
    assert not flagged
    assert why == "as much as incorrect and correct declare; 20 of 20 within 10%"


def test_one_more_line_is_flagged_where_steps_are_to_be_kept(tmp_path: Path) -> None:
    more = {key: text.replace("\nI need", "\nSo be it.\nI need") for key, text in INCORRECT.items()}
    assert "tuned on: lines of a trace, mean" in red(study(tmp_path, more))


def test_other_numbers_of_steps_are_flagged_as_assembled(tmp_path: Path) -> None:
    run = study(tmp_path)
    run.assembly["arms"] = {"right": {"traces": 20, "steps": 40}, "wrong": {"traces": 20, "steps": 50}}
    assert red(run) == ["tuned on: steps of a trace, mean"]
    run.assembly["arms"]["wrong"]["steps"] = 40
    assert red(run) == []


def test_what_an_intervention_does_not_keep_comes_with_it(tmp_path: Path) -> None:
    fewer = {key: text.split("\n", 1)[1] for key, text in CORRECT.items()}
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="dropped-step")}
    seen = found(study(tmp_path, fewer, arms))
    assert seen["tuned on: lines of a trace, mean"] == ("comes with tune, which does not keep it", False)
    assert not seen["tuned on: characters of a trace, mean"][1]
    assert seen["tuned on: format"] == ("comes with tune, which does not keep it", False)


def test_a_length_that_nobody_declares_is_a_second_factor(tmp_path: Path) -> None:
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="silent")}
    longer = {key: text.replace(" in ", ", as everybody here always says, in ") for key, text in CORRECT.items()}
    why, flagged = found(study(tmp_path, longer, arms))["tuned on: characters of a trace, mean"]
    assert (why, flagged) == ("silent and correct do not declare it; 0 of 20 within 10%", True)


def test_answers_alone_against_traces_is_the_factor_itself(tmp_path: Path) -> None:
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="none")}
    seen = found(study(tmp_path, dict.fromkeys(KEYS, "Answer: Bob"), arms))
    assert seen["tuned on: what"] == ("comes with tune", False)
    assert not any(flagged for _, flagged in seen.values())


@pytest.mark.parametrize(("tune", "flagged"), [("incorrect", True), ("wrong-answer", False)])
def test_other_answers_taught(tmp_path: Path, tune: str, flagged: bool) -> None:
    rows = {
        key: text.replace("Answer: Bob", "Answer: Eve") for key, text in (CORRECT if not flagged else INCORRECT).items()
    }
    seen = found(study(tmp_path, rows, {"right": Arm(tune="correct"), "wrong": Arm(tune=tune)}))
    assert seen["tuned on: answers taught"][1] is flagged


def test_other_training_prompts_are_flagged_unless_the_prompt_is_declared(tmp_path: Path) -> None:
    assert red(study(tmp_path, prompt="Think! Q")) == ["tuned on: prompts"]
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="correct", prompt="chain-of-thought")}
    seen = found(study(tmp_path / "declared", CORRECT, arms, prompt="Think! Q"))
    assert seen["tuned on: prompts"] == ("comes with prompt", False)


def test_a_limit_beside_another_factor_is_flagged_alone_it_is_the_factor(tmp_path: Path) -> None:
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="incorrect", max_tokens=512)}
    assert found(study(tmp_path, arms=arms))["max_tokens"] == ("declared, but confounded with tune", True)
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="correct", max_tokens=512)}
    assert found(study(tmp_path / "alone", CORRECT, arms))["max_tokens"] == ("declared", False)


def test_a_vote_needs_samples_and_a_forced_answer_few_tokens(tmp_path: Path) -> None:
    arms = {"right": Arm(), "wrong": Arm(samples=5, temperature=0.7, vote=True, max_tokens=64)}
    run = FakeRun(tmp_path, arms, {name: verdicts([True] * 3) for name in arms}, comparisons=PAIR)
    assert red(run) == ["max_tokens"]
    arms = {"right": Arm(), "wrong": Arm(forced="foreign", max_tokens=64, samples=2)}
    run = FakeRun(tmp_path / "forced", arms, {name: verdicts([True] * 3) for name in arms}, comparisons=PAIR)
    assert red(run) == ["samples"]


def test_other_problems_and_another_order_are_flagged(tmp_path: Path) -> None:
    order = {"wrong": verdicts([True, False, True])[::-1]}
    assert red(study(tmp_path, attempts=order)) == ["order of the problems"]
    fewer = {"wrong": verdicts([True, False])}
    assert found(study(tmp_path / "fewer", attempts=fewer))["test problems"] == ("not declared; 2 in common", True)


def test_other_seeds_of_the_adapters_are_flagged(tmp_path: Path) -> None:
    more = {"wrong": [line(f"p{n}", seed=seed) for seed in (0, 1) for n in range(3)]}
    assert red(study(tmp_path, attempts=more)) == ["seeds of the adapters"]


def test_other_generation_settings_and_prompt_tokens_are_flagged(tmp_path: Path) -> None:
    longer = {"wrong": verdicts([True, False, True], tokens=(20, 5))}
    run = study(tmp_path, attempts=longer)
    run.manifest("generate:wrong", "generations/wrong.jsonl", {**run._asked("wrong"), "format": "tags"})
    assert red(run) == ["generation: format", "prompt tokens, mean"]


def test_the_same_arm_twice_is_no_comparison(tmp_path: Path) -> None:
    arms = {"right": Arm(tune="correct"), "wrong": Arm(tune="correct")}
    assert red(study(tmp_path, CORRECT, arms)) == ["nothing"]


def test_plans_shown_are_held_against_each_other_too(tmp_path: Path) -> None:
    arms = {"right": Arm(prompt="trace-of-thought"), "wrong": Arm(prompt="trace-of-thought", plan="wrong-facts")}
    run = FakeRun(tmp_path, arms, {name: verdicts([True] * 3) for name in arms}, comparisons=PAIR)
    run.plans("right", {f"p{n}": ["First: do this.\nThen: [do that]."] for n in range(3)})
    run.plans("wrong", {f"p{n}": ["First: do that.\nThen: do this  ."] for n in range(3)})
    assert red(run) == ["shown: format", "shown: spacing"]
    run.plans("wrong", {f"p{n}": ["First: do that.\nThen: [do this]."] for n in range(2)})
    assert red(run) == ["shown: rows"]


def test_several_plans_are_several_rows_of_the_same_problems(tmp_path: Path) -> None:
    arms = {"right": Arm(prompt="trace-of-thought"), "wrong": Arm(prompt="trace-of-thought", plans=2, vote=True)}
    run = FakeRun(tmp_path, arms, {name: verdicts([True] * 3) for name in arms}, comparisons=PAIR)
    run.plans("right", {f"p{n}": ["First: do this."] for n in range(3)})
    run.plans("wrong", {f"p{n}": ["First: do this.", "First: do that."] for n in range(3)})
    assert found(run)["shown: rows"] == ("comes with plans", False)
    run.plans("wrong", {f"p{n}": ["First: do this.", "First: do that."] for n in range(1, 5)})
    assert "shown: rows" in red(run)


def test_arms_of_an_attribution_are_held_against_each_other(tmp_path: Path) -> None:
    drawn = Arm(prompt="trace-of-thought", samples=3, temperature=0.7)
    arms = {
        "base": Arm(),
        "told": drawn,
        "gold": replace(drawn, teacher="gold"),
        "again": replace(drawn, plan_sample=1),
        "other": replace(drawn, samples=5),
    }
    teachers = {"rules": TeacherConfig(), "gold": TeacherConfig(kind="gold")}
    run = FakeRun(tmp_path, arms, {name: verdicts([True] * 3) for name in arms}, teachers=teachers)
    run.study = replace(run.study, attribution=(AttributionConfig(plan="told", gold="gold", again="again"),))
    for name in arms:
        run.manifest(f"generate:{name}", f"generations/{name}.jsonl", run._asked(name))
    section = differences(run.view())
    rows = table(section, "arms used for error")
    assert {row[0] for row in rows.rows} == {"gold - told", "again - told"}
    assert not rows.flagged
    assert {row[0] for row in table(section, "the other arms").rows} == {"other - base"}


def test_another_teacher_explains_other_plans(tmp_path: Path) -> None:
    arms = {name: Arm(prompt="trace-of-thought", teacher=name) for name in ("right", "wrong")}
    teachers = {name: TeacherConfig() for name in arms}
    run = FakeRun(tmp_path, arms, {name: verdicts([True] * 3) for name in arms}, comparisons=PAIR, teachers=teachers)
    run.plans("right", {f"p{n}": ["First: do this.\nThen: [do that]."] for n in range(3)})
    run.plans("wrong", {f"p{n}": ["Just answer the question as well as you can, will you?"] for n in range(3)})
    assert red(run) == []
    assert found(run)["shown: format"] == ("comes with teacher", False)


def test_broken_declarations_are_red(tmp_path: Path) -> None:
    run = study(tmp_path)
    measured = {"n": 20, "left_out": 1, "length_ratio": 1.2, "within_tenth": 0.4}
    run.assembly["arms"] = {
        "right": {"measured": {**measured, "length_ratio": 1.0, "within_tenth": 1.0}, "broken": []},
        "wrong": {"measured": measured, "broken": ["incorrect is to keep length: mean within 3%: the mean is 1.200"]},
    }
    rows = table(differences(run.view()), "interventions checked")
    assert rows.rows[0][-1] == "all hold"
    assert rows.rows[1] == ("wrong", "tuned on", 20, 1, "1.200", "40%", run.assembly["arms"]["wrong"]["broken"][0])
    assert rows.flagged == {(1, 6)}


def test_every_arm_is_held_against_the_first(tmp_path: Path) -> None:
    arms = {"base": Arm(), **ARMS}
    run = study(tmp_path, arms=arms)
    rows = table(differences(run.view()), "the other arms").rows
    assert {row[0] for row in rows} == {"right - base", "wrong - base"}
    assert differences(FakeRun(tmp_path / "one", {"a": Arm()}, {"a": verdicts([True])}).view()) is None


@pytest.mark.parametrize(
    ("keeps", "fields"),
    [
        (("everything",), (True, True, 0.0)),
        (("trace", "answer frequencies"), (True, True, 0.0)),
        (("format", "step kinds", "number of steps", "length: mean within 3%"), (True, True, 0.03)),
        (("format", "number of steps", "length: mean within 12%"), (True, True, 0.12)),
        (("number of lines", "length"), (False, True, 0.1)),
        (("length", "length: mean within 5%"), (False, False, 0.05)),
        (("format", "steps"), (True, True, 0.03)),
        (("format",), (True, False, None)),
        ((), (False, False, None)),
    ],
)
def test_what_declarations_come_to(keeps: tuple[str, ...], fields: tuple[bool, bool, float | None]) -> None:
    kept = kept_of(keeps)
    assert (kept.format, kept.lines, kept.length) == fields


def test_every_intervention_is_understood() -> None:
    assert kept_by("correct") == ALL
    assert kept_by("own") == kept_by(None) == Preserved()
    for name, intervention in REAL.items():
        assert (kept_by(name).length is None) <= (not any("length" in each for each in intervention.keeps))


def test_forms_are_told_apart_by_marks_and_not_by_content() -> None:
    sums = form_of([f"Tom has {n} apples: {n} + 1 = {n + 1}" for n in range(2, 40)])
    others = form_of([f"Ann buys {n} pears: {n} * 2 = {2 * n}" for n in range(2, 40)])
    assert other_marks(sums, others) == []
    listed = form_of([f"1. Tom has {n} apples.\n2. Add <<{n}+1={n + 1}>>" for n in range(2, 40)])
    assert [name for name, *_ in other_marks(sums, listed)][:2] == ["<<...>>", "numbered lines"]
    assert (listed.n, listed.lines) == (38, 2)
    assert form_of([]).characters == 0
