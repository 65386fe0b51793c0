"""Examples to an adapter, and the target of `accelerate launch -m tracedistill.train RECIPE [--arm NAME] [key=value]`.

The adapter folder appears whole or not at all; checkpoints lie beside it until it does, so that a killed training
goes on from its last one.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example
from tracedistill.rendering import render_example, template_hash
from tracedistill.store import content_id, disk_error, read_json, write_json
from tracedistill.training import TrainerSettings
from tracedistill.weights import student_folder

LOGGED = ("step", "epoch", "loss", "learning_rate", "grad_norm")
"""What training.json keeps of the trainer's log: nothing that differs between two equal runs."""


def load_tokenizer(model: str) -> Any:
    """The student's tokenizer; InputError where there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(student_folder(model)))
    except (OSError, ValueError) as error:
        raise InputError(f"student '{model}': no tokenizer: {error}") from error


def train_arm(
    *,
    name: str,
    rows: Sequence[Example],
    student: StudentConfig,
    training: TrainingConfig,
    seed: int,
    output: Path,
    tracking: str = "none",
    run_name: str | None = None,
) -> str:
    """Tune one LoRA adapter on these rows and put it into the folder `output` (safetensors, training.json).

    Returns the hash of the chat template that the rows were rendered with. Checkpoints go to `<output>.checkpoints`;
    those of a run with other rows or settings are thrown away. Raises InputError where nothing can be trained, a
    gradient is not finite, or the disk is full.
    """
    import torch
    from accelerate import PartialState
    from peft import LoraConfig

    from tracedistill.training.callbacks import (
        Progress,
        WholeCheckpoints,
        drop_broken_checkpoints,
        last_whole_checkpoint,
    )
    from tracedistill.training.trainer import build_trainer, load_student

    gc.collect()  # the last arm's model hangs in cycles; two at once would double the memory
    tokenizer = load_tokenizer(student.model)
    rendered = [render_example(tokenizer, row) for row in rows]
    checkpoints = output.with_name(f"{output.name}.checkpoints")
    settings = _settings(training, student, seed, checkpoints, tracking, run_name)
    state = PartialState(cpu=settings.use_cpu)
    identity = content_id([row.input_ids for row in rendered], training, student, seed, state.num_processes)
    if state.is_main_process:
        _keep_own_checkpoints(checkpoints, identity)
        drop_broken_checkpoints(checkpoints)
    state.wait_for_everyone()
    last = last_whole_checkpoint(checkpoints)
    quantization = _quantization(student)
    model = load_student(student_folder(student.model), settings, quantization_config=quantization)
    lora = LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=_targets(training.lora_targets),
        task_type="CAUSAL_LM",
    )
    data = [{"input_ids": row.input_ids, "completion_mask": row.completion_mask} for row in rendered]
    try:
        trainer = build_trainer(
            model, tokenizer, data, None, settings, peft_config=lora, callbacks=[WholeCheckpoints(), Progress(name)]
        )
        trainer.train(resume_from_checkpoint=last)
        if state.is_main_process:
            _save(trainer, student, output, len(rows))
    except OSError as error:
        raise disk_error(output, error) from error
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"arm {name}: out of memory; raise training.gradient_accumulation or set activation_checkpointing"
        ) from error
    _end_tracking(tracking)
    state.wait_for_everyone()
    if state.is_main_process:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return template_hash(tokenizer)


def _end_tracking(tracking: str) -> None:
    """Close this arm's run, so that the next arm gets one of its own."""
    if tracking == "wandb":
        import wandb

        wandb.finish()


def _settings(
    training: TrainingConfig, student: StudentConfig, seed: int, checkpoints: Path, tracking: str, run_name: str | None
) -> TrainerSettings:
    return TrainerSettings(
        output_dir=str(checkpoints),
        learning_rate=training.learning_rate,
        epochs=training.epochs,
        max_steps=training.max_steps,
        batch_size=training.batch_size,
        gradient_accumulation=training.gradient_accumulation,
        warmup_steps=training.warmup,
        scheduler=training.scheduler,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=seed,
        bf16=student.dtype == "bfloat16",
        save_steps=training.save_steps,
        gradient_checkpointing=training.activation_checkpointing,
        logging_steps=1,  # the mean over an interval that a kill has cut would tell of the kill
        progress=False,  # our own line instead of the trainer's bar and one dictionary per step
        report_to=() if tracking == "none" else (tracking,),
        run_name=run_name,
    )


def _targets(targets: str) -> str | list[str]:
    return targets if targets == "all-linear" else [part.strip() for part in targets.split(",") if part.strip()]


def _quantization(student: StudentConfig) -> Any:
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


def _keep_own_checkpoints(checkpoints: Path, identity: str) -> None:
    """Throw away checkpoints that another training has left."""
    mark = checkpoints / "training-id.json"
    if checkpoints.exists() and (not mark.exists() or read_json(mark) != identity):
        shutil.rmtree(checkpoints)
    if not mark.exists():
        write_json(mark, identity)


def _save(trainer: Any, student: StudentConfig, output: Path, rows: int) -> None:
    """Save the adapter into a folder of another name, then give it its own."""
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    trainer.model.save_pretrained(str(partial), safe_serialization=True)
    (partial / "README.md").unlink(missing_ok=True)  # PEFT's card says nothing true about this adapter
    config = partial / "adapter_config.json"
    settings = json.loads(config.read_text())
    # the student by its name in the recipe: the folder of its weights is this machine's business
    settings["base_model_name_or_path"] = student.model
    write_json(config, settings)
    log = [
        {key: entry[key] for key in LOGGED if key in entry} for entry in trainer.state.log_history if "loss" in entry
    ]
    write_json(partial / "training.json", {"rows": rows, "steps": trainer.state.global_step, "log": log})
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notes off the screen; errors stay."""
    warnings.filterwarnings("ignore")
    for name in ("transformers", "bitsandbytes", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of every launched process."""
    parser = argparse.ArgumentParser(
        prog="accelerate launch -m tracedistill.train", description="Train one adapter per tuned arm of a study."
    )
    parser.add_argument("recipe", help="the study's YAML file")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME", help="this arm only (may be repeated)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    args = parser.parse_intermixed_args(argv)
    quiet_libraries()
    os.environ.setdefault("WANDB_PROJECT", "tracedistill")
    from accelerate import PartialState

    from tracedistill import pipeline  # the entry point alone reaches up: what makes missing files is the pipeline

    try:
        loaded = pipeline.load(args.recipe, args.overrides)
        state = PartialState()
        if state.is_main_process:
            print(f"world_size={state.num_processes}", flush=True)
        pipeline.train_in_this_process(
            loaded, args.arm, main_process=state.is_main_process, barrier=state.wait_for_everyone
        )
    except InputError as error:
        print(f"tracedistill: {error}", file=sys.stderr)
        return 2
    finally:
        if PartialState._shared_state:
            PartialState().destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
