from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.interventions import INTERVENTIONS, NO_TRACE
from tracedistill.recipes import (
    Arm,
    LauncherConfig,
    StudentConfig,
    Study,
    TeacherConfig,
    ToleranceConfig,
    load,
    resolved,
)
from tracedistill.recipes.names import DERIVED
from tracedistill.recipes.reflection import keys_of
from tracedistill.tasks import TASKS

SMALL: dict[str, Any] = {
    "study": "small",
    "task": {"name": "babi"},
    "students": {"one": {"model": "scripted:tests.scripts:solver"}},
    "arms": {"standard": {}},
}
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A recipe file: text as it is, or SMALL with top-level keys replaced (None: left out)."""

    def make(text: str | None = None, **changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        recipe = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(recipe, sort_keys=False) if text is None else text, encoding="utf-8")
        return path

    return make


def errors_of(path: Path, *overrides: str) -> list[str]:
    """The lines of the one error that loading raises, without its heading."""
    with pytest.raises(InputError) as caught:
        pipeline.load(path, overrides)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def study_of(path: Path, *overrides: str) -> Study:
    return pipeline.load(path, overrides).study


# ---- strictness


def test_every_error_at_once_with_line_and_nearest_key(write: Write) -> None:
    path = write(
        "study: small\n"
        "sede: 1\n"
        "task: {name: babl, tset: 5}\n"
        "students:\n"
        "  one: {model: m, dtype: float16}\n"
        "training:\n"
        "  learning_rat: 1\n"
        "  batch_size: eight\n"
        "  epochs: true\n"
        "  max_length: 1.5\n"
        "arms:\n"
        "  standard: {promt: standard, tune: corect}\n"
    )
    names = ", ".join(sorted({*INTERVENTIONS, NO_TRACE}))
    assert errors_of(path) == [
        "sede (line 2): unknown key; did you mean 'seed'?",
        f"task.name (line 3): unknown name 'babl'; did you mean 'babi'?; known: {', '.join(sorted(TASKS))}",
        "task.tset (line 3): unknown key; did you mean 'test'?",
        "students.one.dtype (line 5): 'float16' is not one of auto, float32, bfloat16; did you mean 'bfloat16'?",
        "training.learning_rat (line 7): unknown key; did you mean 'learning_rate'?",
        "training.batch_size (line 8): must be a whole number, got 'eight'",
        "training.epochs (line 9): must be a number, got True",
        "training.max_length (line 10): must be a whole number, got 1.5",
        "arms.standard.promt (line 12): unknown key; did you mean 'prompt'?",
        f"arms.standard.tune (line 12): unknown name 'corect'; did you mean 'correct'?; known: {names}",
    ]


def test_a_wrong_type_hides_no_other_error_and_brings_none_along(write: Write) -> None:
    path = write(
        "study: small\n"
        "task: {name: babi, train: many}\n"
        "students:\n"
        "  one: {}\n"
        "  two: {model: m, base_url: nowhere}\n"
        "training: {epochs: fast, lora_dropout: 2}\n"
        "arms:\n"
        "  a: {student: [1], shots: 2.5}\n"
        "  b: {student: three, mix: {a: half}, tune: correct}\n"
        "comparisons: [[a], [a, nobody], [a, b, c], five]\n"
    )
    assert errors_of(path) == [
        "task.train (line 2): must be a whole number, got 'many'",
        "students.one.model: is missing",
        "students.two.base_url (line 5): give the endpoint's URL, such as https://api.openai.com/v1",
        "training.epochs (line 6): must be a number, got 'fast'",
        "training.lora_dropout (line 6): must be below 1, got 2",
        "arms.a.student (line 8): must be text, got [1]",
        "arms.a.shots (line 8): must be a whole number, got 2.5",
        "arms.b.student (line 9): unknown student 'three'",
        "arms.b.mix.a (line 9): must be a number, got 'half'",
        "comparisons[0]: must have 2 values, got 1",
        "comparisons[2]: must have 2 values, got 3",
        "comparisons[3]: must be a list, got 'five'",
    ]


@pytest.mark.parametrize(("written", "value"), [("off", "off"), ("on", "on"), ("auto", "auto"), ("'off'", "off")])
def test_a_switch_is_written_without_quotes(write: Write, written: str, value: str) -> None:
    """YAML 1.1 reads a bare on or off as a truth value."""
    assert study_of(write(), f"training.liger={written}").training.liger == value


def test_the_heading_names_the_file_and_counts(write: Write) -> None:
    path = write(sede=1)
    with pytest.raises(InputError, match=r"study.yaml: 1 error in the recipe\n"):
        load(path)
    with pytest.raises(InputError, match=r"study.yaml: 2 errors in the recipe\n"):
        load(path, ["tsk=1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a recipe is a mapping"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("just words", "a recipe is a mapping"),
        ("study: [1, 2\n", "not valid YAML"),
        ("study: a\n---\nstudy: b\n", "not valid YAML"),
        ("study: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("study: s\nseed: 2024-13-45\n", "not valid YAML"),
        ("base: &a {x: *a}\nstudy: s\n", "an alias that contains itself"),
        ("seed: " + "[" * 5000, "not valid YAML"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("study: s\nseed: \x07\n", "not valid YAML"),
        ("? [a]\n: b\n", "not valid YAML"),
    ],
)
def test_what_is_no_recipe(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(write(text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such recipe"):
        load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"study: caf\xe9\n")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "latin.yaml")


@pytest.mark.parametrize("key", ["study", "task", "students", "arms"])
def test_what_is_missing_is_named(write: Write, key: str) -> None:
    assert any(
        error.startswith(("task.name: is missing", f"{key}: is missing")) for error in errors_of(write(**{key: None}))
    )


def test_keys_that_stand_twice(write: Write) -> None:
    text = yaml.safe_dump(SMALL) + "seed: 1\ntraining:\n  epochs: 1\n  epochs: 2\nseed: 2\n"
    found = errors_of(write(text))
    assert [error.split(" (")[0] for error in found] == ["training.epochs", "seed"]
    assert all(error.endswith("duplicate key") for error in found)


@pytest.mark.parametrize(
    "override",
    [
        "arms=5", "arms.x=5", "arms=", "students=", "students.one=5", "students=[]", "teachers=", "task=", "task=babi",
        "comparisons=[[standard]]", "comparisons=[5]", "comparisons=[[1, 2]]", "comparisons=standard", "base=5",
        "base.foo=1", "seed=2024-13-45", "seed=0x_", "seed=1e3", "seed=true", "seed=", "training.epochs=" + "9" * 400,
        "training.learning_rate=.nan", "training.learning_rate=inf", "training.learning_rate=fast", "training.epochs=0",
        "training=5", "training.lora_r=-1", "evaluation.samples=2", "evaluation.samples=0", "evaluation.batch_size=-3",
        "arms.x.prompt=a:b", "arms.x.tune=a:b", "arms.x.plan=none", "arms.x.max_tokens=0", "task.train=0",
        "arms.standard.student=two", "arms.standard.teacher=me", "comparisons=[[standard, nobody]]", "format=xml",
        "tracking=mlflow", "study=1", "study.x=1", "task.columns={a: 1}", "=", "seed", "=5", "a..b=1",
    ],
)  # fmt: skip
def test_one_bad_value_is_one_clear_error(write: Write, override: str) -> None:
    found = errors_of(write(), override)
    assert 1 <= len(found) <= 3
    assert all(": " in error and len(error) < 1000 for error in found)


@pytest.mark.parametrize(
    "override",
    [
        "training.max_steps=0", "training.max_steps=-7", "training.warmup=-1", "training.weight_decay=-1",
        "training.max_grad_norm=-1", "training.lora_alpha=-1", "training.lora_dropout=2", "evaluation.temperature=-1",
        "comparisons=[[standard, standard]]",
    ],
)  # fmt: skip
def test_numbers_out_of_bounds(write: Write, override: str) -> None:
    assert len(errors_of(write(), override)) == 1


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.learning_rate=0", "must be above 0, got 0"),
        ("training.launcher.main_process_port=70000", "must be at most 65535, got 70000"),
        ("teachers={t: {top_p: 1.5}}", "must be at most 1, got 1.5"),
        ("teachers={t: {top_p: 0}}", "must be above 0, got 0"),
        ("teachers={t: {temperature: -1}}", "must be at least 0, got -1"),
        ("teachers={t: {requests_per_minute: 0}}", "must be above 0, got 0"),
        ("teachers={t: {usd_per_million_out: -2}}", "must be at least 0, got -2"),
        ("students.one.concurrency=0", "must be at least 1, got 0"),
        ("students.one.timeout=-1", "must be above 0, got -1"),
        ("students.one.usd_per_hour=-1", "must be at least 0, got -1"),
        ("task.tolerance.relative=-0.1", "must be at least 0, got -0.1"),
        ("task.first_choice=2", "must be at most 1, got 2"),
        ("arms.standard.mix={other: 1.5}", "must be at most 1, got 1.5"),
    ],
)
def test_a_number_out_of_bounds_is_told_its_bound(write: Write, override: str, told: str) -> None:
    assert any(error.endswith(told) for error in errors_of(write(), override))


@pytest.mark.parametrize(("seed", "fits"), [(-1, False), (0, True), (2**32 - 1, True), (2**32, False), (10**20, False)])
def test_seeds_of_a_training_are_those_that_numpy_takes(write: Write, seed: int, fits: bool) -> None:
    assert study_of(write(seed=seed)).seed == seed
    path = write(seed=seed, students={"one": {"model": "m"}}, arms={"tuned": {"tune": "correct"}})
    if fits:
        assert study_of(path).seed == seed
    else:
        assert any("must be from 0 to 4294967295 in a study that trains" in error for error in errors_of(path))


def test_every_number_of_a_recipe_has_a_bound() -> None:
    """A new numeric key gets one of the types in recipes/bounds.py."""
    unbounded = [
        f"{record.__name__}.{name}"
        for record in (Study, Arm, *(key.kind for key in keys_of(Study).values() if keys_of(key.kind)), StudentConfig,
                       TeacherConfig, ToleranceConfig, LauncherConfig)
        for name, kind in record.__annotations__.items()
        if kind.removesuffix(" | None") in ("int", "float", "dict[str, float]")
    ]  # fmt: skip
    assert unbounded == ["Study.seed"], "any whole number, unless adapters are trained"


def test_an_override_of_an_arm_that_is_not_there(write: Write) -> None:
    assert errors_of(write(), "arms.standrad.max_tokens=5")


def test_an_error_in_base_is_told_once(write: Write) -> None:
    assert len(errors_of(write(arms={"a": {}, "b": {}}, base={"max_tokens": "many", "promt": "standard"}))) == 2


# ---- names


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../up",
        "a/b",
        "a\\b",
        "a b",
        "a:b",
        "a\tb",
        "a\nb",
        "a\0b",
        "a*",
        "x" * 300,
        ".hidden",
        "-x",
        "x.",
        "con",
        "NUL.b",
        "Com1",
    ],
)
def test_names_that_no_file_can_have(write: Write, name: str) -> None:
    message = "a name becomes a file name"
    assert message in "\n".join(errors_of(write(arms={name: {}})))
    assert message in "\n".join(errors_of(write(students={name: SMALL["students"]["one"]})))
    assert message in "\n".join(errors_of(write(study=name)))


@pytest.mark.parametrize("ending", [*DERIVED, "partial0", "seed12", "JSON"])
def test_names_that_other_files_of_a_run_have(write: Write, ending: str) -> None:
    name, message = f"x.{ending}", "are reserved for other files of a run"
    assert message in "\n".join(errors_of(write(arms={name: {}})))
    assert message in "\n".join(errors_of(write(students={name: SMALL["students"]["one"]})))
    assert message in "\n".join(errors_of(write(teachers={name: {"kind": "rules"}})))
    assert study_of(write(arms={f"{ending}.x": {}, f"x-{ending}": {}})).arms


def test_names_that_differ_in_case_only(write: Write) -> None:
    found = errors_of(write(arms={"Plain": {}, "plain": {}}))
    assert found == ["arms.plain (line 9): differs from 'Plain' only in upper and lower case; choose another name"]


def test_a_misspelt_field_of_an_own_prompt_stops_before_anything_runs(write: Write) -> None:
    with pytest.raises(
        InputError, match=r"prompts\.mine \(line \d+\): unknown field \{problm\}; did you mean \{problem\}\?"
    ):
        pipeline.load(write(prompts={"mine": "{problm}"}, arms={"x": {"prompt": "mine"}}))


def test_errors_of_prompts_plans_and_code_are_reported_at_once_with_their_lines(write: Write) -> None:
    recipe = write(
        students={"s": {"model": "a/b", "chat_template": "tpl/none.jinja"}},
        teachers={"a": {"kind": "rules"}, "b": {"kind": "rules"}},
        prompts={"mine": "Solve {problm}"},
        arms={
            "standard": {"prompt": "mine"},
            "tuned": {"tune": "correct", "prompt": "trace-of-thought", "teacher": "a"},
            "voted": {"vote": True},
            "planned": {"plans": 3, "temperature": 1.0},
            "changed": {"tune": "no.such:thing", "teacher": "a"},
            "outside": {"prompt": "no.such:text"},
            "typo": {"prompt": "standrad"},
        },
        comparisons=[],
    )
    with pytest.raises(InputError) as caught:
        pipeline.load(recipe)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith(": 8 errors in the recipe")
    for key, message in {
        "students.s.chat_template": "no file 'tpl/none.jinja'",
        "prompts.mine": "did you mean {problem}?",
        "arms.tuned.prompt": "add another arm: {adapter: tuned",
        "arms.voted.vote": "needs several attempts",
        "arms.planned.plans": "has no {steps}",
        "arms.changed.tune": "cannot be imported",
        "arms.outside.prompt": "cannot be imported",
        "arms.typo.prompt": "did you mean 'standard'?",
    }.items():
        assert any(re.fullmatch(rf"  {re.escape(key)} \(line \d+\): .*{re.escape(message)}.*", line) for line in lines)


BOMBS = [
    # aliases that stand for billions of values, in a list, a mapping, and nested in keys that are read
    "study: s\na: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(9)),
    "study: s\na: &a {k: v}\n"
    + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} {{{', '.join(f'k{j}: *{chr(97 + i)}' for j in range(10))}}}\n" for i in range(9)
    ),
    "study: s\nseed: [" + "1, " * 250_000 + "]\n",
    "# " + "x" * 5_000_000,
]


@pytest.mark.parametrize("text", BOMBS, ids=["lists", "mappings", "long list", "long text"])
def test_documents_that_grow_are_refused(write: Write, text: str) -> None:
    with pytest.raises(InputError, match=r"not valid YAML: (more than 200,000 values|.* characters; at most)"):
        load(write(text))


def test_names_of_many_alphabets(write: Write) -> None:
    study = study_of(write(study="étude-1.0", arms={"größe": {}, "правильно": {}, "v1.0_b": {}}))
    assert list(study.arms) == ["größe", "правильно", "v1.0_b"]


@pytest.mark.parametrize("name", [1, True, 2.5, None])
def test_names_that_are_no_text(write: Write, name: object) -> None:
    assert "a name becomes a file name" in errors_of(write(arms={name: {}}))[0]


def test_several_students_need_naming(write: Write) -> None:
    students = {"one": {"model": "a"}, "two": {"model": "b"}}
    path = write(students=students, arms={"x": {}, "y": {"student": "two"}, "z": {"student": "thre"}})
    assert errors_of(path) == [
        "arms.x.student: the study has several students; say which, or `student: all` for one arm each",
        "arms.z.student (line 14): unknown student 'thre'",
    ]
    study = study_of(write(students=students, base={"student": "one"}, arms={"x": {}, "y": {"student": "two"}}))
    assert [study.student_of(arm) for arm in study.arms.values()] == ["one", "two"]


def test_the_only_student_and_teacher_need_no_naming(write: Write) -> None:
    study = study_of(write())
    assert study.student_of("standard") == "one"
    assert study.teacher_of("standard") == "rules"


def test_tasks_and_prompts_may_live_elsewhere(write: Write) -> None:
    assert study_of(write(), "task.name=my.module:Task").task.name == "my.module:Task"
    with pytest.raises(InputError, match="prompt 'my:prompt': cannot be imported"):
        study_of(write(), "arms.standard.prompt=my:prompt")


# ---- values


@pytest.mark.parametrize(
    ("written", "value"),
    [("2e-3", 2e-3), ("2e-03", 2e-3), (".002", 2e-3), ("1", 1.0), ("'0.5'", 0.5), ("1E2", 100.0), ("+2e-3", 2e-3)],
)
def test_floats_as_people_write_them(write: Write, written: str, value: float) -> None:
    text = yaml.safe_dump(SMALL) + f"training:\n  learning_rate: {written}\n"
    for study in (study_of(write(text)), study_of(write(), f"training.learning_rate={written}")):
        assert study.training.learning_rate == value
        assert isinstance(study.training.learning_rate, float)


def test_arms_are_base_and_their_differences(write: Write) -> None:
    base = {"prompt": "chain-of-thought", "shots": 5, "tune": "correct", "max_tokens": 9}
    arms = {"as-base": None, "empty": {}, "untuned": {"tune": None}, "other": {"prompt": "standard", "max_tokens": 7}}
    study = study_of(write(base=base, arms=arms))
    assert study.arms["as-base"] == study.arms["empty"] == study.base
    assert (study.arms["untuned"].tune, study.arms["untuned"].shots) == (None, 5)
    assert (study.arms["other"].prompt, study.arms["other"].max_tokens, study.arms["other"].tune) == (
        "standard",
        7,
        "correct",
    )
    assert study.tuned_arms() == ["as-base", "empty", "other"]


def test_the_run_folder(write: Write) -> None:
    assert study_of(write()).folder == Path("runs") / "small"
    assert study_of(write(), "run_dir=elsewhere/x").folder == Path("elsewhere/x")


# ---- overrides


def test_overrides_nested_deep_and_new(write: Write) -> None:
    overrides = [
        "seed=7",
        "training.max_steps=5",
        "base.max_tokens=11",
        "arms.standard.shots=2",
        "task.columns.question=q",
    ]
    study = study_of(write(), *overrides)
    assert (study.seed, study.training.max_steps, study.task.columns) == (7, 5, {"question": "q"})
    assert (study.arms["standard"].max_tokens, study.arms["standard"].shots) == (11, 2)


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("students.llama-3.2-1b.model=x", ("students", "llama-3.2-1b", "model"), "x"),
        ("students.llama-3.2-1b.quantization=nf4", ("students", "llama-3.2-1b", "quantization"), "nf4"),
        ("students.llama-3.2-1b={model: x}", ("students", "llama-3.2-1b", "model"), "x"),
        ("students.llama-3.model=x", ("students", "llama-3", "model"), "x"),
        ("students.qwen-2.5={model: x}", ("students", "qwen-2.5", "model"), "x"),
        ("arms.v1.1.max_tokens=7", ("arms", "v1.1", "max_tokens"), 7),
        ("arms.v1.1.mix.v1.0=0.5", ("arms", "v1.1", "mix", "v1.0"), 0.5),
        ("prompts.my.own=Say {problem}", ("prompts", "my.own"), "Say {problem}"),
        ("teachers.r.columns.text=traces.x.0", ("teachers", "r", "columns", "text"), "traces.x.0"),
        ("teachers.r.where.traces.x=yes!", ("teachers", "r", "where", "traces.x"), "yes!"),
        ("teachers.r.extra.kwargs.thinking=false", ("teachers", "r", "extra", "kwargs", "thinking"), False),
        ("teachers.r.extra.top.k=4", ("teachers", "r", "extra", "top.k"), 4),
        ("teachers.r.extra.new.one=4", ("teachers", "r", "extra", "new", "one"), 4),
    ],
)
def test_names_with_dots_can_be_overridden(write: Write, override: str, place: tuple[str, ...], value: object) -> None:
    path = write(
        students={"llama-3": {"model": "a"}, "llama-3.2-1b": {"model": "b"}},
        arms={name: {"tune": "none", "student": "llama-3"} for name in ("v1.0", "v1.1")},
        teachers={"r": {"extra": {"top.k": 3}}},
    )
    found = resolved(study_of(path, override))
    for key in place:
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("arms.a.prompt=x", "may mean arms > a.prompt or arms > a > prompt, which both exist"),
        ("arms.a.promt=x", "arms.a.promt: unknown key; did you mean 'prompt'?"),
        ("arms.a.prompt.max_tokens=x", "arms.a.prompt.max_tokens: must be a whole number"),
        ("arms.v1.2.prompt=x", "the recipe has no 'v1.2' among its arms; did you mean 'v1.1'?"),
        ("arms.v1.2=x", "the recipe has no 'v1.2' among its arms; did you mean 'v1.1'?"),
    ],
)
def test_overrides_of_names_with_dots_that_cannot_be_meant(write: Write, override: str, told: str) -> None:
    arms = {"a": {}, "a.prompt": {}, "v1.1": {}}
    (error,) = errors_of(write(arms=arms), override)
    assert told in error


def test_prompts_of_an_override_are_known(write: Write) -> None:
    path = write(arms={"mine": {"prompt": "shout"}})
    assert "unknown name 'shout'" in errors_of(path)[0]
    for override in ("prompts={shout: 'HEY {problem}'}", "prompts.shout=HEY {problem}"):
        assert study_of(path, override).prompts == {"shout": "HEY {problem}"}
    asked = ["prompts={shout: 'HEY {problem}', urge: '{problem}!'}", "teachers={m: {kind: model, model: m}}"]
    assert study_of(path, *asked, "teachers.m.prompt=urge").teachers["m"].prompt == "urge"


def test_the_last_override_wins(write: Write) -> None:
    assert study_of(write(), "seed=1", "seed=2").seed == 2


def test_override_values_are_yaml(write: Write) -> None:
    study = study_of(
        write(), "training={epochs: 2, lora_targets: 'q_proj, v_proj'}", "task.validation_split=", "run_dir=a=b"
    )
    assert (study.training.epochs, study.training.lora_targets) == (2.0, "q_proj, v_proj")
    assert study.task.validation_split is None
    assert study.run_dir == "a=b"


def test_overrides_leave_the_file_alone(write: Write) -> None:
    path = write()
    before = path.read_bytes()
    study_of(path, "seed=3", "arms.standard.shots=2")
    assert path.read_bytes() == before


KNOWN = (
    "seed study run_dir task task.train task.name task.columns students students.one students.one.model teachers "
    "teachers.rules.kind arms arms.standard arms.standard.prompt arms.standard.tune arms.standard.shots base base.plan "
    "format validation validation.keep training training.learning_rate training.batch_size evaluation "
    "evaluation.samples evaluation.temperature comparisons tracking"
)
KEYS = st.sampled_from(KNOWN.split()) | st.text(max_size=12)
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "null", "[]", "{}", "[[]]", "[[a, b]]", "{a: {}}", "{standard: 5}", "*a", "&a [*a]", "<<: x"]),
    st.sampled_from(
        ["true", "-1", "0", "1e400", ".inf", "2024-01-01", "2024-13-45", "0b_", "1:2:3", "!!set {a}", "\x85"]
    ),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ).map(str),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds("{}={}".format, KEYS, VALUES), min_size=1, max_size=3))
@example(["students=", "arms.standard.student=a"])
@example(["base.student=[]", "arms.standard=null"])
def test_no_override_raises_anything_but_input_errors(write: Write, overrides: list[str]) -> None:
    path = write()
    try:
        study = study_of(path, *overrides)
    except InputError:
        return
    assert study.arms
    assert all(name for name in study.arms)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet="abst: -[]{}&*!|>'\"\n\t#%@`,?0.", max_size=60))
def test_no_text_raises_anything_but_input_errors(write: Write, text: str) -> None:
    with pytest.raises(InputError):
        load(write(text))


# ---- round trip


def test_the_resolved_recipe_loads_to_the_same_study(write: Write, tmp_path: Path) -> None:
    study = study_of(
        write(
            seed=3,
            format="tags",
            base={"max_tokens": 9, "tune": "correct"},
            arms={"a": {}, "b": {"tune": None, "prompt": "few-shot", "shots_with_traces": True}},
            comparisons=[["a", "b"]],
            training={"learning_rate": "2e-3", "lora_targets": "q_proj"},
            task={"name": "babi", "columns": {"question": "Q: ü"}, "validation_split": None},
        )
    )
    path = tmp_path / "resolved.yaml"
    path.write_text(yaml.safe_dump(resolved(study), allow_unicode=True), encoding="utf-8")
    assert study_of(path) == study


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.floats(min_value=1e-300, max_value=1e300),
    system=st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    seed=st.integers(min_value=-(10**20), max_value=10**20),
)
def test_values_survive_the_round_trip(write: Write, rate: float, system: str | None, seed: int) -> None:
    path = write(seed=seed, training={"learning_rate": rate}, students={"one": {"model": "m", "system": system}})
    study = load(path)
    assert (study.training.learning_rate, study.students["one"].system, study.seed) == (rate, system, seed)
    path.write_text(yaml.safe_dump(resolved(study)), encoding="utf-8")
    assert load(path) == study


RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=[str(path.relative_to(ROOT)) for path in RECIPES])
def test_every_recipe_loads(path: Path, tmp_path: Path) -> None:
    study = study_of(path)
    assert study.run_dir is None, "a shipped recipe writes below the working folder"
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(resolved(study)), encoding="utf-8")
    assert study_of(copy) == study


def test_there_are_recipes() -> None:
    assert RECIPES
