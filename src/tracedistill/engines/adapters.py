"""One base model in memory that serves arm after arm: adapters merged into its weights or kept apart.

Merging puts new tensors in the place of the base's and keeps the base's own, untouched, beside them; letting go of an
adapter puts them back. So the base is the same to the last bit whatever ran before, and an arm's weights are those of
a fresh load.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from tracedistill.errors import InputError
from tracedistill.weights import student_folder


def load_base(model: str, dtype: str, quantization: str = "none") -> tuple[Any, Any]:
    """(model, tokenizer) of a student; InputError names what is missing."""
    disable_progress_bar()  # loading takes a second; its bar would break ours
    # on import it tells of a kernel for 4-bit weights that it could not fetch, also where there are no such weights
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    folder = str(student_folder(model))
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
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, **options)
    except ImportError as error:
        raise InputError(f"student '{model}': {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"student '{model}': cannot be loaded: {error}") from error
    return base, tokenizer


def attach(base: Any, adapter: Path, model: str, *, merge: bool) -> tuple[Any, bool]:
    """(model with the adapter, whether it was merged), for good; `BaseModel` is for several adapters in turn."""
    holder = BaseModel(base, model)
    merged = holder.use(adapter, merge=merge)
    return holder.current, merged


class BaseModel:
    """A base model and the adapter that it wears at the moment."""

    def __init__(self, base: Any, name: str) -> None:
        self.base = base
        self.name = name
        """The student as the recipe names it: what an adapter must have been trained on."""
        self.current: Any = base
        """What is run: the base (with merged weights, or its own), or PEFT's model around it."""
        self._wrapped = False
        self._kept: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        """The base's own tensors of the parameters that hold merged weights now."""

    def use(self, adapter: Path | None, *, merge: bool = True) -> bool:
        """Put an adapter on in place of the last one (None: the base alone); whether it was merged.

        The sum is made in fp32, matrix by matrix, and cast once to the base's dtype. What cannot be merged is kept
        apart: modules trained whole, weights that two modules share. Raises InputError for a folder that is no
        adapter or an adapter of another base; then the base alone is on.
        """
        self._take_off()
        if adapter is None:
            return False
        if getattr(_read_config(adapter, self.name), "bias", "none") != "none":
            # PEFT loads trained biases over the base's own
            self._kept = [(w, w.data.clone()) for name, w in self.base.named_parameters() if "bias" in name]
        self._wrapped = True  # also where PEFT fails half-way
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # peft reads a name that transformers is renaming
                # of weights that two modules share: those are kept apart here
                warnings.filterwarnings("ignore", "Model has `tie_word_embeddings", UserWarning)
                from peft import PeftModel

                self.current = PeftModel.from_pretrained(self.base, str(adapter)).eval()
            if merge and self._mergeable():
                self._merge()
                self._unwrap()
                return True
        except (RuntimeError, ValueError, OSError) as error:
            self._take_off()
            raise InputError(f"{adapter}: does not fit '{self.name}': {error}") from error
        return False

    def _mergeable(self) -> bool:
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        if any(isinstance(module, AuxiliaryTrainingWrapper) for module in self.base.modules()):
            return False
        times = Counter(id(weight) for _, weight in self.base.named_parameters(remove_duplicate=False))
        layers = [module for module in self.base.modules() if isinstance(module, BaseTunerLayer)]
        touched = [weight for layer in layers for weight in layer.get_base_layer().parameters()]
        return bool(layers) and all(times[id(weight)] == 1 for weight in touched)

    def _merge(self) -> None:
        from peft.tuners.tuners_utils import BaseTunerLayer

        for layer in [module for module in self.base.modules() if isinstance(module, BaseTunerLayer)]:
            own = [(weight, weight.data) for weight in layer.get_base_layer().parameters()]
            self._kept += own
            for weight, data in own:
                # merging in bf16 would round every weight twice; a copy, since not every tuner spares its input
                weight.data = data.to(torch.float32, copy=True)
            layer.merge(safe_merge=True)
            for weight, data in own:
                weight.data = weight.data.to(data.dtype)

    def _take_off(self) -> None:
        """The base as it was loaded."""
        self._unwrap()
        for weight, data in reversed(self._kept):
            weight.data = data
        self._kept = []

    def _unwrap(self) -> None:
        """Put the base's own modules back in the place of PEFT's, merged or not, also half-way through a failure."""
        if not self._wrapped:
            return
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        for path, module in list(self.base.named_modules()):
            if not isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
                continue
            parent, _, child = path.rpartition(".")
            own = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
            setattr(self.base.get_submodule(parent), child, own)
        if hasattr(self.base, "peft_config"):
            del self.base.peft_config  # else PEFT warns of a second adapter
        self.current = self.base
        self._wrapped = False


def _read_config(adapter: Path, model: str) -> Any:
    """PEFT's settings of an adapter; InputError where it was made for another base."""
    from peft import PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(adapter))
    except (OSError, ValueError) as error:
        raise InputError(f"{adapter}: not an adapter folder: {error}") from error
    made_for = config.base_model_name_or_path
    if made_for is not None and str(student_folder(made_for)) != str(student_folder(model)):
        raise InputError(f"{adapter}: was trained on '{made_for}', not on '{model}'; train it again or name that base")
    return config
