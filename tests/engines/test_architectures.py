"""Every architecture is tuned, asked in batches as it is alone, exported, and answers outside as it did here."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests import architectures
from tests.conftest import ROOT
from tests.engines.test_local import run
from tracedistill.engines import Request, Sampling
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example, Message

pytestmark = [
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    # of experts whose weights are one tensor, in models that have none besides
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
    # of sliding windows and recurrent kernels that are not installed
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
QUICK = ("gemma3_text", "gpt_oss", "lfm2")
"""Run always: a window beside whole attention, experts with one, a recurrent layer. The others are slow tests."""
EVERY = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in sorted(architectures.ARCHITECTURES)
]
HEAD = "Mary went to the office. John took the apple there. Sandra dropped the milk in the garden. "
"""What all prompts begin with: longer than the windows."""


def prompts() -> list[Request]:
    """Ten prompts with a beginning in common and ends of very different lengths."""
    draw, words = random.Random(3), HEAD.split()
    tails = [" ".join(draw.choices(words, k=length)) for length in (1, 2, 3, 40, 5, 25, 2, 1, 12, 7)]
    return [Request(f"p{n}/0", (Message("user", HEAD + tail),), Sampling(max_tokens=8)) for n, tail in enumerate(tails)]


def tuned(folder: Path, output: Path) -> Path:
    """An adapter after two steps."""
    from tracedistill.training.arm import train_arm

    rows = [
        Example(f"p{n}", "arm", (Message("user", f"{HEAD} Where is {name}?"),), f"{name} is there.\nAnswer: office")
        for n, name in enumerate(("Mary", "John", "Sandra", "Daniel"))
    ]
    training = TrainingConfig(learning_rate=0.02, max_steps=2, batch_size=2, lora_r=2, warmup=0)
    student = StudentConfig(str(folder), dtype="float32")
    train_arm(name="arm", rows=rows, student=student, training=training, seed=0, output=output)
    return output


def outside(folder: Path, adapter: Path, requests: list[Request]) -> list[str]:
    """What transformers and PEFT alone write, prompt by prompt."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(str(adapter))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(folder)), str(adapter)).eval()
    model.generation_config = GenerationConfig.from_pretrained(str(adapter))
    texts = []
    for request in requests:
        chat = [{"role": turn.role, "content": turn.content} for turn in request.messages]
        asked = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=True, return_tensors="pt")
        with torch.inference_mode():
            made = model.generate(**asked)
        texts.append(tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))
    return texts


@pytest.mark.parametrize("name", EVERY)
def test_tuned_asked_exported(name: str, tmp_path: Path) -> None:
    from tracedistill.engines.local import LocalEngine
    from tracedistill.tools.export.weights import write_adapter

    folder = architectures.build(name, tmp_path / "model")
    engine: Any = LocalEngine.load(str(folder), "float32")
    requests = prompts()
    untuned = {request.request_id: run(engine, [request])[request.request_id] for request in requests}
    adapter = tuned(folder, tmp_path / "adapter")
    engine.set_adapter(adapter, merge=False)
    alone = {request.request_id: run(engine, [request])[request.request_id] for request in requests}
    assert [text for text, *_ in alone.values()] != [text for text, *_ in untuned.values()], "the adapter does nothing"
    engine.prepare(requests)
    assert bool(engine._shared) is (engine.tried.layout == "shared prefix")
    assert run(engine, requests) == alone
    assert {**run(engine, requests[:4]), **run(engine, requests[4:])} == alone
    out = tmp_path / "out"
    out.mkdir()
    write_adapter(StudentConfig(str(folder), dtype="float32"), "plain", adapter, out, 8)
    assert outside(folder, out, requests) == [text for text, *_ in alone.values()]


@pytest.mark.slow
@pytest.mark.parametrize("window", [16, 512])
def test_the_shipped_gemma_recipe_gives_equal_texts_batched_and_alone(window: int, tmp_path: Path) -> None:
    """A tiny Gemma 3 in the place of the recipe's, untuned, with few-shot prompts that are longer than its window."""
    from tracedistill import pipeline
    from tracedistill.engines.local import LocalEngine
    from tracedistill.pipeline.evaluate import Evaluation
    from tracedistill.pipeline.screen import Screen
    from tracedistill.pipeline.study_run import StudyRun

    folder = architectures.build("gemma3_text", tmp_path / "model", sliding_window=window, max_position_embeddings=4096)
    changes = ["task.train_split=train", "task.test_split=test", "task.train=40", "task.test=20", "task.validation=2",
               "base.student=gemma-3-270m", "base.max_tokens=8", f"students.gemma-3-270m.model={folder}",
               "students.gemma-3-270m.quantization=none", "students.gemma-3-270m.dtype=float32",
               "arms.standard.prompt=few-shot", "arms.standard.shots=20", f"run_dir={tmp_path / 'run'}"]  # fmt: skip
    loaded = pipeline.load(ROOT / "recipes" / "interpretable-babi" / "study.yaml", changes)
    work = StudyRun(loaded, Screen(quiet=True))
    work.run.claim()
    pipeline.run(loaded, "problems", quiet=True)
    (arm,) = [name for name in loaded.study.arms if name.startswith("standard")]
    requests = Evaluation(work).requests_of(arm, work.problems("test")).requests
    engine: Any = LocalEngine.load(str(folder), "float32", format=loaded.study.format)
    alone = {request.request_id: run(engine, [request])[request.request_id] for request in requests}
    engine.prepare(requests)
    assert len(engine._shared) > window
    for size in (loaded.study.evaluation.batch_size, 7, 3):
        texts: dict[str, Any] = {}
        for start in range(0, len(requests), size):
            texts |= run(engine, requests[start : start + size])
        assert texts == alone, size
