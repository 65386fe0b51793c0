"""A tiny random chat model with a real tokenizer, built in a second: for tests that need torch but no weights."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@functools.cache
def tokenizer() -> Any:
    """The tiny models' tokenizer; not to be changed."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from tracedistill.tasks.babi.stories import generate

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stories = [" ".join((*story.lines, story.question)) for story in generate("train", 40, 7)]
    raw.train_from_iterator([*stories, "Answer: Question type: Supporting facts: system user assistant"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def build(
    folder: Path, *, hidden: int = 32, layers: int = 2, seed: int = 0, window: int = 512, **settings: object
) -> Path:
    """Write the model and tokenizer into `folder`, which is returned."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    words = tokenizer()
    words.save_pretrained(str(folder))
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=window,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
        **settings,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder), safe_serialization=True)
    return folder


def ending(folder: Path) -> Path:
    """Have two fifths of all tokens end what the model in `folder` writes: a random one ends by chance alone."""
    path = folder / "generation_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "eos_token_id": [settings["eos_token_id"], *range(100, 300)]}))
    return folder


def lora(folder: Path, path: Path, *, seed: int = 1, std: float = 0.2, **settings: object) -> Path:
    """Write a LoRA adapter of the tiny model, with weights far from zero, into `path`, which is returned."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    torch.manual_seed(seed)
    chosen = {"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **settings}
    tuned = get_peft_model(base, LoraConfig(**chosen))  # type: ignore[arg-type]
    for name, weight in tuned.named_parameters():
        if "lora_B" in name or "modules_to_save" in name or "bias" in name:
            torch.nn.init.normal_(weight, std=std)
    tuned.save_pretrained(str(path))
    return path


def attach(base: Any, adapter: Path, model: str, *, merge: bool) -> tuple[Any, bool]:
    """A base with an adapter, and whether it was merged."""
    from tracedistill.engines.adapters import BaseModel

    holder = BaseModel(base, model)
    merged = holder.set_adapter(adapter, merge=merge)
    return holder.current, merged
