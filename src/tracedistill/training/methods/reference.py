"""An adapter to start from, and its frozen copy as a method's reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from peft.utils import CONFIG_NAME

from tracedistill.errors import InputError

TRAINED, REFERENCE = "default", "ref"
"""PEFT's name of the adapter in training, and TRL's of the frozen copy."""


def started_from(model: Any, adapter: Path) -> PeftModel:
    """Return the model with this adapter, to be trained further. Raises InputError if it does not fit the model."""
    if not (adapter / CONFIG_NAME).is_file():
        raise InputError(f"{adapter}: no adapter to start from; first train the arm that `from` names")
    try:
        return PeftModel.from_pretrained(model, str(adapter), adapter_name=TRAINED, is_trainable=True)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{adapter}: cannot be continued on this student: {error}") from error


def keep_reference(model: PeftModel) -> None:
    """Add a frozen copy of the adapter, under the name that TRL's trainers look for."""
    if REFERENCE in model.peft_config:
        return
    model.add_adapter(REFERENCE, model.peft_config[TRAINED])
    for name, weight in model.named_parameters():
        if f".{TRAINED}." in name:
            model.get_parameter(name.replace(f".{TRAINED}.", f".{REFERENCE}.")).data.copy_(weight.data)
    model.set_adapter(TRAINED)
