"""A recipe's chat_template: a file, its text, or a name of the tokenizer's list; the same wherever the student is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.tuned_study import recipe_of, tune
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.engines.tokenizers import load_tokenizer
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_lines
from tracedistill.tools.export.model import ExportChoice, export_model
from tracedistill.tools.open_study import open_study

pytestmark = [
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
OTHER = tiny.TEMPLATE.replace("'\\n' + m['content']", "' says\\n' + m['content']").replace(
    "assistant\\n' }}", "assistant says\\n' }}"
)


def with_list(model: Path, *names: str) -> Path:
    """The tokenizer has several templates by these names."""
    (model / "chat_template.jinja").unlink(missing_ok=True)
    path = model / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    texts = {"default": tiny.TEMPLATE, "says": OTHER, "tool_use": tiny.TEMPLATE}
    settings["chat_template"] = [{"name": name, "template": texts[name]} for name in names]
    path.write_text(json.dumps(settings))
    return model


@pytest.fixture(autouse=True)
def _not_opened_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process for every export takes long; tests/tools/export/test_plain_transformers.py has some."""
    monkeypatch.setattr("tracedistill.tools.export.model.OUTSIDE", 0)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.build(tmp_path / "model")


def test_a_list_of_templates(model: Path) -> None:
    with_list(model, "default", "says")
    assert load_tokenizer(str(model)).chat_template == tiny.TEMPLATE
    assert load_tokenizer(str(model), chat_template="says").chat_template == OTHER
    with pytest.raises(InputError, match=r"'spoken' is neither a file nor a template's text.* are default, says"):
        load_tokenizer(str(model), chat_template="spoken")
    with_list(model, "says", "tool_use")
    with pytest.raises(InputError, match=r"several chat templates and no default; .*chat_template: says or tool_use"):
        load_tokenizer(str(model))


def test_no_list(model: Path) -> None:
    with pytest.raises(InputError, match="'spoken' is neither a file nor a template's text, and its tokenizer has no"):
        load_tokenizer(str(model), chat_template="spoken")
    assert load_tokenizer(str(model), chat_template="{{ messages }}").chat_template == "{{ messages }}"


def study(place: Path, model: Path, template: str) -> pipeline.LoadedStudy:
    student = {"model": str(model), "dtype": "float32", "chat_template": template}
    return tune(recipe_of(place, model, students={"tiny": student}))


@pytest.mark.parametrize("said", ["name", *(pytest.param(each, marks=pytest.mark.slow) for each in ("file", "text"))])
def test_training_evaluation_and_export_use_it_alike(said: str, model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    if said == "file":
        (tmp_path / "says.jinja").write_text(OTHER)
    if said == "name":
        with_list(model, "default", "says")
    loaded = study(tmp_path, model, {"file": "says.jinja", "text": OTHER, "name": "says"}[said])
    preflight = read_json(tmp_path / "run" / "sft" / "tiny.preflight.json")
    assert preflight["arms"]["correct"]["shown"][0][0].endswith("<|im_start|>assistant says\n")
    pipeline.run(loaded, quiet=True)
    hashes = {
        read_json(path)["engine"]["template_hash"]
        for path in (tmp_path / "run" / "generations").glob("*.jsonl.manifest.json")
    }
    own = load_tokenizer(str(model), chat_template=OTHER)
    from tracedistill.chat.templates import template_hash

    assert hashes == {template_hash(own)}
    for merge in (True, False):
        out = tmp_path / f"out-{merge}"
        export_model(open_study(tmp_path / "run"), ExportChoice("correct", merge=merge), out)
        assert AutoTokenizer.from_pretrained(str(out)).chat_template == OTHER
        assert "recipe's chat template" in (out / "README.md").read_text()


def test_another_template_is_another_student(model: Path, tmp_path: Path) -> None:
    loaded = study(tmp_path, model, tiny.TEMPLATE)
    pipeline.run(loaded, quiet=True)
    other = pipeline.load(tmp_path / "study.yaml", [f"students.tiny.chat_template={OTHER}"])
    found = {node.name: state.kind for node, state in pipeline.status(other)}
    assert found["train:correct"] == found["generate:standard"] == "stale"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nowhere/says.jinja", "no file 'nowhere/says.jinja'"),
        ("says.jinja", "no file 'says.jinja'"),
        ("spoken", "chat_template 'spoken' is neither a file nor a template's text"),
        ("{% for m in messages %}", "its chat template rejects these messages"),
    ],
)
def test_a_template_that_is_none(
    said: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student: dict[str, Any] = {"model": str(model), "dtype": "float32", "chat_template": said}
    recipe = recipe_of(tmp_path, model, students={"tiny": student})
    assert main(["train", str(recipe)]) == 2
    assert message in capsys.readouterr().err


def test_a_tokenizer_without_a_template_gets_one(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (model / "chat_template.jinja").unlink()
    recipe = recipe_of(tmp_path, model)
    assert main(["train", str(recipe)]) == 2
    assert "no chat template; use an instruction-tuned model, or give one with" in capsys.readouterr().err
    study(tmp_path, model, OTHER)
    rows = [line for _, line in read_lines(tmp_path / "run" / "sft" / "correct.jsonl")]
    assert rows
