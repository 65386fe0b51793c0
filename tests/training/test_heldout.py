"""The loss on validation rows: what it is, and that it changes nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import ROOT
from tests.tiny import attach, build
from tests.training.test_processes import CONFIG
from tracedistill.chat.formats import RATIONALE_TASK
from tracedistill.chat.rendering import render_example
from tracedistill.engines.adapters import load_base
from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example, Message, Trace
from tracedistill.sft.examples import two_targets
from tracedistill.training import arm as train
from tracedistill.training.arm import train_arm

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
SETTINGS = TrainingConfig(learning_rate=1e-2, batch_size=4, lora_r=4, lora_alpha=8, save_steps=2, lora_dropout=0.1)


def rows_of(numbers: range) -> list[Example]:
    """Rows of unlike length."""
    return [
        Example(f"p{n}", "a", (Message("user", f"Where is Mary? {n}"),), f"Fact: {'so ' * (n % 5)}\nAnswer: {n}")
        for n in numbers
    ]


ROWS, HELD = rows_of(range(24)), rows_of(range(30, 37))
WEIGHTS = "adapter_model.safetensors"
Tune = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tune(folder: Path, tmp_path: Path) -> Tune:
    def run(name: str, *, rows: list[Example] = ROWS, held: list[Example] = HELD, **changes: Any) -> Path:
        weight, dtype = changes.pop("rationale_weight", None), changes.pop("dtype", "float32")
        output = tmp_path / name
        train_arm(
            name=name,
            rows=rows,
            student=StudentConfig(str(folder), dtype=dtype),
            training=replace(SETTINGS, **changes),
            seed=0,
            output=output,
            rationale_weight=weight,
            validation=held,
        )
        return output

    return run


def facts_of(output: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((output / "training.json").read_text())
    return facts


def mean_loss(folder: Path, adapter: Path, rows: list[Example]) -> float:
    """Over all supervised tokens of these rows, one row at a time, by the model's own logits."""
    base, tokenizer = load_base(str(folder), "float32")
    tuned, _ = attach(base, adapter, str(folder), merge=True)
    total, tokens = 0.0, 0
    for row in rows:
        found = render_example(tokenizer, row)
        ids, mask = torch.tensor([found.input_ids]), torch.tensor(found.completion_mask[1:]).bool()
        with torch.no_grad():
            scores = tuned(input_ids=ids).logits[0, :-1].log_softmax(-1)
        total -= float(scores.gather(1, ids[0, 1:, None]).squeeze(1)[mask].sum())
        tokens += int(mask.sum())
    return total / tokens


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        *(
            pytest.param(changes, marks=pytest.mark.slow)
            for changes in (
                {"dtype": "bfloat16"},
                {"packing": True},
                {"method": "full"},
                {"activation_checkpointing": True},
            )
        ),
    ],
    ids=["lora", "bf16", "packing", "full", "checkpointing"],
)
def test_it_changes_nothing(tune: Tune, changes: dict[str, Any]) -> None:
    without, with_it = tune("without", **changes), tune("with", eval_steps=4, **changes)
    file = "model.safetensors" if changes.get("method") == "full" else WEIGHTS
    assert file_hash(with_it / file) == file_hash(without / file)
    plain, facts = facts_of(without), facts_of(with_it)
    assert [each["step"] for each in facts.pop("evaluations")] == [4, 6], "every fourth step, and the last"
    assert facts.pop("validation_rows") == len(HELD)
    assert facts == plain


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [{}, {"gradient_accumulation": 4}, {"packing": True}], ids=["batches", "single rows", "packing"]
)
def test_it_is_the_mean_over_all_tokens(tune: Tune, folder: Path, changes: dict[str, Any]) -> None:
    output = tune("arm", eval_steps=2, **changes)
    found = [each["loss"] for each in facts_of(output)["evaluations"]]
    assert found[-1] == pytest.approx(mean_loss(folder, output, HELD), rel=1e-4)
    assert found == sorted(found, reverse=True), "the rows are like those that it learns from"


