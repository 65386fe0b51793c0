from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.conftest import ROOT
from tests.tuned_study import recipe_of, small_study, tune
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import file_hash, read_json, read_jsonl
from tracedistill.pipeline.execution import make_nodes
from tracedistill.pipeline.graph import upstream
from tracedistill.pipeline.nodes import Graph
from tracedistill.records import Attempt
from tracedistill.tools.conversation import Conversation
from tracedistill.tools.export import weights
from tracedistill.tools.export.model import ExportChoice, export_model
from tracedistill.tools.open_study import open_study

# PEFT asks transformers by a name that is on its way out
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study: recipe, run folder, model."""
    place = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            pipeline.run(small_study(place), quiet=True)
    return place


@pytest.fixture(autouse=True)
def _not_opened_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process for every export would take minutes; tests/tools/export/test_plain_transformers.py has some."""
    monkeypatch.setattr("tracedistill.tools.export.model.OUTSIDE", 0)


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """The run folder, to be damaged; it has been moved, which is all the same."""
    shutil.copytree(place / "run", tmp_path / "moved")
    return tmp_path / "moved"


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging that adds the adapter five times."""
    from tracedistill.engines.adapters import BaseModel

    merge = BaseModel._merge

    def often(self: BaseModel) -> None:
        merge(self)
        for weight, own in self._kept:
            weight.data = own + 5 * (weight.data - own)

    monkeypatch.setattr(BaseModel, "_merge", often)


def export(target: Path, out: Path, **wanted: Any) -> dict[str, Any]:
    """The manifest of an export."""
    export_model(open_study(target), ExportChoice(**{"arm": "correct", **wanted}), out)
    found: dict[str, Any] = read_json(out / "manifest.json")
    return found


def generations(place: Path, arm: str) -> list[Attempt]:
    return list(read_jsonl(place / "run" / "generations" / f"{arm}.jsonl", Attempt))


def run_card(folder: Path) -> str:
    """What the card's example prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code.replace("THIS FOLDER OR REPOSITORY", str(folder)), "README.md", "exec"), {})
    return printed.getvalue().removesuffix("\n")


# ---- what is written


def test_the_merged_folder_answers_as_the_study_did(place: Path, tmp_path: Path) -> None:
    """Loaded by nothing but transformers, on the study's own test prompts."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tracedistill.pipeline.evaluate import Evaluation

    export(place / "run", tmp_path / "out", merge=True)
    model = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"))
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    opened = open_study(place / "run")
    asked = Evaluation(opened.work).requests_of("correct", opened.work.problems("test")).requests
    written = {attempt.attempt_id: attempt.text for attempt in generations(place, "correct")}
    base = [attempt.text for attempt in generations(place, "standard")]
    texts = []
    for request in asked:
        chat = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        ids = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :]
        texts.append(tokenizer.decode(ids, skip_special_tokens=True))
        assert texts[-1] == written[f"correct/{request.request_id}"]
    assert texts != base, "the adapter changes what is written"


@pytest.mark.parametrize("merge", [True, False])
def test_the_cards_example_runs(place: Path, tmp_path: Path, merge: bool) -> None:
    """And prints what the study's own engine writes to that prompt."""
    from tracedistill.engines import Request, Sampling
    from tracedistill.engines.local import LocalEngine
    from tracedistill.tools.export.model import sample_of

    export(place / "run", tmp_path / "out", merge=merge)
    card = tmp_path / "out" / "README.md"
    # the tiny model is on no hub: the card names it by its last name alone
    card.write_text(card.read_text().replace("from_pretrained('model'", f"from_pretrained({str(place / 'model')!r}"))
    printed = run_card(tmp_path / "out")
    first = sample_of(open_study(place / "run"), "correct", 1)[1][0]
    engine = LocalEngine.load(str(place / "model"), "float32", place / "run" / "adapters" / "correct")
    (ours,) = engine.generate([Request("x", first.messages, Sampling(max_tokens=12))])
    assert printed == ours.text


