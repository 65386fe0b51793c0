"""A trial of a student: one training step and two answers on a made-up row, before a teacher is paid for traces."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import Format, write_completion
from tracedistill.chat.templates import system_in_user_turn
from tracedistill.engines import Request, Sampling
from tracedistill.engines.weights import brief_cause
from tracedistill.errors import InputError
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example, Message
from tracedistill.training.arm import train_arm

QUESTIONS = ("Anna has 3 apples and buys 4 more. How many has she?", "Is 7 more than 4?")
TRACE, ANSWER = "She has 3 apples.\n3 + 4 = 7", "7"
"""Completion of the made-up row, and the two questions that the student is then prompted with."""
TOKENS = 8
"""Most tokens of each answer."""


def try_student(
    name: str, student: StudentConfig, training: TrainingConfig | None, format: Format, place: Path
) -> dict[str, Any]:
    """Tune a student for one step, unless `training` is None, and prompt the result twice.

    `place` is a temporary folder, which is removed. Returns the findings. Raises InputError, with the remedy, if the
    student cannot be tuned or prompted. Called by every process of the launch; the first one prompts.
    """
    from accelerate import PartialState

    head = (Message("system", student.system),) if student.system else ()
    chats = [(*head, Message("user", question)) for question in QUESTIONS]
    if student.system_role == "user":
        chats = [system_in_user_turn(chat) for chat in chats]
    state = PartialState()
    adapter = place / "adapter"
    try:
        if training is not None:
            _tune(name, student, training, format, chats[0], adapter, state.num_processes)
        state.wait_for_everyone()
        if not state.is_main_process:
            return {}
        return _ask(name, student, training, format, chats, adapter)
    finally:
        state.wait_for_everyone()
        if state.is_main_process:
            shutil.rmtree(place, ignore_errors=True)


def _tune(
    name: str,
    student: StudentConfig,
    training: TrainingConfig,
    format: Format,
    chat: tuple[Message, ...],
    output: Path,
    processes: int,
) -> None:
    row = Example("trial", name, chat, write_completion(TRACE, ANSWER, format))
    short = replace(
        training,
        max_steps=1,
        batch_size=processes,
        gradient_accumulation=1,
        eval_steps=0,
        save_steps=1,
        warmup=0,
    )
    try:
        train_arm(name=f"trial of {name}", rows=[row] * processes, student=student, training=short, seed=0,
                  output=output, format=format)  # fmt: skip
    except InputError:
        raise
    except Exception as error:  # third-party model code may raise anything
        raise InputError(
            f"student {name} ({student.model}) cannot be tuned: {type(error).__name__}: {brief_cause(error)}; name the "
            "layers to tune with training.lora_targets, such as q_proj,v_proj, or use another student"
        ) from error


def _ask(
    name: str,
    student: StudentConfig,
    training: TrainingConfig | None,
    format: Format,
    chats: Sequence[tuple[Message, ...]],
    adapter: Path,
) -> dict[str, Any]:
    from tracedistill.engines.local import LocalEngine

    gc.collect()  # the trained model is kept alive by cycles; two at once would double the memory
    whole = training is not None and training.method == "full"
    requests = [Request(f"trial/{n}", chat, Sampling(max_tokens=TOKENS)) for n, chat in enumerate(chats)]
    try:
        engine = LocalEngine.load(
            str(adapter) if whole else student.model,
            student.dtype,
            None if whole or training is None else adapter,
            student.quantization,
            format=format,
            revision=None if whole else student.revision,
            chat_template=student.chat_template,
        )
        written = [made.text for made in engine.generate(requests)]
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"student {name} ({student.model}) cannot be evaluated: {type(error).__name__}: {brief_cause(error)}; use "
            "another student, or serve it elsewhere and set students.<name>.base_url"
        ) from error
    return {"tuned": training is not None, "layout": engine.tried.layout, "note": engine.tried.note, "wrote": written}
