"""Save a training's result: the adapter folder with its log, counts and validation attempts."""

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
"""Log keys kept in training.json; none differs between two equal runs."""
LOGGED_BY_METHOD = (
    DRAWN, READ, SCORED, "reward", "reward_std", "rewards/answer/mean", "rewards/trace/mean", "rewards/format/mean",
    "both", "answer_alone", "trace_alone", "neither", "copied", "completions/mean_length", "completions/clipped_ratio",
    "kl", "entropy", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected",
)  # fmt: skip
"""Further log keys kept for other methods."""
ATTEMPTS = "attempts"
"""Key of a log entry that is a point of a learning curve."""
POINT = ("step", "epoch", ATTEMPTS, "answers_right", "traces_right", "tokens")
"""Keys of such a point."""


def save(
    trainer: Any,
    tokenizer: Any,
    student: StudentConfig,
    training: TrainingConfig,
    output: Path,
    data: RenderedRows,
    learning: LearningSpec,
) -> None:
    """Save the result into a temporary folder, then rename it; called by every process."""
    from tracedistill.training.adapter import ADAPTER, fit_untouched_base
    from tracedistill.training.trainer import gathered_weights

    weights = gathered_weights(trainer)  # all processes contribute their shards
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

        # as it will be used: rounded once, and half the disk
        model.to(getattr(torch, student.dtype)).save_pretrained(str(partial), **options)
        tokenizer.save_pretrained(str(partial))
        facts |= {"method": "full", "base": student.model}
    else:
        facts["vocabulary"] = model.get_input_embeddings().num_embeddings  # of a base that the adapter fits
        # a method's frozen copy of the start is not part of the result
        model.save_pretrained(str(partial), selected_adapters=[ADAPTER], **options)
        fit_untouched_base(partial, Path(trainer.args.output_dir))
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's generated card is wrong for this adapter
        config = partial / "adapter_config.json"
        settings = json.loads(config.read_text())
        # the student's name in the recipe; the path of its weights is local to this machine
        settings["base_model_name_or_path"], settings["revision"] = student.model, student.revision
        # PEFT keeps them in a set, whose order differs between processes
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
    # in a fixed order: a resumed trainer reads its log from a file with sorted keys
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
    """Return the cost of this training; a resumed one counts like an uninterrupted one."""
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
    """Return the tokens of all passes over rows with `tokens` tokens in total."""
    passes = training.max_steps * training.batch_size / rows if training.max_steps > 0 else training.epochs
    return round(tokens * passes)


def pair_lengths(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the number of pairs and their similarity in length: mean tokens, and pairs within a tenth."""
    lengths = [(len(pair["chosen_ids"]), len(pair["rejected_ids"])) for pair in pairs]
    return {
        "n": len(lengths),
        "chosen_tokens": round(sum(chosen for chosen, _ in lengths) / len(lengths), 3),
        "rejected_tokens": round(sum(rejected for _, rejected in lengths) / len(lengths), 3),
        "alike": sum(10 * abs(chosen - rejected) <= chosen for chosen, rejected in lengths),
    }