def test_only_safetensors_and_all_files_listed(place: Path, tmp_path: Path) -> None:
    for name, merge in (("merged", True), ("adapter", False)):
        manifest = export(place / "run", tmp_path / name, merge=merge)
        there = {path.name for path in (tmp_path / name).iterdir()}
        assert there == {*manifest["files"], "manifest.json"}
        assert {Path(file).suffix for file in there} <= {".safetensors", ".json", ".jinja", ".md"}
        assert all(file_hash(tmp_path / name / file) == known for file, known in manifest["files"].items())
        for path in (tmp_path / name).iterdir():
            assert path.stat().st_mode & 0o044, f"{path.name} is readable by others"
            assert str(place).encode() not in path.read_bytes(), path.name
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in (tmp_path / "merged").iterdir()
    }


def test_the_same_adapter_gives_the_same_bytes(place: Path, tmp_path: Path) -> None:
    for merge in (True, False):
        export(place / "run", tmp_path / "a", merge=merge)
        before = file_hash(tmp_path / "a")
        export(place / "study.yaml", tmp_path / "a", merge=merge)
        assert file_hash(tmp_path / "a") == before


def test_generation_settings_are_the_studys(place: Path, tmp_path: Path) -> None:
    export(place / "run", tmp_path / "out", merge=True)
    settings = read_json(tmp_path / "out" / "generation_config.json")
    assert (settings["do_sample"], settings["max_new_tokens"]) == (False, 12)
    assert settings["eos_token_id"] == [2]
    assert settings["pad_token_id"] == 0


def test_an_arm_that_borrows_exports_the_adapter_that_it_uses(place: Path, tmp_path: Path) -> None:
    manifest = export(place / "run", tmp_path / "out", arm="borrowed")
    assert manifest["arm"]["name"] == "correct"
    assert manifest["adapter_sha256"] == file_hash(place / "run" / "adapters" / "correct")


# ---- card and manifest


def test_the_card_and_the_manifest_tell_where_it_is_from(place: Path, tmp_path: Path) -> None:
    manifest = export(place / "study.yaml", tmp_path / "out", merge=True)
    card = (tmp_path / "out" / "README.md").read_text()
    parity = manifest["parity"]
    assert (parity["n"], parity["verdicts_changed"], parity["texts_changed"], parity["forced"]) == (6, 0, 0, False)
    assert parity["prompts"]["role"] == "validation"
    assert parity["places"] > 0
    assert parity["largest_logit_drift"] < 1e-3
    assert "Greedy answers to 6 validation prompts" in card
    assert "with the separate adapter on float32 weights" in card
    report = read_json(place / "run" / "report.json")
    for arm in report["arms"]:
        assert f"| {arm['name']}" in card
    assert "| correct (this one) | 6 |" in card
    for told in ("What was not tested", "Teacher `rules`", "Saw the gold: no.", "12 rows, loss on the completion alone",
                 "Licence of the source", "lora_r 4", 'System message: "Answer the question."'):  # fmt: skip
        assert told in card


