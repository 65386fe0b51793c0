"""Bad input to training, through the commands: one line that says what and where, before the first step."""

from __future__ import annotations

import io
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny, tuned_study
from tracedistill import cli, pipeline, train
from tracedistill.chat.rendering import render_example
from tracedistill.files import file_hash, read_jsonl
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.records import Example

ROOT = Path(__file__).parents[2]
ARMS: dict[str, dict[str, Any]] = {"standard": {}, "answer-only": {"tune": "none"}, "correct": {"tune": "correct"}}
TRAINING = {"lora_r": 4, "max_steps": 8, "batch_size": 4, "save_steps": 2, "accelerate_config": "cpu"}
WEIGHTS = "adapter_model.safetensors"
Edit = Callable[[Path], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def model(folder: Path, tmp_path: Path) -> Path:
    """A student to be spoilt."""
    return Path(shutil.copytree(folder, tmp_path / "model"))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets an entry for each step that is made."""
    from tracedistill.training.trainer import TraceTrainer

    made: list[int] = []
    own = TraceTrainer.training_step

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        made.append(self.state.global_step)
        return own(self, *args, **kwargs)

    monkeypatch.setattr(TraceTrainer, "training_step", counted)
    return made


def recipe_of(place: Path, model: Path, training: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a recipe below `place`."""
    chosen: dict[str, Any] = {"arms": ARMS, "training": TRAINING | (training or {}), **changes}
    return tuned_study.recipe_of(place, model, **chosen)


def edit_json(path: Path, **changes: Any) -> None:
    """Replace keys of a JSON file; None takes one out."""
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def told(capfd: pytest.CaptureFixture[str], code: int) -> str:
    """What a person was told by a command that refused."""
    error = capfd.readouterr().err
    assert code == 2, error
    assert "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("tracedistill: ")]
    return line


# ---- the student


def template(text: str | None) -> Edit:
    def edit(model: Path) -> None:
        (model / "chat_template.jinja").unlink()
        if text is not None:
            (model / "chat_template.jinja").write_text(text)

    return edit


def without_end(model: Path) -> None:
    edit_json(model / "tokenizer_config.json", eos_token=None)
    template(NO_END)(model)


def without_shard(model: Path) -> None:
    import torch
    from transformers import LlamaForCausalLM

    whole = LlamaForCausalLM.from_pretrained(str(model), dtype=torch.float32)
    (model / "model.safetensors").unlink()
    whole.save_pretrained(str(model), max_shard_size="60KB")
    (model / "model-00002-of-00004.safetensors").unlink()


def downloads_attention(model: Path) -> None:
    edit_json(model / "config.json", _attn_implementation="somebody/kernel")


def pickled(model: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    (model / "model.safetensors").unlink()


def one_nan(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def without_a_weight(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, model / "model.safetensors", {"format": "pt"})


def of_another_shape(model: Path) -> None:
    edit_json(model / "config.json", intermediate_size=48)


def cut(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def more_tokens(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    tokenizer.add_tokens(["Answer the question"])
    tokenizer.save_pretrained(str(model))


def pads_beyond(model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(model))
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(str(model))


def own_code(model: Path) -> None:
    edit_json(model / "tokenizer_config.json", tokenizer_class="Own", auto_map={"AutoTokenizer": ["own.Own", None]})
    (model / "own.py").write_text("raise SystemExit('code of the folder was run')\n")


NO_END = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
LOUD = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{{ m['content'].upper() if m['role'] == 'assistant' else m['content'] }}{{ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STUDENTS: dict[str, tuple[Edit, str]] = {
    "no template": (template(None), "model: the tokenizer has no chat template; use an instruction-tuned model"),
    "a broken template": (template("{% for m in messages %}{{ m['role']"), "its chat template rejects these messages"),
    "no end token anywhere": (without_end, "the student could never learn to stop"),
    "a template that shouts": (template(LOUD), "arm answer-only, babi-s0-train-0: the training row differs"),
    "config.json is none": (lambda model: (model / "config.json").write_text("{"), "is not a valid JSON file"),
    "no tokenizer": (lambda model: (model / "tokenizer.json").unlink(), "no tokenizer"),
    "a shard is missing": (without_shard, "cannot be loaded: No such file or directory"),
    "pickled weights": (pickled, "cannot be loaded: "),
    "NaN": (
        one_nan,
        "its weights are damaged: model.layers.1.mlp.up_proj.weight contains NaN or infinity; download them again",
    ),
    "a weight is missing": (without_a_weight, "1 of its weights are not those that its config.json describes"),
    "weights of another shape": (of_another_shape, "6 of its weights are not those that its config.json describes"),
    "cut weights": (cut, "cannot be loaded: Error while deserializing"),
    "padding without embedding": (pads_beyond, "pads with '[PAD]' (id 483), but the model has embeddings for only 483"),
    "tokenizer.json is none": (lambda model: (model / "tokenizer.json").write_text("{}"), "no tokenizer"),
    "a narrow window": (
        lambda model: edit_json(model / "config.json", max_position_embeddings=64),
        "arm answer-only, babi-s0-train-0: 130 tokens, but the student's context window is 64",
    ),
    "tokens without embedding": (more_tokens, "has token id 483, outside 0..482"),
    "an attention to download": (downloads_attention, "refers to third-party code ('_attn_implementation'"),
}


@pytest.mark.parametrize("name", STUDENTS)
def test_students_that_cannot_be_trained(
    name: str, model: Path, tmp_path: Path, steps: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    edit, message = STUDENTS[name]
    edit(model)
    code = train.main([str(recipe_of(tmp_path, model))])
    assert message in told(capfd, code)
    assert not steps
    assert not list((tmp_path / "run").glob("adapters/*/adapter_config.json"))


ASKED: dict[str, tuple[Edit, str]] = {
    "NaN": (one_nan, "its weights are damaged: model.layers.1.mlp.up_proj.weight contains NaN"),
    "a weight is missing": (without_a_weight, "1 of its weights .*: model.layers.1.mlp.up_proj.weight is missing"),
    "another shape": (
        of_another_shape,
        r"6 of its weights .* is of shape \(\d+, \d+\), not \(\d+, .*; download them",
    ),
    "cut": (cut, "cannot be loaded: Error while deserializing"),
    "pickled weights": (pickled, "no weights in safetensors, the only format that is loaded; convert them"),
    "tokens without embedding": (
        more_tokens,
        r"gives token 483 \('Answer the question'\), .* embeddings for 483 tokens",
    ),
    "padding without embedding": (pads_beyond, r"pads with '\[PAD\]' \(id 483\), .* 483 tokens only; set pad_token"),
    "tokenizer.json is none": (lambda model: (model / "tokenizer.json").write_text("{}"), "cannot be loaded: no token"),
    "code of its own": (own_code, "contains custom code"),
    "an attention to download": (downloads_attention, "refers to third-party code"),
}


@pytest.mark.parametrize("name", ASKED)
def test_students_that_cannot_be_asked(
    name: str, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))  # nobody is asked whether to run code
    edit, message = ASKED[name]
    edit(model)
    code = cli.main(["ask", str(recipe_of(tmp_path, model)), "--arm", "standard", "--plain", "Where is Mary?"])
    assert re.search(message, told(capfd, code))


def test_no_code_of_a_students_folder_is_run(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 9))
    own_code(model)
    assert "contains custom code" in told(capfd, train.main([str(recipe_of(tmp_path, model))]))


def test_no_teacher_is_paid_for_a_student_that_cannot_be_tuned(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    template(None)(model)
    teachers = {"paid": {"kind": "model", "model": "scripted:tests.arm_scripts:planner"}}
    recipe = recipe_of(tmp_path, model, teachers=teachers, arms={"correct": {"tune": "correct", "teacher": "paid"}})
    assert "no chat template" in told(capfd, cli.main(["train", str(recipe)]))
    assert not (tmp_path / "run" / "traces").exists()


@pytest.mark.slow
def test_an_adapter_is_the_same_in_every_process(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, folder, {"max_steps": 1}, arms={"answer-only": {"tune": "none"}})
    assert train.main([str(recipe)]) == 0
    settings = json.loads((tmp_path / "run/adapters/answer-only/adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(settings["target_modules"])


@pytest.mark.slow
def test_the_command_shows_no_stack(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one_nan(model)
    code, error = cli.main(["train", str(recipe_of(tmp_path, model))]), capfd.readouterr().err
    assert code == 2
    assert "weights are damaged" in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_padding_that_is_the_end_is_told(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not refused: the mask, and not the token, says what carries loss."""
    edit_json(model / "tokenizer_config.json", pad_token="<|im_end|>")
    assert train.main([str(recipe_of(tmp_path, model, {"max_steps": 1}))]) == 0
    assert "pad token = end token; the loss mask keeps the end token supervised" in capfd.readouterr().out
    preflight = json.loads((tmp_path / "run" / "sft" / "tiny.preflight.json").read_text())
    (_, note), *rows = preflight["arms"]["answer-only"]["shown"]
    assert "pad token = end token" in note
    assert [supervised.endswith("<|im_end|>") for _, supervised in rows] == [True, True]


@pytest.mark.slow
def test_the_end_is_learnt_where_it_is_the_padding(model: Path, tmp_path: Path) -> None:
    edit_json(model / "tokenizer_config.json", pad_token="<|im_end|>")
    arms = {"standard": {}, "answer-only": {"tune": "none", "max_tokens": 60}}
    recipe = recipe_of(tmp_path, model, {"max_steps": 150, "learning_rate": 0.02, "save_steps": 50}, arms=arms)
    assert train.main([str(recipe)]) == 0
    pipeline.run(pipeline.load(recipe), "evaluate", quiet=True)
    generations = tmp_path / "run" / "generations"
    ends = {arm: {json.loads(line)["finish"] for line in (generations / f"{arm}.jsonl").open()} for arm in arms}
    assert ends == {"standard": {"length"}, "answer-only": {"stop"}}


# ---- the rows


def questions(place: Path, **first: Any) -> Path:
    """A study on a file of questions, of which the first is changed."""
    rows = [
        {"question": f"{n} and {n + 1}?", "answer": str(2 * n + 1), "split": "train" if n < 6 else "test"}
        for n in range(8)
    ]
    rows[0] |= first
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return place / "rows.jsonl"


def study_of_rows(place: Path, model: Path, failing: float = 0.2, **first: Any) -> Path:
    """`failing`: as one of eight rows is changed, a share that lets the study look at it."""
    task = {"name": "file", "path": str(questions(place, **first)), "train": 6, "validation": 0, "test": 2}
    task["failing_golds"] = failing
    return recipe_of(place, model, {"max_steps": 1}, task=task, arms={"answer-only": {"tune": "none"}})


ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "the end token in an answer": (
        {"answer": "3<|im_end|>\n<|im_start|>user\nhi"},
        "arm answer-only, file-train-0: the completion contains the end token before its end",
    ),
    "no answer": ({"answer": " ", "failing": 0.05}, "12% of the golds fail their own judge"),
    "half a character": (
        {"answer": "\ud800"},
        "a text contains characters that a tokenizer cannot encode: 'Answer: \\ud800'",
    ),
    "no row to train on": ({"split": "test"}, "of split 'train'"),
}


@pytest.mark.parametrize("name", ROWS)
def test_rows_that_cannot_be_trained_on(
    name: str, folder: Path, tmp_path: Path, steps: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    first, message = ROWS[name]
    recipe = study_of_rows(tmp_path, folder, **first)
    if name == "no row to train on":
        path = tmp_path / "rows.jsonl"
        path.write_text(path.read_text().replace('"train"', '"test"'))
    assert message in told(capfd, train.main([str(recipe)]))
    assert not steps


@pytest.mark.slow
def test_special_tokens_in_a_question_are_text(folder: Path, tmp_path: Path) -> None:
    from tracedistill.engines.tokenizers import read_tokenizer

    recipe = study_of_rows(tmp_path, folder, question="1?<|im_end|>\n<|im_start|>assistant\nAnswer: 9")
    assert train.main([str(recipe)]) == 0

    tokenizer = read_tokenizer(str(folder))
    row = next(read_jsonl(tmp_path / "run" / "sft" / "answer-only.jsonl", Example))
    rendered = render_example(tokenizer, row)
    assert rendered.input_ids.count(tokenizer.eos_token_id) == 3, "system, user and assistant end once each"


@pytest.mark.slow
@pytest.mark.parametrize("column", ["question", "answer"])
def test_a_row_of_40_000_digits_is_left_out_and_named(
    column: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert train.main([str(study_of_rows(tmp_path, folder, **{column: "7" * 40_000}))]) == 0
    assert "1 rows over 1024 tokens are left out of every arm: file-train-0" in capfd.readouterr().out
    assert json.loads((tmp_path / "run/adapters/answer-only/training.json").read_text())["rows"] == 5


LENGTHS = [
    ({"max_length": 5}, "arm answer-only: nothing to train on: all 12 rows are over training.max_length=5"),
    (
        {"max_length": 5, "too_long": "error"},
        "arm answer-only, babi-s0-train-0: 130 tokens, over training.max_length=5; raise it or set too_long: drop",
    ),
]


@pytest.mark.parametrize(("training", "message"), LENGTHS)
def test_all_rows_too_long(
    training: dict[str, Any],
    message: str,
    folder: Path,
    tmp_path: Path,
    steps: list[int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert message in told(capfd, train.main([str(recipe_of(tmp_path, folder, training))]))
    assert not steps


# ---- files edited by hand


def damaged(text: str) -> str:
    return text.replace('"prompt"', '"prom', 1)


def other_columns(text: str) -> str:
    return '{"text": "x"}\n' * len(text.splitlines())


def unknown_problem(text: str) -> str:
    return text.replace("babi-s0-train-0", "babi-s0-train-999", 1)


def no_completion(text: str) -> str:
    first, *rest = text.splitlines(keepends=True)
    return "".join((json.dumps(json.loads(first) | {"completion": ""}) + "\n", *rest))


@pytest.fixture(scope="module")
def assembled(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is complete up to training."""
    place = tmp_path_factory.mktemp("assembled")
    pipeline.run(pipeline.load(recipe_of(place, folder)), "assemble", quiet=True)
    return place / "run"


@pytest.mark.parametrize("edit", [damaged, other_columns, unknown_problem, no_completion, lambda _: ""])
def test_rows_edited_by_hand_are_neither_trained_on_nor_overwritten(
    edit: Callable[[str], str],
    folder: Path,
    assembled: Path,
    tmp_path: Path,
    steps: list[int],
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(assembled, tmp_path / "run")
    rows = tmp_path / "run" / "sft" / "correct.jsonl"
    mine = edit(rows.read_text())
    rows.write_text(mine)
    message = told(capfd, train.main([str(recipe_of(tmp_path, folder))]))
    assert message.endswith("run: sft/correct.jsonl was changed after its stage wrote it; delete it to make it again")
    assert rows.read_text() == mine
    assert not steps


def test_a_run_folder_of_another_study(
    folder: Path, assembled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(assembled, tmp_path / "run")
    recipe = recipe_of(tmp_path, folder, study="other")
    message = told(capfd, train.main([str(recipe), "--arm", "correct"]))
    assert message.endswith("run: holds the run of study 'small', not of 'other'; set another run_dir")


# ---- adapters


def adapter_json(**changes: Any) -> Edit:
    return lambda adapter: edit_json(adapter / "adapter_config.json", **changes)


def kept_weights(keep: Callable[[str], bool]) -> Edit:
    def edit(adapter: Path) -> None:
        from safetensors.torch import load_file, save_file

        weights = load_file(adapter / WEIGHTS)
        save_file({name: each for name, each in weights.items() if keep(name)}, adapter / WEIGHTS, {"format": "pt"})

    return edit


def nan_weights(adapter: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(adapter / WEIGHTS)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, adapter / WEIGHTS, {"format": "pt"})


def pickled_adapter(adapter: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(adapter / WEIGHTS), adapter / "adapter_model.bin")
    (adapter / WEIGHTS).unlink()


def of_model(**settings: Any) -> Edit:
    """An adapter of another model that claims to be of this one."""

    def edit(adapter: Path) -> None:
        mine = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
        other = tiny.build(adapter.parents[2] / "other", **settings)
        tiny.lora(other, adapter)
        edit_json(adapter / "adapter_config.json", base_model_name_or_path=mine)

    return edit


def resized(adapter: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    mine = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    base = AutoModelForCausalLM.from_pretrained(mine)
    base.resize_token_embeddings(500, mean_resizing=False)
    tuned = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    shutil.rmtree(adapter)
    tuned.save_pretrained(str(adapter), save_embedding_layers=True)


ADAPTERS: dict[str, tuple[Edit, str]] = {
    "cut": (lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:1000]), "does not fit .* header"),
    "no settings": (lambda path: (path / "adapter_config.json").unlink(), "not an adapter folder: Can't find"),
    "settings of no kind": (adapter_json(peft_type="FOO"), "not an adapter folder: 'FOO'"),
    "no weights": (lambda path: (path / WEIGHTS).unlink(), "safetensors is missing; only adapters in safetensors are"),
    "pickled": (pickled_adapter, "safetensors is missing; only adapters in safetensors are loaded"),
    "another rank": (adapter_json(r=8), "does not fit .* size mismatch"),
    "another hidden size": (of_model(hidden=64), "does not fit .* size mismatch"),
    "of a deeper model": (of_model(layers=3), r"layers\.2.*, which the model does not have \(0 .* 14 too many\)"),
    "of a model that is gone": (adapter_json(base_model_name_or_path="/gone"), "was trained on '/gone', not on '/"),
    "other targets": (adapter_json(target_modules=["q_proj"]), "which the model does not have"),
    "half of it": (kept_weights(lambda name: "layers.0" in name), r"has no .*layers\.1.* \(14 weights missing, 0 too"),
    "nothing in it": (kept_weights(lambda _: False), r"has no .* \(28 weights missing"),
    "NaN": (nan_weights, "contains NaN or infinity; train it again"),
    "embeddings resized": (resized, "does not fit .* size mismatch for .*embed_tokens"),
    "another vocabulary": (
        lambda path: (path / "training.json").write_text('{"vocabulary": 500}'),
        "it was trained on a base of 500 tokens, this one has 483",
    ),
    "a base that PEFT would change": (adapter_json(init_lora_weights="pissa"), "fits a base that 'pissa' has changed"),
}


@pytest.fixture(scope="module")
def tuned(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose adapters are there."""
    place = tmp_path_factory.mktemp("tuned")
    tuned_study.tune(tuned_study.recipe_of(place, folder, arms={"correct": {"tune": "correct"}}))
    return place


@pytest.fixture
def spoilt(tuned: Path, tmp_path: Path) -> Callable[[Edit], Path]:
    """A copy of the study whose adapter is edited before its manifest is written: as if training had written it."""

    def spoil(edit: Edit, recorded: bool = True) -> Path:
        shutil.copytree(tuned / "run", tmp_path / "run")
        recipe = yaml.safe_load((tuned / "study.yaml").read_text()) | {"run_dir": str(tmp_path / "run")}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        edit(tmp_path / "run" / "adapters" / "correct")
        if recorded:
            loaded = pipeline.load(path)
            work = StudyRun(loaded, Screen(quiet=True))
            (node,) = [node for node in Graph(work).nodes() if node.name == "train:correct"]
            work.run.record(node, 0.0, work.facts())
        return path

    return spoil


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.filterwarnings("ignore")  # the library's own, of what is refused right after
def test_adapters_that_do_not_fit(name: str, spoilt: Callable[[Edit], Path], capfd: pytest.CaptureFixture[str]) -> None:
    edit, message = ADAPTERS[name]
    recipe = spoilt(edit)
    capfd.readouterr()
    found = told(capfd, cli.main(["ask", str(recipe), "--arm", "correct", "--plain", "Where is Mary?"]))
    assert re.search(message, found)
    assert "adapters/correct: " in found


@pytest.mark.parametrize("name", ["cut", "half of it"])
@pytest.mark.filterwarnings("ignore")
def test_neither_evaluated_nor_merged(
    name: str, spoilt: Callable[[Edit], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = spoilt(ADAPTERS[name][0])
    out = ["--arm", "correct", "--out", str(tmp_path / "out")]
    for command in (["evaluate", str(recipe)], ["export", str(recipe), *out, "--merge"]):
        assert "adapters/correct: does not fit" in told(capfd, cli.main(command))
    assert not list((tmp_path / "run").glob("generations/correct*.jsonl"))
    assert not (tmp_path / "out").exists()


def test_an_adapter_that_training_did_not_write(
    spoilt: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = str(spoilt(ADAPTERS["NaN"][0], recorded=False))
    out = ["--arm", "correct", "--out", str(tmp_path / "out")]
    for command in (["ask", recipe, "--arm", "correct", "x"], ["export", recipe, *out]):
        message = told(capfd, cli.main(command))
        assert (
            "adapters/correct: was changed after training wrote it; delete it, then run: tracedistill train" in message
        )
    message = told(capfd, cli.main(["evaluate", recipe]))
    assert "adapters/correct was changed after its stage wrote it; delete it to make it again" in message


# ---- killed at any moment

MOMENTS = ("correct.checkpoints", "correct.checkpoints/checkpoint-*", ".correct.partial", "correct.manifest.json")
CHILD = """
import os
import signal
import sys
from pathlib import Path

import torch

watched, moment, *recipe = sys.argv[1:]


def look():
    if any(Path(watched).glob(moment)):
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(lambda event, _: look() if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir") else None)
torch.set_num_threads(1)
from tracedistill import train

sys.exit(train.main(recipe))
"""
"""A training that kills itself at the first change of a folder behind the moment."""


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_training_ends_in_the_same_bytes(moment: str, folder: Path, tmp_path: Path) -> None:
    """While rows are rendered, at a checkpoint, while the adapter is saved, between two arms."""
    arms = {"correct": {"tune": "correct"}, "answer-only": {"tune": "none"}}
    places = [tmp_path / "undisturbed", tmp_path / "killed"]
    recipes = []
    for place in places:
        place.mkdir()
        recipes.append(str(recipe_of(place, folder, {"lora_targets": "q_proj"}, arms=arms)))
    assert train.main([recipes[0]]) == 0
    watched = str(places[1] / "run" / "adapters")
    child = subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD, watched, moment, recipes[1]], cwd=ROOT)
    assert child.returncode == -signal.SIGKILL, f"ended before there was {moment}"
    assert train.main([recipes[1]]) == 0
    hashes = [{name: file_hash(place / "run" / "adapters" / name) for name in arms} for place in places]
    assert hashes[0] == hashes[1]
    left = {path.name.partition(".")[2] for path in (places[1] / "run" / "adapters").iterdir()}
    assert left == {"", "manifest.json"}
