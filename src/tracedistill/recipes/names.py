"""Names of arms, teachers and students, which become part of file names on any system."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

NOT_A_NAME = (
    "a name becomes a file name: use letters, digits, '-', '_' and '.', 100 characters at most, begin with a letter, "
    "a digit or '_', and avoid names that Windows reserves (con, nul, com1, ...)"
)

DERIVED = (
    "batch", "checkpoints", "csv", "failures", "html", "json", "jsonl", "manifest", "parity", "partial", "preflight",
    "report", "review", "seed", "usage", "validation",
)  # fmt: skip
"""Endings of files that stages write beside those named after an arm, a teacher or a student: `<arm>.parity.json`,
`<teacher>.failures.jsonl`, `<arm>.partial0.jsonl`. A new derived file adds its ending here."""
ALIASES = {
    "lr": "learning_rate", "num_epochs": "epochs", "num_train_epochs": "epochs", "steps": "max_steps",
    "bs": "batch_size", "per_device_train_batch_size": "batch_size", "train_batch_size": "batch_size",
    "grad_accum": "gradient_accumulation", "gradient_accumulation_steps": "gradient_accumulation",
    "warmup_ratio": "warmup", "warmup_steps": "warmup", "lr_scheduler": "scheduler", "lr_scheduler_type": "scheduler",
    "wd": "weight_decay", "gradient_clipping": "max_grad_norm", "max_seq_length": "max_length", "seq_len": "max_length",
    "cutoff_len": "max_length", "optim": "optimizer", "rank": "lora_r", "r": "lora_r", "lora_rank": "lora_r",
    "alpha": "lora_alpha", "dropout": "lora_dropout", "target_modules": "lora_targets", "use_dora": "lora_dora",
    "use_rslora": "lora_rslora", "gradient_checkpointing": "activation_checkpointing", "peft": "method",
    "num_seeds": "seeds", "max_new_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
    "num_return_sequences": "samples", "num_samples": "samples", "n": "samples", "num_shots": "shots",
    "few_shot": "shots", "per_device_eval_batch_size": "batch_size", "model_name": "model",
    "model_name_or_path": "model", "model_id": "model", "base_model": "model", "checkpoint": "model",
    "api_base": "base_url", "url": "base_url", "endpoint": "base_url", "api_key": "key_env", "key": "key_env",
    "api_key_env": "key_env", "torch_dtype": "dtype", "precision": "dtype", "load_in_4bit": "quantization",
    "system_prompt": "system", "dataset": "path", "file": "path", "data": "path", "data_files": "path",
    "train_size": "train", "test_size": "test", "val": "validation", "validation_size": "validation",
    "metric": "judge", "grader": "judge", "evaluator": "judge", "classes": "labels", "categories": "labels",
    "system_message": "system", "task_description": "instruction", "name": "study", "output_dir": "run_dir",
    "experiments": "arms", "report_to": "tracking", "eval": "evaluation", "generation": "evaluation",
    "train": "training", "sft": "training", "model": "students", "student": "students", "teacher": "teachers",
}  # fmt: skip
"""Common names from other trainers and clients -> our key, if the recipe has it at that place."""


class NamesOrPaths(frozenset[str]):
    """Known names of objects that may also live outside the package, given as `package.module:name`."""

    def __contains__(self, item: object) -> bool:
        return super().__contains__(item) or ":" in str(item)


def with_more(known: Collection[str], added: Collection[str]) -> Collection[str]:
    """Return the union of names; dotted paths stay allowed if they were."""
    both = {*known, *added}
    return NamesOrPaths(both) if isinstance(known, NamesOrPaths) else both


def meant(key: Any, known: Collection[str]) -> str:
    """Return `; did you mean ...?` if the key is a known alias of ours, else an empty string."""
    target = ALIASES.get(str(key).lower().replace("-", "_"))
    return f"; did you mean '{target}'?" if target in known else ""


_DERIVED = re.compile(rf"\.(?:{'|'.join(DERIVED)})\d*$", re.IGNORECASE)
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$", re.IGNORECASE)
"""Names that Windows reserves for devices, whatever the ending."""


def name_fault(name: Any) -> str:
    """Return why a name cannot be used in a run's file names; empty if it can."""
    if not is_file_name(name):
        return NOT_A_NAME
    kept = _DERIVED.search(name)
    return f"names that end in '{kept[0]}' are reserved for other files of a run; choose another name" if kept else ""


def is_file_name(name: Any) -> bool:
    """Return whether a name is valid in a file name on every system; 100 characters leave room for endings."""
    if not isinstance(name, str) or not name.isprintable() or set(name) & set('/\\:*?"<>| '):
        return False
    if name.startswith((".", "-")) or name.endswith(".") or _DEVICES.match(name):
        return False
    return 0 < len(name.encode("utf-8", "replace")) <= 100


def twins(names: Collection[str]) -> list[tuple[str, str]]:
    """Return pairs (later, earlier) of names that a case-insensitive file system confuses."""
    seen: dict[str, str] = {}
    return [(name, first) for name in names if (first := seen.setdefault(name.casefold(), name)) != name]