def test_two_targets_keep_their_weight(tune: Tune, folder: Path) -> None:
    def both(rows: list[Example]) -> list[Example]:
        bare = [replace(row, completion=f"Answer: {row.problem_id}") for row in rows]
        traces = {row.problem_id: Trace(f"t{n}", row.problem_id, "rules", (), "so " * n) for n, row in enumerate(rows)}
        return two_targets(bare, traces)

    rows, held = both(ROWS[4:12]), both(HELD[2:])
    output = tune("arm", rows=rows, held=held, eval_steps=10, rationale_weight=0.5)
    is_trace = [row.prompt[-1].content.startswith(RATIONALE_TASK) for row in held]
    answers, traces = (
        mean_loss(folder, output, [row for row, one in zip(held, is_trace, strict=True) if one is kind])
        for kind in (False, True)
    )
    assert facts_of(output)["evaluations"][-1]["loss"] == pytest.approx((answers + 0.5 * traces) / 1.5, rel=1e-4)


@pytest.mark.slow  # four trainings
def test_a_resumed_training_has_the_same_evaluations(
    tune: Tune, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save", end)
        with pytest.raises(KeyboardInterrupt):
            tune("arm", eval_steps=1)
    there = {path.name for path in (tmp_path / "arm.checkpoints").glob("checkpoint-*")}
    assert "checkpoint-4" in there, "what is gone on with"
    assert "checkpoint-6" not in there, "none is made at the last step"
    assert facts_of(tune("arm", eval_steps=1)) == facts_of(tune("undisturbed", eval_steps=1))
    assert file_hash(tmp_path / "arm" / WEIGHTS) == file_hash(tmp_path / "undisturbed" / WEIGHTS)


def test_no_rows_no_evaluation(tune: Tune) -> None:
    assert not {"evaluations", "validation_rows"} & facts_of(tune("arm", held=[], eval_steps=1, max_steps=1)).keys()


def test_4_bit_weights_on_a_cpu_are_refused_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    student = StudentConfig(str(tmp_path / "nowhere"), quantization="nf4")
    with pytest.raises(InputError, match=r"training\.eval_steps: 4-bit weights on a CPU cannot be evaluated"):
        train_arm(
            name="a",
            rows=ROWS,
            student=student,
            training=replace(SETTINGS, eval_steps=1),
            seed=0,
            output=tmp_path / "a",
        )


def test_a_loss_that_is_no_number_stops(tune: Tune, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracedistill.training.trainer.mean_loss", lambda *args: float("nan"))
    with pytest.raises(InputError, match="loss on the evaluation rows is not finite at step 2"):
        tune("arm", eval_steps=2)


SCRIPT = """
import json, sys
from pathlib import Path
from tests.training.tiny import lora, model, rows, settings, tokenizer
from tracedistill.training.trainer import build_trainer

made = settings(sys.argv[1], batch_size=8, eval_steps=2)
trainer = build_trainer(model(), tokenizer(), rows(21), rows(9, seed=3), made, peft_config=lora())
trainer.train()
if trainer.is_world_process_zero():
    found = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    Path(sys.argv[1], "evaluations.json").write_text(json.dumps([trainer.accelerator.num_processes, found]))
"""


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    """Nine rows: in the second round of batches one process has a row, and the other none."""

    def found(name: str, *launch: str) -> tuple[int, list[float]]:
        place, script = tmp_path / name, tmp_path / "script.py"
        place.mkdir()
        script.write_text(SCRIPT)
        paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, *launch, str(script), str(place)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        processes, losses = json.loads((place / "evaluations.json").read_text())
        return processes, losses

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = tmp_path / "two.yaml"
        config.write_text(CONFIG.format(port=free.getsockname()[1]))
    one = found("one")
    two = found("two", "-m", "accelerate.commands.launch", "--config_file", str(config))
    assert (one[0], two[0], len(one[1])) == (1, 2, 2)
    assert two[1] == pytest.approx(one[1], rel=1e-4)
