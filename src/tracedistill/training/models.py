"""Loading of a student's weights for training, and for sampling before a training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracedistill.engines.weights import student_folder
from tracedistill.errors import InputError
from tracedistill.recipes import Arm, StudentConfig
from tracedistill.training.settings import TrainingSetup

if TYPE_CHECKING:
    from tracedistill.training.methods.writer import CompletionWriter


def load_model(student: StudentConfig, settings: TrainingSetup, *, full: bool = False) -> Any:
    """Load a student; `full`: to train all its weights. Raises InputError if weights are not finite."""
    from tracedistill.engines.adapters import check_finite
    from tracedistill.training.trainer import load_student

    source = student_folder(student.model, student.revision)
    model = load_student(
        source, settings, revision=student.revision, quantization_config=quantization_of(student), full=full
    )
    check_finite(model, student.model)
    return model


def quantization_of(student: StudentConfig) -> Any:
    """Return transformers' quantisation config for 4-bit weights; None for others."""
    if student.quantization == "none":
        return None
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, student.dtype),
    )


def load_writer(
    student: StudentConfig, settings: TrainingSetup, tokenizer: Any, arm: Arm, adapter: Path | None
) -> CompletionWriter:
    """Load a student, with or without an adapter, to sample completions with an arm's length and temperature."""
    import torch

    from tracedistill.training.methods.reference import started_from
    from tracedistill.training.methods.writer import CompletionWriter

    model = load_model(student, settings)
    if torch.accelerator.is_available() and student.quantization == "none":
        model = model.to(torch.accelerator.current_accelerator())
    if adapter is not None:
        model = started_from(model, adapter)
    return CompletionWriter(model, tokenizer, arm.max_tokens, arm.rollout_temperature)


def load_teacher(teacher: StudentConfig, settings: TrainingSetup, tokenizer: Any) -> tuple[Any, Any]:
    """Load a teacher model with its tokenizer.

    Raises InputError if its vocabulary is not the student's.
    """
    from tracedistill.engines.tokenizers import tokenizer_of

    own = tokenizer_of(teacher)
    check_vocabulary(teacher.model, own, tokenizer)
    model = load_model(teacher, settings)
    model.requires_grad_(False)
    return model.eval(), own


def check_vocabulary(teacher: str, theirs: Any, tokenizer: Any) -> None:
    """Raise InputError if two tokenizers do not give every token the same id."""
    mine, other = tokenizer.get_vocab(), theirs.get_vocab()
    if mine == other:
        return
    unlike = next((token for token in mine if other.get(token) != mine[token]), None)
    why = f"{len(other)} tokens for {len(mine)}" if unlike is None else f"token {unlike!r} is another one there"
    raise InputError(
        f"teacher_model {teacher}: its vocabulary is not the student's ({why}); distributions over tokens can be "
        "compared within one family of models alone"
    )
