"""Chat templates of real model families, each with a tiny byte-level tokenizer that has the family's special tokens."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import ROOT
from tracedistill.chat.formats import Format

FOLDER = ROOT / "tests" / "cases" / "templates"
BROKEN = "differs from what the model's own chat template writes"
NO_REASONING = "does not write a message's reasoning_content"


@dataclass(frozen=True)
class Family:
    """What a family's tokenizer has, and what its template can do."""

    name: str
    """The template's file."""
    eos: str
    """The tokenizer's end token (not always the one that ends a turn)."""
    special: tuple[str, ...]
    """Special tokens beside the end token."""
    end: str
    """What ends the assistant's turn."""
    opens: str
    """What the prompt ends with in the formats plain and tags."""
    bos: str | None = None
    pad: str | None = None
    added: tuple[str, ...] = ()
    """Tokens of the vocabulary that are text."""
    system: bool = True
    """Whether there is a place for a system message."""
    refused: dict[Format, str] = field(default_factory=dict)
    """Format -> the error that it meets."""
    lead: str = ""
    """White space before the assistant's words."""
    trail: str = ""
    """White space between them and the end token."""
    whole: bool = True
    """Whether the template alone writes a whole row: it drops no thinking, and ends the turn with a token."""


INST = ("[INST]", "[/INST]")
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
GEMMA: dict[str, Any] = {
    "eos": "<eos>",
    "bos": "<bos>",
    "pad": "<pad>",
    "special": ("<start_of_turn>", "<end_of_turn>"),
    "end": "<end_of_turn>",
    "opens": "<start_of_turn>model\n",
}
QWEN3: dict[str, Any] = {
    "eos": "<|im_end|>",
    "pad": "<|endoftext|>",
    "special": CHATML,
    "end": "<|im_end|>",
    "opens": "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    "added": ("<think>", "</think>"),
    "refused": {"tags": BROKEN},
}
_ASSISTANT = "<|im_start|>assistant\n"
_PLAIN: dict[Format, str] = {"reasoning": NO_REASONING}

FAMILIES = {
    family.name: family
    for family in (
        Family("chatml", "<|im_end|>", CHATML, "<|im_end|>", _ASSISTANT, pad="<|endoftext|>", refused=_PLAIN),
        Family("smollm2", "<|im_end|>", CHATML, "<|im_end|>", _ASSISTANT, pad="<|im_end|>", refused=_PLAIN),
        Family("qwen2_5", "<|im_end|>", CHATML, "<|im_end|>", _ASSISTANT, pad="<|endoftext|>", refused=_PLAIN),
        Family("qwen3", **QWEN3),
        Family("qwen3_5_think", **QWEN3),
        Family(
            "llama3_2",
            "<|eot_id|>",
            ("<|start_header_id|>", "<|end_header_id|>", "<|finetune_right_pad_id|>"),
            "<|eot_id|>",
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
            bos="<|begin_of_text|>",
            refused=_PLAIN,
        ),
        Family("gemma", **GEMMA, system=False, refused=_PLAIN),
        Family("gemma3", **GEMMA, refused=_PLAIN),
        Family("phi3", "<|endoftext|>", ("<|end|>", "<|user|>", "<|system|>", "<|assistant|>"), "<|end|>",
               "<|assistant|>\n", pad="<|endoftext|>", refused=_PLAIN),
        Family("mistral_v1", "</s>", INST, "</s>", " [/INST]", bos="<s>", system=False, refused=_PLAIN),
        Family("mistral_v2", "</s>", INST, "</s>", " [/INST]", bos="<s>", system=False, refused=_PLAIN, lead=" "),
        Family("llama2", "</s>", (), "</s>", " [/INST]", bos="<s>", refused=_PLAIN, lead=" ", trail=" "),
        Family(
            "deepseek_r1_distill",
            "<｜end▁of▁sentence｜>",
            ("<｜User｜>", "<｜Assistant｜>"),
            "<｜end▁of▁sentence｜>",
            "<｜Assistant｜><think>\n\n</think>\n\n",
            bos="<｜begin▁of▁sentence｜>",
            added=("<think>", "</think>"),
            refused={"tags": BROKEN},
            whole=False,
        ),
        Family("glm4", "<|endoftext|>", ("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>"),
               "<|endoftext|>", "<|assistant|>", refused=_PLAIN, lead="\n", whole=False),
        Family("gptoss", "<|return|>", ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>"),
               "<|return|>", "<|start|>assistant<|channel|>final<|message|>", pad="<|endoftext|>"),
        Family("gemma4", "<eos>", ("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|think|>"), "<turn|>",
               "<|turn>model\n", bos="<bos>", pad="<pad>"),
        Family("no_system", "<|end|>", ("<|user|>", "<|assistant|>"), "<|end|>", "<|assistant|>", pad="<|end|>",
               system=False, refused=_PLAIN),
    )
}  # fmt: skip


@functools.cache
def tokenizer(name: str) -> Any:
    """The family's tokenizer, bytes as words; not to be changed."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    family = FAMILIES[name]
    words = {byte: place for place, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=words, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    named = [token for token in (family.eos, family.bos, family.pad) if token]
    raw.add_special_tokens([AddedToken(token, special=True) for token in dict.fromkeys((*named, *family.special))])
    raw.add_tokens([AddedToken(token, special=False) for token in family.added])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=family.eos,
        bos_token=family.bos,
        pad_token=family.pad,
        chat_template=(FOLDER / f"{name}.jinja").read_text(encoding="utf-8"),
        name_or_path=name,
    )
