"""Every architecture is tuned, asked in batches as it is alone, exported, and answers outside as it did here."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests import architectures
from tests.engines.test_local import run
from tracedistill.engines import Request, Sampling
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example, Message

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
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
    from tracedistill.train import train_arm

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
    from tracedistill.export.weights import write_adapter

    folder = architectures.build(name, tmp_path / "model")
    engine: Any = LocalEngine.load(str(folder), "float32")
    requests = prompts()
    untuned = {request.request_id: run(engine, [request])[request.request_id] for request in requests}
    adapter = tuned(folder, tmp_path / "adapter")
    engine.use(adapter, merge=False)
    alone = {request.request_id: run(engine, [request])[request.request_id] for request in requests}
    assert [text for text, *_ in alone.values()] != [text for text, *_ in untuned.values()], "the adapter does nothing"
    engine.begin(requests)
    assert bool(engine._shared) is (engine.tried.layout == "shared prefix")
    assert run(engine, requests) == alone
    assert {**run(engine, requests[:4]), **run(engine, requests[4:])} == alone
    out = tmp_path / "out"
    out.mkdir()
    write_adapter(StudentConfig(str(folder), dtype="float32"), "plain", adapter, out, 8)
    assert outside(folder, out, requests) == [text for text, *_ in alone.values()]
