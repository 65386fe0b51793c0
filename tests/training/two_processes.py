"""Train the tiny model; the script that test_processes launches. Usage: FOLDER PROCESSES_EXPECTED [resume]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import save_file

from tests.training.tiny import lora, model, rows, settings, tokenizer
from tracedistill.training.trainer import build_trainer


def main(folder: Path, processes: int, resume: bool) -> None:
    torch.set_num_threads(1)
    made = settings(folder / "checkpoints", epochs=2, batch_size=8, save_steps=4)
    # 21 rows: the last of 3 batches has 5, which two processes cannot share evenly
    trainer = build_trainer(model(), tokenizer(), rows(21), None, made, peft_config=lora())
    assert trainer.accelerator.num_processes == processes
    trainer.train(resume_from_checkpoint=str(folder / "checkpoints" / "checkpoint-4") if resume else None)
    if trainer.is_world_process_zero():
        save_file(get_peft_model_state_dict(trainer.model), folder / "adapter.safetensors")
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        (folder / "losses.json").write_text(json.dumps(losses))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), "resume" in sys.argv)
