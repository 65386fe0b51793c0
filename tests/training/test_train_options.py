"""Every way of tuning that a recipe can ask for: it learns, its result loads, an interruption changes nothing."""

from __future__ import annotations

import importlib.util
import json
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import attach, build
from tests.training.test_arm import ROWS, SETTINGS, STEPS, WEIGHTS
from tracedistill.chat.formats import ANSWER_TASK, RATIONALE_TASK, write_completion
from tracedistill.chat.rendering import render_example
from tracedistill.engines.adapters import load_base
from tracedistill.engines.local import LocalEngine
from tracedistill.engines.tokenizers import load_tokenizer
from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.recipes import StudentConfig
from tracedistill.recipes.reader import load as load_recipe
from tracedistill.records import Example, Message, Trace
from tracedistill.sft.examples import two_targets
from tracedistill.training import arm as train
from tracedistill.training.arm import train_arm
from tracedistill.training.trainer import TraceTrainer, build_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.gradient_checkpointing. is deprecated:FutureWarning"),
]


TRACE = "Question type: counting.\nMary took the apple."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


def tune(folder: Path, output: Path, rows: list[Example] = ROWS, **changes: Any) -> Path:
    """Train on the rows; `dtype` and `quantization` are the student's, other changes the training's."""
    student = StudentConfig(
        str(folder), dtype=changes.pop("dtype", "float32"), quantization=changes.pop("quantization", "none")
    )
    output.parent.mkdir(exist_ok=True)
    train_arm(
        name=output.name,
        rows=rows,
        student=student,
        training=replace(SETTINGS, **changes),
        seed=0,
        output=output,
    )
    return output


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((output / "training.json").read_text())["log"]]


def loss(model: Any, tokenizer: Any, rows: list[Example] = ROWS[:6]) -> float:
    """Mean over the supervised tokens of a few rows."""
    total, count = 0.0, 0
    for row in rows:
        rendered = render_example(tokenizer, row)
        ids, mask = torch.tensor([rendered.input_ids]), torch.tensor(rendered.completion_mask[1:], dtype=torch.bool)
        with torch.inference_mode():
            scores = model(ids).logits[0, :-1].float().log_softmax(-1)
        total -= float(scores.gather(1, ids[0, 1:, None])[mask].sum())
        count += int(mask.sum())
    return total / count


ADAPTERS: dict[str, dict[str, Any]] = {
    "rslora": {"lora_rslora": True},
    "dora": {"lora_dora": True},
    "gaussian": {"lora_init": "gaussian"},
    "orthogonal": {"lora_init": "orthogonal"},
    "pissa": {"lora_init": "pissa"},
    "pissa_niter_16": {"lora_init": "pissa_niter_16"},
    "olora": {"lora_init": "olora"},
    "olora with rslora": {"lora_init": "olora", "lora_rslora": True},
    "some targets": {"lora_targets": "o_proj, down_proj, up_proj"},
    "dropout": {"lora_dropout": 0.3},
    "adamw_torch": {"optimizer": "adamw_torch"},
    "adamw_8bit": {"optimizer": "adamw_8bit"},
    "adafactor": {"optimizer": "adafactor"},
    "checkpointing": {"activation_checkpointing": True},
    "packing": {"packing": True},
}


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, float]]:
    """Name -> (adapter, loss of the trainer's own model when it ended), of all ADAPTERS and a plain one."""
    tokenizer = load_tokenizer(str(folder))
    adapters, ended = tmp_path_factory.mktemp("adapters"), {}
    save = train.save
    with pytest.MonkeyPatch.context() as patch:
        for name, changes in {"plain": {}, **ADAPTERS}.items():

            def watched(trainer: Any, *args: Any, name: str = name) -> None:
                trainer.model.eval()
                ended[name] = loss(trainer.model, tokenizer)
                save(trainer, *args)

            patch.setattr(train, "save", watched)
            tune(folder, adapters / name, **changes)
    return {name: (adapters / name, ended[name]) for name in ended}


@pytest.mark.slow  # fifteen trainings
@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("merge", [False, True])
def test_what_was_trained_is_what_loads(
    folder: Path, trained: dict[str, tuple[Path, float]], name: str, merge: bool
) -> None:
    """On the base as it is, also where the first weights were taken out of it; and the base is itself again."""
    adapter, ended = trained[name]
    base, tokenizer = load_base(str(folder), "float32")
    before = loss(base, tokenizer)
    tuned, merged = attach(base, adapter, str(folder), merge=merge)
    assert merged == merge
    assert loss(tuned, tokenizer) == pytest.approx(ended, abs=2e-3)
    assert ended < before - 0.05
    assert len(losses(adapter)) == STEPS


