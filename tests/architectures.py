"""Tiny random students of many architectures, from transformers' own configurations: a line is one more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import tiny

COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 1024,
}
"""What most configurations call their sizes."""
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LOCAL: dict[str, Any] = {**EXPERTS, "num_local_experts": 4}
WINDOW: dict[str, Any] = {"sliding_window": 16}
TWO_KINDS = ["linear_attention", "full_attention"]
DELTA: dict[str, Any] = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": TWO_KINDS,
}
MAMBA2: dict[str, Any] = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    # attention to all that stands before
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "phi": {},
    "gpt_neox": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024},
    "olmo2": {},
    "granite": {},
    "cohere": {},
    "glm4": {},
    "smollm3": {},
    "stablelm": {},
    "nemotron": {},
    "seed_oss": {},
    "ernie4_5": {},
    "apertus": {},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "bloom": {"n_layer": 2, "n_head": 4},
    "deepseek_v3": {
        **EXPERTS,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "num_key_value_heads": 4,
    },
    # sliding windows and chunks
    "mistral": WINDOW,
    "ministral": {**WINDOW, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": WINDOW,
    "starcoder2": WINDOW,
    "gemma2": {**WINDOW, "tie_word_embeddings": False},
    "gemma3_text": {**WINDOW, "num_hidden_layers": 6},
    "gemma3n_text": {
        **WINDOW,
        "num_hidden_layers": 4,
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 600,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "intermediate_size": [64] * 4,
        "altup_num_inputs": 2,
    },
    "olmo3": {**WINDOW, "num_hidden_layers": 4},
    "exaone4": {**WINDOW, "num_hidden_layers": 4, "sliding_window_pattern": 4},
    "cohere2": {**WINDOW, "num_hidden_layers": 4},
    "gpt_oss": {**WINDOW, **LOCAL},
    "llama4_text": {**LOCAL, "num_hidden_layers": 4, "attention_chunk_size": 16, "intermediate_size_mlp": 64},
    "mixtral": {**WINDOW, **LOCAL},
    # experts
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3_moe": EXPERTS,
    "olmoe": EXPERTS,
    "granitemoe": LOCAL,
    # recurrent layers, alone or beside attention
    "qwen3_next": {**DELTA, **EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3_5_text": DELTA,
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_ff_dim": 64},
    "granitemoehybrid": {
        **LOCAL,
        **MAMBA2,
        "layer_types": ["mamba", "attention"],
        "shared_intermediate_size": 32,
        "mamba_chunk_size": 16,
    },
    "falcon_h1": {**MAMBA2, "mamba_d_ssm": 64, "mamba_chunk_size": 16},
    "bamba": {**MAMBA2, "attn_layer_indices": [1], "mamba_chunk_size": 16},
    "jamba": {
        **EXPERTS,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 4, "head_dim": 16, "state_size": 8, "n_groups": 1, "chunk_size": 16, "expand": 2},
}
"""transformers' model_type -> what its configuration has beside or instead of COMMON."""


def build(architecture: str, folder: Path, *, words: Any = None, std: float = 0.3, **changes: object) -> Path:
    """Write a random model of an architecture, with a tokenizer (the tiny one), into `folder`, which is returned.

    The weights are wide: outputs must hang on every token before, or nothing would show that one was missed.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = words or tiny.tokenizer()
    tokenizer.save_pretrained(str(folder))
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    settings = {**COMMON, **ARCHITECTURES[architecture], **ends, "vocab_size": len(tokenizer), **changes}
    config = AutoConfig.for_model(architecture, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    generator = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        if weight.dim() >= 2:
            torch.nn.init.normal_(weight, std=std, generator=generator)
    model.save_pretrained(str(folder), safe_serialization=True)
    return folder
