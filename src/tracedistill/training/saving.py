"""What a training leaves behind: the adapter's folder with what was logged, counted and answered on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tracedistill.engines.identity import identity_of
from tracedistill.files import to_json, write_json
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.training.learning import LearningSpec, RenderedRows
from tracedistill.training.work import DRAWN, READ, SCORED, TrainingWork, passing_weights, work_of

LOGGED = ("step", "epoch", "loss", "learning_rate", "grad_norm")
"""What training.json keeps of the trainer's log: nothing that differs between two equal runs."""
LOGGED_BY_METHOD = (
    DRAWN, READ, SCORED, "reward", "reward_std", "rewards/answer/mean", "rewards/trace/mean", "rewards/format/mean",
    "both", "answer_alone", "trace_alone", "neither", "copied", "completions/mean_length", "completions/clipped_ratio",
    "kl", "entropy", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
)  # fmt: skip
"""What it keeps of other methods' logs."""
ATTEMPTS = "attempts"
"""Key of a log entry that is a point of a learning curve."""
POINT = ("step", "epoch", ATTEMPTS, "answers_right", "traces_right", "tokens")
"""What such a point says."""


def save(
    trainer: Any,
    tokenizer: Any,
    student: StudentConfig,
    training: TrainingConfig,
    output: Path,
    data: RenderedRows,
    learning: LearningSpec,
) -> None:
    """Save the result into a folder of another name, then give it its own; called by every process."""
    from tracedistill.training.adapter import ADAPTER, fit_untouched_base
    from tracedistill.training.trainer import gathered_weights

    weights = gathered_weights(trainer)  # all processes hand in their shards
    if not trainer.is_world_process_zero():
        return
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    options: dict[str, Any] = {"safe_serialization": True} | ({} if weights is None else {"state_dict": weights})
    facts: dict[str, Any] = {"rows": len(data.rows), "steps": trainer.state.global_step}
    known = identity_of(student.model, student.revision)
    if known is not None:
        facts["base_sha256"] = known.sha256
    facts |= getattr(model, "kernels", {})
    if training.method == "full":
        import torch

        # as it will be run: rounded once, and half the disk
        model.to(getattr(torch, student.dtype)).save_pretrained(str(partial), **options)
        tokenizer.save_pretrained(str(partial))
        facts |= {"method": "full", "base": student.model}
    else:
        facts["vocabulary"] = model.get_input_embeddings().num_embeddings  # of a base that the adapter fits
        # a method's frozen copy of the start is no part of the result
        model.save_pretrained(str(partial), selected_adapters=[ADAPTER], **options)
        fit_untouched_base(partial, Path(trainer.args.output_dir))
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's card says nothing true about this adapter
        config = partial / "adapter_config.json"
        settings = json.loads(config.read_text())
        # the student by its name in the recipe: the folder of its weights is this machine's business
        settings["base_model_name_or_path"], settings["revision"] = student.model, student.revision
        # PEFT holds them in a set, whose order is another in every process
        for key in ("target_modules", "target_parameters", "exclude_modules"):
            if isinstance(settings.get(key), list):
                settings[key].sort()
        write_json(config, settings)
    history = trainer.state.log_history
    kept = (*LOGGED, *LOGGED_BY_METHOD)
    facts["log"] = [{key: entry[key] for key in kept if key in entry} for entry in history if "loss" in entry]
    if learning.arm.method == "dpo":
        facts["pairs"] = pair_lengths(trainer.train_dataset)
    facts["work"] = to_json(_work(trainer, training, data, learning), defaults=True)
    # in an order of our own: a resumed trainer has its log from a file that sorts keys
    curve = [{key: entry[key] for key in POINT} for entry in history if ATTEMPTS in entry]
    if curve:
        facts["curve"] = curve
    if data.heldout_ids and learning.arm.method == "sft":
        facts["validation_rows"] = len(data.heldout_ids)
        facts["evaluations"] = [
            {"step": entry["step"], "epoch": entry["epoch"], "loss": entry["eval_loss"]}
            for entry in history
            if "eval_loss" in entry
        ]
    write_json(partial / "training.json", facts)
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def _work(trainer: Any, training: TrainingConfig, data: RenderedRows, learning: LearningSpec) -> TrainingWork:
    """Return what this training has cost; a resumed one counts as the undisturbed one."""
    history, arm, full = trainer.state.log_history, learning.arm, training.method == "full"
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = passing_weights(model)
    drawn = sum(int(entry.get(key, 0)) for entry in history for key in (DRAWN, READ))
    if arm.method in ("grpo", "on-policy"):
        teacher = 0 if learning.teacher is None else passing_weights(trainer.teacher_model)
        trained = drawn * arm.num_iterations
        return work_of(history, trained=trained, scored=0, weights=weights, teacher=teacher)
    if arm.method == "dpo":
        rows = trainer.train_dataset
        tokens = sum(2 * len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
        seen = _seen(tokens, len(rows), training)
        return work_of(history, trained=seen, scored=seen, weights=weights)
    seen = _seen(sum(len(row["input_ids"]) for row in data.rows), len(data.rows), training)
    return work_of(history, trained=seen, scored=0, weights=weights, full=full)


def _seen(tokens: int, rows: int, training: TrainingConfig) -> int:
    """Return the tokens of all passes over rows that have so many together."""
    passes = training.max_steps * training.batch_size / rows if training.max_steps > 0 else training.epochs
    return round(tokens * passes)


def pair_lengths(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many pairs there are and how alike in length: mean tokens, and how many differ by a tenth at most."""
    lengths = [(len(pair["chosen_ids"]), len(pair["rejected_ids"])) for pair in pairs]
    return {
        "n": len(lengths),
        "chosen_tokens": round(sum(chosen for chosen, _ in lengths) / len(lengths), 3),
        "rejected_tokens": round(sum(rejected for _, rejected in lengths) / len(lengths), 3),
        "alike": sum(10 * abs(chosen - rejected) <= chosen for chosen, rejected in lengths),
    }