@pytest.mark.slow  # fifteen trainings
def test_options_change_what_is_learnt_or_do_not(trained: dict[str, tuple[Path, float]]) -> None:
    plain = losses(trained["plain"][0])
    equal = {name for name in ADAPTERS if losses(trained[name][0]) == pytest.approx(plain, abs=1e-4)}
    assert equal == {"checkpointing", "packing", "adamw_torch", "adamw_8bit"}


@pytest.mark.slow  # fifteen trainings
def test_adapters_say_what_they_are(trained: dict[str, tuple[Path, float]]) -> None:
    def config(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((trained[name][0] / "adapter_config.json").read_text())
        return found

    assert config("rslora")["use_rslora"]
    assert config("dora")["use_dora"]
    assert sorted(config("some targets")["target_modules"]) == ["down_proj", "o_proj", "up_proj"]
    for name in ("pissa", "olora"):
        assert (config(name)["r"], config(name)["lora_alpha"], config(name)["init_lora_weights"]) == (8, 16, True)


# ---- all weights


@pytest.mark.slow
def test_full_fine_tuning_leaves_a_whole_model(folder: Path, tmp_path: Path) -> None:
    output = tune(folder, tmp_path / "full", method="full", learning_rate=2e-3)
    assert not (output / "adapter_config.json").exists()
    assert json.loads((output / "training.json").read_text())["base"] == str(folder)
    base, tokenizer = load_base(str(folder), "float32")
    engine = LocalEngine.load(str(output), "float32")
    assert loss(engine.model, engine.tokenizer) < loss(base, tokenizer) - 0.1
    assert engine.describe()["template_hash"] == LocalEngine.load(str(folder), "float32").describe()["template_hash"]
    with pytest.raises(InputError, match="not an adapter folder"):
        attach(base, output, str(folder), merge=True)


@pytest.mark.slow
def test_full_fine_tuning_is_kept_in_the_students_dtype(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    output = tune(folder, tmp_path / "full", method="full", dtype="bfloat16", max_steps=2)
    assert {tensor.dtype for tensor in load_file(output / "model.safetensors").values()} == {torch.bfloat16}


@pytest.mark.slow
def test_8_bit_states_where_tensors_are_large_enough(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(train, "save", lambda trainer, *args: kept.append(trainer))
    tune(folder, tmp_path / "full", method="full", optimizer="adamw_8bit", max_steps=2, learning_rate=1e-3)
    states = {
        name: kept[0].optimizer.state[weight]["state1"].dtype for name, weight in kept[0].model.named_parameters()
    }
    # tensors below 4096 numbers and embeddings keep 32 bits
    assert {name for name, dtype in states.items() if dtype == torch.uint8} == {"lm_head.weight"}
    assert states["model.embed_tokens.weight"] == torch.float32


# ---- 4-bit weights


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of 64 numbers: the blocks of 4-bit weights, without which bitsandbytes cannot run them on some CPUs."""
    return build(tmp_path_factory.mktemp("wide"), hidden=64)


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"lora_dora": True}, marks=pytest.mark.slow),
        pytest.param({"packing": True}, marks=pytest.mark.slow),
    ],
    ids=["lora", "dora", "packing"],
)
def test_qlora_on_a_cpu(wide: Path, tmp_path: Path, changes: dict[str, Any], dtype: str) -> None:
    from safetensors.torch import load_file

    output = tune(wide, tmp_path / "q", quantization="nf4", dtype=dtype, epochs=2, **changes)
    found = losses(output)
    assert found[-1] < found[0] - 0.3
    assert {weight.dtype for weight in load_file(output / WEIGHTS).values()} == {torch.float32}
    engine = LocalEngine.load(str(wide), dtype, adapter=output, quantization="nf4")
    assert engine.describe()["adapter"] == "adapter", "4-bit weights keep it apart"
    assert loss(engine.model, engine.tokenizer) == pytest.approx(found[-1], abs=0.35)


def test_what_4_bit_weights_cannot_do(folder: Path, tmp_path: Path) -> None:
    settings = train.settings_of(SETTINGS, StudentConfig("x"), 0, tmp_path, 8)
    base, tokenizer = load_base(str(folder), "float32", "nf4")
    row = {"input_ids": [5, 6], "completion_mask": [0, 1]}
    with pytest.raises(InputError, match="cannot be evaluated between steps"):
        build_trainer(base, tokenizer, [row], [row], replace(settings, use_cpu=True))
    with pytest.raises(InputError, match="lora_init: pissa changes the base weights"):
        tune(folder, tmp_path / "q", quantization="nf4", lora_init="pissa")


# ---- interruptions


RESUMED: dict[str, dict[str, Any]] = {
    "dropout": {"lora_dropout": 0.3},
    "full": {"method": "full", "learning_rate": 1e-3},
    "pissa": {"lora_init": "pissa"},
    "8bit": {"method": "full", "optimizer": "adamw_8bit", "learning_rate": 1e-3},
    "packing": {"packing": True, "gradient_accumulation": 2},
    "nf4": {"quantization": "nf4", "dtype": "bfloat16"},
}


class EndError(Exception):
    pass


@contextmanager
def fault_at(step: int, error: Exception) -> Iterator[None]:
    """A training step that fails."""
    own = TraceTrainer.training_step

    def failing(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise error
        return own(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TraceTrainer, "training_step", failing)
        yield


@pytest.mark.slow  # two trainings each, one of them killed
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in {"pissa", "8bit", "full"} else ()) for name in RESUMED],
)
def test_an_interruption_changes_nothing(folder: Path, tmp_path: Path, name: str) -> None:
    whole = tune(folder, tmp_path / "whole", **RESUMED[name])
    with fault_at(5, EndError()), pytest.raises(EndError):
        tune(folder, tmp_path / "arm", **RESUMED[name])
    assert (tmp_path / "arm.checkpoints" / "checkpoint-4" / "whole").exists()
    weights = "model.safetensors" if (whole / "model.safetensors").exists() else WEIGHTS
    with fault_at(3, EndError()):  # a training from the start would meet it
        resumed = tune(folder, tmp_path / "arm", **RESUMED[name])
    assert (resumed / "training.json").read_bytes() == (whole / "training.json").read_bytes()
    assert file_hash(resumed / weights) == file_hash(whole / weights)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
]


@pytest.mark.slow
@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["gpu", "cpu", "python"])
def test_exhausted_memory_is_told_and_the_checkpoint_kept(folder: Path, tmp_path: Path, error: Exception) -> None:
    with fault_at(3, error), pytest.raises(InputError, match=r"out of memory; raise training.gradient_accumulation"):
        tune(folder, tmp_path / "arm")
    assert [child.name for child in (tmp_path / "arm.checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]


@pytest.mark.slow
def test_other_errors_stay_what_they_are(folder: Path, tmp_path: Path) -> None:
    with fault_at(3, RuntimeError("shapes do not fit")), pytest.raises(RuntimeError, match="shapes do not fit"):
        tune(folder, tmp_path / "arm")


@contextmanager
def small_disk(size: int, step: int) -> Iterator[None]:
    """No file can be larger than `size` bytes from this step on: what a full disk does to who writes."""
    own, limits = TraceTrainer.training_step, resource.getrlimit(resource.RLIMIT_FSIZE)

    def limited(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        return own(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TraceTrainer, "training_step", limited)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "size"),
    [
        pytest.param("lora", 1000, marks=pytest.mark.slow),
        ("lora", 40_000),
        pytest.param("full", 20_000, marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_is_told_and_the_checkpoint_kept(folder: Path, tmp_path: Path, method: str, size: int) -> None:
    """Adapter, optimizer state (torch) and whole model (safetensors) fail each in their own way."""
    changes = {"method": method, "learning_rate": 1e-3}
    with small_disk(size, 3), pytest.raises(InputError, match=r"cannot write .*arm: ") as told:
        tune(folder, tmp_path / "arm", **changes)
    assert "kept" in str(told.value)
    assert [child.name for child in (tmp_path / "arm.checkpoints").glob("checkpoint-*")] == ["checkpoint-2"]
    assert not (tmp_path / "arm").exists()
    whole = tune(folder, tmp_path / "whole", **changes)
    with fault_at(1, EndError()):
        resumed = tune(folder, tmp_path / "arm", **changes)
    assert (resumed / "training.json").read_bytes() == (whole / "training.json").read_bytes()


@pytest.mark.slow
def test_a_loss_that_is_no_number(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = TraceTrainer.compute_loss

    def broken(self: Any, *args: Any, **kwargs: Any) -> Any:
        return own(self, *args, **kwargs) * (float("nan") if self.state.global_step == 3 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(TraceTrainer, "compute_loss", broken)
        with pytest.raises(InputError, match=r"gradient is not finite at step 4; the last checkpoint in .* is intact"):
            tune(folder, tmp_path / "arm")
    assert (tmp_path / "arm.checkpoints" / "checkpoint-2" / "whole").exists()
    resumed, whole = tune(folder, tmp_path / "arm"), tune(folder, tmp_path / "whole")
    assert file_hash(resumed / WEIGHTS) == file_hash(whole / WEIGHTS)


@pytest.mark.slow
def test_a_loss_that_is_no_number_is_seen_where_gradients_are_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under ZeRO-3, whose parameters show no gradient."""
    import tracedistill.training.trainer as module

    monkeypatch.setattr(module.StepGuard, "on_pre_optimizer_step", lambda *args, **kwargs: None)
    own = TraceTrainer.compute_loss
    monkeypatch.setattr(TraceTrainer, "compute_loss", lambda *args, **kwargs: own(*args, **kwargs) * float("nan"))
    with pytest.raises(InputError, match="the loss is not finite at step 1"):
        tune(folder, tmp_path / "arm")


# ---- bad inputs


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no rows": ({"rows": []}, "arm arm: has no training rows"),
    "unknown target": (
        {"lora_targets": "q_proj,c_attn"},
        (
            r"lora_targets: 'c_attn' names no linear layer .* takes an adapter; choose from down_proj \(2\), "
            r".*v_proj \(2\)"
        ),
    ),
    "no target": ({"lora_targets": " , "}, "lora_targets: ' , ' names no linear layer"),
    "the head as target": ({"lora_targets": "lm_head"}, "lora_targets: 'lm_head' names no linear layer"),
    "a rank that the layers do not have": (
        {"lora_r": 33, "lora_init": "pissa"},
        r"lora_r: 33 exceeds the rank of the smallest tuned layer \(16\)",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_inputs(folder: Path, tmp_path: Path, name: str) -> None:
    changes, message = BAD[name]
    with pytest.raises(InputError, match=message):
        tune(folder, tmp_path / "arm", **changes)
    assert not (tmp_path / "arm").exists()


@pytest.mark.slow
def test_one_row_is_enough(folder: Path, tmp_path: Path) -> None:
    output = tune(folder, tmp_path / "arm", rows=ROWS[:1], epochs=3)
    found = losses(output)
    assert len(found) == 3
    assert found[-1] < found[0]


def test_a_damaged_base_is_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, tmp_path / "damaged")
    weights = load_file(tmp_path / "damaged" / "model.safetensors")
    weights["model.norm.weight"][3] = float("nan")
    save_file(weights, tmp_path / "damaged" / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"weights are damaged: model.norm.weight contains NaN"):
        tune(tmp_path / "damaged", tmp_path / "adapters" / "arm")


def test_a_base_that_is_missing(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "empty")
    (tmp_path / "empty" / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        tune(tmp_path / "empty", tmp_path / "adapters" / "arm")


@pytest.mark.slow
def test_two_trainings_of_one_folder(folder: Path, tmp_path: Path) -> None:
    import filelock

    (tmp_path / "arm.checkpoints").mkdir()
    with (
        filelock.FileLock(tmp_path / "arm.checkpoints" / train.LOCK),
        pytest.raises(InputError, match=r"arm.checkpoints: another process is training here"),
    ):
        tune(folder, tmp_path / "arm")
    assert tune(folder, tmp_path / "arm", max_steps=1).exists()


@pytest.mark.slow
def test_what_the_machine_lacks(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        find = importlib.util.find_spec
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else find(name))
        with pytest.raises(InputError, match=r"quantization: nf4, training.optimizer: adamw_8bit: needs bitsandbytes"):
            tune(folder, tmp_path / "arm", quantization="nf4", optimizer="adamw_8bit")
    with monkeypatch.context() as patch:
        patch.setattr(torch.accelerator, "is_available", lambda: False)
        for paged, instead in (("paged_adamw_8bit", "adamw_8bit"), ("paged_adamw_32bit", "adamw_torch_fused")):
            with pytest.raises(InputError, match=rf"{paged} pages its state .* no GPU; use {instead}"):
                tune(folder, tmp_path / "arm", optimizer=paged)
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
        patch.setattr(torch.cuda, "get_device_name", lambda: "Tesla T4")
        with pytest.raises(InputError, match=r"dtype bfloat16: Tesla T4 does not support it; .*float32"):
            tune(folder, tmp_path / "arm", dtype="bfloat16")


RECIPE = """
study: small
task: {name: babi}
students: {tiny: {model: x%s}}
arms: {a: {tune: correct}}
training: {%s}
"""
RECIPES = [
    ("", "lora_r: 0", "training.lora_r: must be at least 1"),
    ("", "optimizer: adamw_4bit", "training.optimizer: .*'adamw_4bit'"),
    ("", "method: lorra", "training.method: .*'lorra'"),
    ("", "lora_init: eva", "training.lora_init: .*'eva'"),
    ("", "lora_init: orthogonal, lora_r: 3", "training.lora_r: must be even"),
    ("", "lora_init: pissa, lora_dora: true", "training.lora_init: pissa cannot be combined with lora_dora"),
    ("", "method: full, lora_dora: true", "training.lora_dora: is only valid with method: lora"),
    (", quantization: nf4", "method: full", "training.method: full: the 4-bit weights of students.tiny"),
    ("", "lora_targets: ','", "training.lora_targets: must be all-linear, or names"),
    ("", "lora_dropout: 1.0", "training.lora_dropout: must be below 1"),
]


@pytest.mark.parametrize(("student", "training", "message"), RECIPES)
def test_recipes_that_make_no_sense(tmp_path: Path, student: str, training: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(RECIPE % (student, training))
    key, _, words = message.partition(": ")
    with pytest.raises(InputError, match=rf"{key} \(line 6\): {words}"):
        load_recipe(path)


def test_the_format_reaches_the_rows(folder: Path, tmp_path: Path) -> None:
    """A family that keeps its thinking apart is trained on what its template writes."""
    thinking = tmp_path / "thinking"
    shutil.copytree(folder, thinking)
    template = (Path(__file__).parents[1] / "cases" / "templates" / "qwen3.jinja").read_text()
    (thinking / "chat_template.jinja").write_text(template)
    asked = (Message("user", "Where?"),)
    rows = [Example(f"p{n}", "a", asked, write_completion(f"t {n}", str(n), "reasoning")) for n in range(4)]
    student, output = StudentConfig(str(thinking), dtype="float32"), tmp_path / "arm"
    seen: list[str] = []
    own = train._trained
    with pytest.MonkeyPatch.context() as patch:

        def watched(name: str, learning: Any, data: Any, tokenizer: Any, *args: Any) -> Any:
            seen.extend(tokenizer.decode(row["input_ids"]) for row in data.rows)
            return own(name, learning, data, tokenizer, *args)

        patch.setattr(train, "_trained", watched)
        train_arm(name="arm", rows=rows, student=student, training=SETTINGS, seed=0, output=output, format="reasoning")
    assert seen[3] == (
        "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n<think>\nt 3\n</think>\n\nAnswer: 3<|im_end|>"
    )


@pytest.mark.slow
def test_a_tokenizer_without_padding_gets_some(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "bare")
    path = tmp_path / "bare" / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("pad_token")
    path.write_text(json.dumps(config))
    tokenizer = load_tokenizer(str(tmp_path / "bare"))
    assert tokenizer.pad_token == "<|endoftext|>"
    assert tune(tmp_path / "bare", tmp_path / "arm", max_steps=1).exists()


# ---- answer and rationale as two targets


@pytest.mark.slow
def test_two_targets_teach_both_and_the_answer_is_asked_for_alone(folder: Path, tmp_path: Path) -> None:
    answers = [Example(f"p{n}", "a", (Message("user", f"Where is Mary? {n}"),), f"Answer: {n}") for n in range(24)]
    traces = {row.problem_id: Trace(f"t{row.problem_id}", row.problem_id, "rules", (), TRACE) for row in answers}
    rows = two_targets(answers, traces)
    student = StudentConfig(str(folder), dtype="float32")

    def losses_of(weight: float) -> dict[str, float]:
        output = tmp_path / f"weight-{weight}"
        training = replace(SETTINGS, epochs=4)
        train_arm(
            name="a", rows=rows, student=student, training=training, seed=0, output=output, rationale_weight=weight
        )
        base, tokenizer = load_base(str(folder), "float32")
        tuned, _ = attach(base, output, str(folder), merge=True)
        return {
            task: loss(tuned, tokenizer, [row for row in rows if row.prompt[-1].content.startswith(task)][:4])
            for task in (ANSWER_TASK, RATIONALE_TASK)
        }

    little, much = losses_of(0.01), losses_of(100.0)
    assert little[ANSWER_TASK] < much[ANSWER_TASK] - 0.2
    assert much[RATIONALE_TASK] < little[RATIONALE_TASK] - 0.2


def test_two_targets_need_both(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"two targets: the rows need answers and rationales"):
        train_arm(
            name="a",
            rows=ROWS,
            student=StudentConfig(str(folder), dtype="float32"),
            training=SETTINGS,
            seed=0,
            output=tmp_path / "a",
            rationale_weight=1.0,
        )
