"""One base model in memory for all arms in turn, with adapters merged or separate.

Merging replaces the base's tensors by new ones and keeps the old ones unchanged; removing an adapter restores them. The
base is thus equal to the last bit whatever ran before, and an arm's weights are those of a fresh load.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from tracedistill.engines.tokenizers import read_tokenizer
from tracedistill.engines.weights import brief_cause, student_folder
from tracedistill.errors import InputError
from tracedistill.files import disk_error, read_json
from tracedistill.recipes import StudentConfig

WEIGHTS, FACTS = "adapter_model.safetensors", "training.json"
"""Files of an adapter's folder: its weights, and the facts of its training."""
MOVES_THE_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")
"""LoRA initialisations for which PEFT changes the base whenever it loads such an adapter."""
NOT_REMOVABLE = ("LN_TUNING", "ADAPTION_PROMPT")
"""Adapter types that cannot be removed from the base completely, like LoRA's layer_replication."""


def load_base(
    model: str,
    dtype: str,
    quantization: str = "none",
    revision: str | None = None,
    chat_template: str | None = None,
) -> tuple[Any, Any]:
    """Load a student as (model, tokenizer). Raises InputError if that fails."""
    disable_progress_bar()  # loading takes a second; its bar would break ours
    # on import it reports that a kernel for 4-bit weights could not be downloaded, even if there are no such weights
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
    if quantization == "nf4":
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, dtype),
        )
        options["device_map"] = {"": 0 if torch.cuda.is_available() else "cpu"}
    tokenizer = read_tokenizer(model, revision, chat_template)
    base = read_weights(model, revision, **options)
    padding, rows = tokenizer.pad_token_id, base.get_input_embeddings().num_embeddings
    if padding is not None and padding >= rows:
        raise InputError(
            f"student '{model}': its tokenizer pads with '{tokenizer.pad_token}' (id {padding}), and the model has "
            f"embeddings for {rows} tokens only; set pad_token in tokenizer_config.json to one of these"
        )
    check_finite(base, model)
    return base, tokenizer


def check_finite(model: Any, name: str) -> None:
    """Raise InputError if a student has non-finite weights."""
    for path, weight in model.named_parameters():
        # a sum is finite only if all terms are, and takes a tenth of the time; finite terms may still overflow it
        if not weight.is_floating_point() or bool(torch.isfinite(weight.detach().sum(dtype=torch.float32))):
            continue
        if not bool(torch.isfinite(weight).all()):
            raise InputError(
                f"student '{name}': its weights are damaged: {path} contains NaN or infinity; download them again"
            )