def test_a_hub_reads_the_head(place: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    for name, merge, library in (("merged", True, "transformers"), ("adapter", False, "peft")):
        export(place / "run", tmp_path / name, merge=merge)
        data = ModelCard.load(tmp_path / name / "README.md").data
        assert data.library_name == library
        assert data.base_model is None, "a folder of this machine is no model of the hub"


def test_scores_of_another_adapter_are_not_told(copy: Path, tmp_path: Path) -> None:
    assert export(copy, tmp_path / "a")["scores"]["test_problems"] == 6
    path = copy / "generations" / "correct.jsonl.manifest.json"
    manifest = read_json(path)
    manifest["inputs"]["adapters/correct"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert export(copy, tmp_path / "b")["scores"] is None
    assert "no report on this adapter" in (tmp_path / "b" / "README.md").read_text()
    (copy / "report.json").unlink()
    assert export(copy, tmp_path / "c", arm="answer-only")["scores"] is None


# ---- the gate


def test_a_merge_that_changes_verdicts_is_refused(
    place: Path, tmp_path: Path, spoilt: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tracedistill.tasks.babi.task.Babi.judge_answer", _by_text)
    command = ["export", str(place / "run"), "--arm", "correct", "--merge", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    told = capsys.readouterr().err
    assert re.search(r"gives [1-6] of 6 answers another verdict than the adapter on float32 weights", told)
    assert "--force" in told
    assert list(tmp_path.iterdir()) == []

    assert main([*command, "--force"]) == 0
    assert "beyond the tolerance, written because of --force" in capsys.readouterr().out
    manifest = read_json(tmp_path / "out" / "manifest.json")
    assert manifest["parity"]["forced"]
    assert manifest["parity"]["largest_logit_drift"] > 0.1
    assert "**Beyond the study's tolerance" in (tmp_path / "out" / "README.md").read_text()


def test_the_tolerance_is_the_recipes(
    place: Path, tmp_path: Path, spoilt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracedistill.tasks.babi.task.Babi.judge_answer", _by_length)
    with pytest.raises(InputError, match="another verdict"):
        export(place / "run", tmp_path / "out", merge=True)
    opened = open_study(place / "study.yaml", ["evaluation.parity_limit=0.99"])
    made = export_model(opened, ExportChoice("correct", merge=True), tmp_path / "out")
    assert made.parity is not None
    assert (made.parity["allowed"], made.parity["forced"], made.parity["limit"]) == (True, False, 0.99)
    assert 0 < made.parity["verdicts_changed"] < 6


def _by_text(self: object, problem: object, text: str, policy: str = "default") -> Any:
    """Every text is a verdict of its own."""
    from tracedistill.records import AnswerVerdicts, Verdict

    verdict = Verdict(text)  # type: ignore[arg-type]
    return AnswerVerdicts(verdict, verdict, verdict)


def _by_length(self: object, problem: object, text: str, policy: str = "default") -> Any:
    """Texts of odd length are right: some changes change a verdict, others do not."""
    return _by_text(self, problem, "correct" if len(text) % 2 else "incorrect")


def test_a_4_bit_student_is_merged_unquantised_and_checked_against_4_bit(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    model = tiny.build(tmp_path / "model", hidden=64)
    student = {"model": str(model), "dtype": "float32", "quantization": "nf4"}
    loaded = tune(recipe_of(tmp_path, model, students={"tiny": student}))
    made = export_model(
        open_study(loaded.study.folder), ExportChoice("correct", merge=True, force=True, sample=3), tmp_path / "out"
    )
    assert made.parity is not None
    assert made.parity["against"] == "the separate adapter on 4-bit (nf4) weights"
    assert made.parity["n"] == 3
    assert made.parity["largest_logit_drift"] > 1e-3, "4-bit weights are others"
    assert "quantization_config" not in read_json(tmp_path / "out" / "config.json")
    assert "on 4-bit (nf4) weights (QLoRA)" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_merged_is_said(place: Path, copy: Path, tmp_path: Path) -> None:
    loaded = tune(recipe_of(tmp_path, place / "model"), modules_to_save=["lm_head"], target_modules=["q_proj"])
    with pytest.raises(InputError, match=r"cannot be merged into .*without --merge"):
        export(loaded.study.folder, tmp_path / "out", merge=True)
    assert not (tmp_path / "out").exists()
    export(loaded.study.folder, tmp_path / "out")


def test_a_model_tuned_whole_is_exported_as_it_is(place: Path, tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, place / "model", training={"method": "full"})
    loaded = pipeline.load(recipe)
    work = open_study(recipe).work
    work.run.claim()
    nodes = Graph(work).nodes()
    tuned = [node for node in nodes if node.name == "train:correct"]
    make_nodes(work, [node for node in upstream(nodes, tuned) if node not in tuned])
    tiny.build(loaded.study.folder / "adapters" / "correct", seed=7)
    work.run.record(tuned[0], 0.0, work.facts())
    made = export_model(open_study(recipe), ExportChoice("correct", merge=True), tmp_path / "out")
    assert (made.what, made.parity) == ("full", None)
    ours = file_hash(tmp_path / "out" / "model.safetensors")
    assert ours == file_hash(loaded.study.folder / "adapters" / "correct" / "model.safetensors")
    assert "there was nothing to merge" in (tmp_path / "out" / "README.md").read_text()
    talk = Conversation(open_study(recipe), "correct")
    assert talk.how == "tiny (model, float32), tuned, all weights"
    first = open_study(recipe).work.problems("validation")[0]
    assert talk.ask_known(first.problem_id).text == run_card(tmp_path / "out")


def test_thinking_is_asked_for_as_in_the_study(tmp_path: Path) -> None:
    """A family that keeps its thinking apart: the card's example and the exported folder ask it to think."""
    model = tiny.build(tmp_path / "model")
    template = ROOT / "tests" / "cases" / "templates" / "qwen3.jinja"
    (model / "chat_template.jinja").write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    recipe = recipe_of(tmp_path, model, format="reasoning", arms={"correct": {"tune": "correct"}})
    tune(recipe)
    made = export_model(open_study(recipe), ExportChoice("correct", merge=True), tmp_path / "out")
    assert made.parity is not None
    assert made.parity["texts_changed"] == 0
    assert "enable_thinking=True" in (tmp_path / "out" / "README.md").read_text()
    talk = Conversation(open_study(recipe), "correct")
    first = open_study(recipe).work.problems("validation")[0]
    assert talk.ask_known(first.problem_id).text == run_card(tmp_path / "out")


# ---- what is refused


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--arm", "nope"], "no such arm; the study has: standard, few-shot"),
        (["--arm", "standard"], "has no adapter: its student is untuned; tuned arms: answer-only, correct"),
        (["--arm", "correct", "--seed", "1"], "has 1 adapter(s) per arm"),
        (["--arm", "correct", "--seed", "-1"], "has 1 adapter(s) per arm"),
        (["--arm", "correct", "--force"], "needs --merge"),
        (["--arm", "correct", "--sample", "3"], "needs --merge"),
        (["--arm", "correct", "--merge", "--sample", "0"], "at least 1"),
        (["--arm", "correct", "--push", "nope"], "owner/name"),
        (["--arm", "correct", "--private"], "--private needs --push"),
    ],
)
def test_bad_arguments(
    place: Path, tmp_path: Path, argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(place / "run"), "--out", str(tmp_path / "out"), *argv]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_adapters_that_are_not_there_damaged_or_stale(place: Path, copy: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        InputError, match=r"is stale \(training.epochs was 1.0, is 2.0\); first run: tracedistill train"
    ):
        export_model(open_study(place / "study.yaml", ["training.epochs=2"]), ExportChoice("correct"), out)
    weight = copy / "adapters" / "correct" / "adapter_model.safetensors"
    weight.write_bytes(weight.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="was changed after training wrote it"):
        export(copy, out)
    shutil.rmtree(copy / "adapters" / "correct")
    with pytest.raises(InputError, match="no adapter yet; first run: tracedistill train RECIPE"):
        export(copy, out)
    assert not out.exists()


def test_adapters_in_pickles_are_not_exported(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "run" / "adapters" / "correct", tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    (tmp_path / "out").mkdir()
    student = open_study(place / "run").study.students["tiny"]
    with pytest.raises(InputError, match="only adapters in safetensors"):
        weights.write_adapter(student, "plain", tmp_path / "adapter", tmp_path / "out", 12)


def test_a_disk_without_room(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"GB are needed, 0\.0 GB are free"):
        export(place / "run", tmp_path / "out", merge=True)
    assert list(tmp_path.iterdir()) == []


def test_no_call_trusts_remote_code_or_loads_pickles() -> None:
    """In the whole package: weights are data, never programs. What is unpickled was pickled by the program itself."""
    trusting, pickled = [], []
    package = ROOT / "src" / "tracedistill"
    # jobs from the parent process; an unnamed file and a buffer of the same object
    own_bytes = (
        package / "compute",
        package / "pipeline" / "trace_store.py",
        package / "tasks" / "file" / "row_store.py",
    )
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pairs: list[tuple[str | None, ast.expr]] = []
            if isinstance(node, ast.Call):
                pairs = [(each.arg, each.value) for each in node.keywords]
            if isinstance(node, ast.Dict):
                pairs = [(ast.literal_eval(key), value) for key, value in zip(node.keys, node.values, strict=True)
                         if isinstance(key, ast.Constant)]  # fmt: skip
            trusting += [
                f"{path.name}:{value.lineno}"
                for name, value in pairs
                if name == "trust_remote_code" and ast.unparse(value) != "False"
            ]
            loading = ("torch.load", "pickle.load", "pickle.loads")
            loads = isinstance(node, ast.Call) and ast.unparse(node.func) in loading
            if loads and path not in own_bytes and path.parent not in own_bytes:
                pickled.append(f"{path.name}:{node.lineno}")
    assert trusting == []
    assert pickled == []
