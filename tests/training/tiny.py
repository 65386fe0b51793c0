"""A tiny random model, its tokenizer and rows, for the training tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig
from tokenizers import Tokenizer, models

from tracedistill.recipes import TrainingConfig
from tracedistill.training import TrainingSetup

VOCABULARY = 97


def settings(folder: Path, **changes: Any) -> TrainingSetup:
    """Settings of a quick training on the CPU; keyword arguments are a recipe's, or the setup's own."""
    own = {"bf16": False, "use_cpu": True, "logging_steps": 1}
    own |= {key: changes.pop(key) for key in ("bf16", "seed", "logging_steps") if key in changes}
    base = {"learning_rate": 5e-3, "batch_size": 4, "warmup": 0.0, "save_steps": 0}
    return TrainingSetup(str(folder), TrainingConfig(**base | changes), **own)


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    words = {"<pad>": 0, "<eos>": 1} | {f"w{index}": index for index in range(2, VOCABULARY)}
    backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")


def model(dtype: torch.dtype = torch.float32, attention: str = "eager") -> transformers.PreTrainedModel:
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
        initializer_range=0.2,  # far from uniform, so that losses can differ
    )
    torch.manual_seed(7)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).to(dtype)


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        prompt = [draw.randrange(2, VOCABULARY) for _ in range(draw.randrange(4, 24))]
        completion = [(prompt[-1] + step) % 90 + 2 for step in range(draw.randrange(1, 6))] + [1]
        made.append({"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)})
    return made


def lora() -> LoraConfig:
    return LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