def read_weights(model: str, revision: str | None = None, **options: Any) -> Any:
    """Load a student's language model, every weight from safetensors. `options` are those of `from_pretrained`.

    Raises InputError if files are missing, damaged or pickles, if the model needs its own code, and if weights that
    config.json describes are missing, which the library would initialise at random.
    """
    folder = student_folder(model, revision)
    if revision is not None:
        options["revision"] = revision
    if isinstance(folder, Path) and not any(folder.glob("*.safetensors")):
        raise InputError(
            f"student '{model}': cannot be loaded: it has no weights in safetensors, the only format that is loaded; "
            "convert them (transformers' save_pretrained writes safetensors)"
        )
    if isinstance(folder, Path):
        check_no_kernel(folder, model)
    try:
        loaded, report = AutoModelForCausalLM.from_pretrained(
            str(folder),
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below by name
            **options,
        )
    except ImportError as error:
        raise InputError(f"student '{model}': {error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"student '{model}': cannot be loaded: {brief_cause(error)}") from error
    other = [
        f"{name} is of shape {tuple(file)}, not {tuple(wanted)}" for name, file, wanted in report["mismatched_keys"]
    ]
    other += [f"{name} is missing" for name in sorted(report["missing_keys"])]
    if other:
        raise InputError(
            f"student '{model}': cannot be loaded: {len(other)} of its weights are not those that its config.json "
            f"describes: {', '.join(other[:2])}{', ...' if len(other) > 2 else ''}; download them again"
        )
    return loaded


def check_no_kernel(folder: Path, model: str) -> None:
    """Raise InputError if a student's config.json names code to fetch and run as its attention (`org/kernel`)."""
    try:
        settings: dict[str, Any] = read_json(folder / "config.json")
    except InputError:
        return  # the library reports the error
    for key in ("attn_implementation", "_attn_implementation", "_attn_implementation_internal"):
        named = settings.get(key)
        if "/" in str(named):
            raise InputError(
                f"student '{model}': its config.json refers to third-party code ('{key}': {str(named)[:80]!r}), "
                "which the library would download and run; remove that entry"
            )


def write_merged(student: StudentConfig, adapter: Path, place: Path) -> None:
    """Write base and adapter as one model of the student's dtype, without a tokenizer.

    Raises InputError if the adapter cannot be merged, or the disk is full.
    """
    base, _ = load_base(student.model, student.dtype, revision=student.revision, chat_template=student.chat_template)
    if not BaseModel(base, student.model).set_adapter(adapter, merge=True):
        raise InputError(f"{adapter}: cannot be merged: it tunes modules whole, or weights that two modules share")
    try:
        base.save_pretrained(str(place), safe_serialization=True)
    except OSError as error:
        raise disk_error(place, error) from error


class BaseModel:
    """A base model and its current adapter."""

    def __init__(self, base: Any, name: str) -> None:
        self.base = base
        self.name = name
        """The student's name in the recipe, which an adapter must have been trained on."""
        self.current: Any = base
        """The active model: the base, with its own or merged weights, or PEFT's model around it."""
        self._vocabulary = base.get_input_embeddings().num_embeddings
        self._wrapped = False
        self._kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        """The base's tensors of the parameters that hold merged weights."""

    def set_adapter(self, adapter: Path | None, *, merge: bool = True) -> bool:
        """Replace the current adapter (None: the base alone); return whether it was merged.

        The sum is computed in fp32, matrix by matrix, and cast once to the base's dtype. Adapters with fully trained
        modules, or on weights that two modules share, cannot be merged. Raises InputError for a folder that is not an
        adapter, or an adapter of another base; then the base alone is active.
        """
        self._remove()
        if adapter is None:
            return False
        config = _read_config(adapter, self.name)
        if getattr(config, "bias", "none") != "none":
            # PEFT loads trained biases over the base's own
            self._kept = [(w, w.data.clone()) for name, w in self.base.named_parameters() if "bias" in name]
        self._wrapped = True  # also if PEFT fails half-way
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers is renaming
                # on weights that two modules share, which are not merged
                warnings.filterwarnings("ignore", "Model has `tie_word_embeddings", UserWarning)
                from peft import PeftModel

                from tracedistill.engines.lora import compute_in_base_dtype  # PEFT takes seconds to load

                self.current = PeftModel.from_pretrained(self.base, str(adapter)).eval()
            _check_loaded(self.current, self._vocabulary, adapter)
            if merge and self._mergeable():
                self._merge()
                self._unwrap()
                return True
            compute_in_base_dtype(self.current)  # as in training, and faster
        # PEFT raises many types if part of an adapter is missing
        except (RuntimeError, ValueError, OSError, KeyError, AttributeError, TypeError, SafetensorError) as error:
            self._remove()
            raise InputError(f"{adapter}: does not fit '{self.name}': {brief_cause(error)}") from error
        return False

    def _mergeable(self) -> bool:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        if any(isinstance(module, AuxiliaryTrainingWrapper) for module in self.base.modules()):
            return False
        times = Counter(id(weight) for _, weight in self.base.named_parameters(remove_duplicate=False))
        layers = [module for module in self.base.modules() if isinstance(module, BaseTunerLayer)]
        touched = [weight for layer in layers for weight in layer.get_base_layer().parameters()]
        biased = any(True in getattr(layer, "lora_bias", {}).values() for layer in layers)  # PEFT does not merge these
        return bool(layers) and not biased and all(times[id(weight)] == 1 for weight in touched)

    def _merge(self) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer in [module for module in self.base.modules() if isinstance(module, BaseTunerLayer)]:
            own = [(weight, weight.data) for weight in layer.get_base_layer().parameters()]
            self._kept += own
            for weight, data in own:
                # merging in bf16 would round every weight twice; a copy, since some tuners change their input
                weight.data = data.to(torch.float32, copy=True)
            layer.merge(safe_merge=True)
            for weight, data in own:
                weight.data = weight.data.to(data.dtype)

    def _remove(self) -> None:
        """Restore the base as it was loaded."""
        self._unwrap()
        for weight, data in reversed(self._kept):
            weight.data = data
        self._kept = []

    def _unwrap(self) -> None:
        """Restore the base's own modules in place of PEFT's, merged or not, also after a partial failure."""
        if not self._wrapped:
            return
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        kinds = (BaseTunerLayer, AuxiliaryTrainingWrapper)
        while wrapped := [(path, module) for path, module in self.base.named_modules() if isinstance(module, kinds)]:
            replaced: list[str] = []
            for path, module in wrapped:
                if any(path.startswith(f"{outer}.") for outer in replaced):
                    continue  # inside a removed wrapper, and handled in the next round
                parent, _, child = path.rpartition(".")
                own = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
                setattr(self.base.get_submodule(parent), child, own)
                replaced.append(path)
        if hasattr(self.base, "peft_config"):
            del self.base.peft_config  # else PEFT warns of a second adapter
        self.current = self.base
        self._wrapped = False


def _read_config(adapter: Path, model: str) -> Any:
    """Read an adapter's PEFT configuration.

    Raises InputError if its type is not supported or it was made for another base.
    """
    from peft import PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{adapter}: not an adapter folder: {brief_cause(error)}") from error
    if not (adapter / WEIGHTS).is_file():
        raise InputError(f"{adapter}: {WEIGHTS} is missing; only adapters in safetensors are loaded")
    made_for = config.base_model_name_or_path
    if made_for is not None and made_for != model and _place(made_for) != _place(model):
        raise InputError(f"{adapter}: was trained on '{made_for}', not on '{model}'; train it again or name that base")
    if config.is_prompt_learning:
        raise InputError(
            f"{adapter}: is of type {config.peft_type}, which changes the prompt; only LoRA-style adapters "
            "are supported"
        )
    if config.peft_type in NOT_REMOVABLE or getattr(config, "layer_replication", None):
        raise InputError(
            f"{adapter}: is of type {config.peft_type}, which changes the base weights; only LoRA-style "
            "adapters are supported"
        )
    init = str(getattr(config, "init_lora_weights", ""))
    if init.startswith(MOVES_THE_BASE):
        raise InputError(
            f"{adapter}: fits a base that '{init}' has changed, not '{model}'; save it for the untouched base (PEFT: "
            "save_pretrained with path_initial_model_for_weight_conversion)"
        )
    return config


def _place(name: str) -> str:
    """Resolve a student's name, since one folder has many names."""
    try:
        folder = student_folder(name)
    except InputError:  # not on this machine, so not the same folder
        return name
    return str(folder.resolve()) if isinstance(folder, Path) else folder


def _check_loaded(tuned: Any, here: int, adapter: Path) -> None:
    """Raise ValueError if an adapter is damaged or only partly loaded, which PEFT does not report."""
    from peft import get_peft_model_state_dict

    facts = read_json(adapter / FACTS) if (adapter / FACTS).is_file() else {}
    if facts.get("vocabulary", here) != here:
        raise ValueError(f"it was trained on a base of {facts['vocabulary']} tokens, this one has {here}")
    with safe_open(adapter / WEIGHTS, framework="pt") as file:
        names = set(file.keys())
    wanted = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    missing = sorted(wanted.keys() - names)
    # the file may contain embeddings besides the adapter
    foreign = sorted(name for name in names - wanted.keys() if tuned.base_model.prefix in name)
    if missing or foreign:
        what = f"has no {missing[0]}" if missing else f"has {foreign[0]}, which the model does not have"
        raise ValueError(f"{WEIGHTS} {what} ({len(missing)} weights missing, {len(foreign)} too many)")
    broken = [name for name, weight in wanted.items() if not bool(torch.isfinite(weight).all())]
    if broken:
        raise ValueError(f"{broken[0]} contains NaN or infinity; train it again")
