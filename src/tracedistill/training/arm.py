"""Train an adapter, or a whole model, on training rows.

The adapter folder appears whole or not at all; until then checkpoints lie beside it, so that a killed training resumes
from the last one.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracedistill.chat.formats import Format
from tracedistill.chat.templates import template_hash
from tracedistill.compute import Compute, Processes
from tracedistill.engines.dtypes import settled
from tracedistill.engines.tokenizers import tokenizer_of
from tracedistill.errors import InputError
from tracedistill.files import Records, content_id, file_hash, locked, read_value, to_json, write_json
from tracedistill.recipes import Arm, StudentConfig, TrainingConfig
from tracedistill.records import Example
from tracedistill.sft.examples import target_weights
from tracedistill.training import TrainingSetup
from tracedistill.training.learning import LearningSpec, RenderedRows
from tracedistill.training.models import load_model, load_teacher, load_writer
from tracedistill.training.saving import save
from tracedistill.training.tracking import Lenient, Table, open_run

if TYPE_CHECKING:
    from tracedistill.training.rows import RowTokens

LOCK, ROWS, HELDOUT, RENDERED = "running.lock", "rows.arrow", "validation.arrow", "rendered"
"""Files in the checkpoint folder: the lock of the training process, the rendered rows, and a mark that they are
complete."""
OWN_COMPLETIONS = "own-completions.jsonl"
"""Same folder: the student's completions from before the training, for pairs with its own failures."""
SUPERVISED = LearningSpec(Arm())
"""The rows are imitated."""
LOOK = 0.2
"""Seconds between two checks for a file."""
LOGGED_STEPS = 1_000
"""Steps up to which each is logged; the trainer's log must not grow with the rows."""
SHOWN, PROMPT_END = 5, 160
"""Rows sent to a tracker, and characters of their prompts."""


def train_arm(
    *,
    name: str,
    rows: Iterable[Example],
    student: StudentConfig,
    training: TrainingConfig,
    seed: int,
    output: Path,
    tracking: str = "none",
    run_name: str | None = None,
    format: Format = "plain",
    rationale_weight: float | None = None,
    validation: Iterable[Example] = (),
    learning: LearningSpec = SUPERVISED,
    compute: Compute | None = None,
) -> str:
    """Tune a student on these rows and write the result into the folder `output` (safetensors, training.json).

    `rows` and `validation` are iterated several times: a sequence, or `files.Records`, which keeps one row in memory.
    Method lora: an adapter; full: a whole model with its tokenizer, in the student's dtype. `rationale_weight`: weight
    of the rationales relative to the answers, for rows of `two_targets`. `validation`: rows whose loss is computed
    every `training.eval_steps` steps; they do not change the result. `learning`: how the rows are used, if not imitated
    from the plain student. `compute`: where rows of `files.Records` are rendered; None: in this process.

    Returns the hash of the chat template that rendered the rows.

    Checkpoints and rendered rows go to `<output>.checkpoints`; those of a run with other rows or settings are deleted.

    Raises InputError if nothing can be trained, this machine lacks what the recipe requires, another process trains
    into the same folder, a gradient is not finite, memory or disk are exhausted, or `tracking` (wandb, trackio) cannot
    start a run. If a tracker fails later, one warning is printed and training continues.
    """
    from accelerate import PartialState

    from tracedistill.training.callbacks import drop_broken_checkpoints
    from tracedistill.training.device import check_device, explained

    gc.collect()  # the last arm's model is kept alive by cycles; two at once would double the memory
    student = settled(student)
    check_device(student, training)
    learning.check(student)
    tokenizer = tokenizer_of(student)
    checkpoints = output.with_name(f"{output.name}.checkpoints")
    state = PartialState()
    run: Lenient | None = None
    busy = f"{checkpoints}: another process is training here; wait for it, or stop it"
    with locked(checkpoints / LOCK, busy) if state.is_main_process else contextlib.nullcontext():
        try:
            sources = {ROWS: rows, HELDOUT: validation if training.eval_steps else ()}
            where = compute or Processes(1)
            render = functools.partial(_rendered, where, student, tokenizer, format)
            try:
                data, heldout = _on_disk(name, render, sources, rationale_weight, checkpoints, state)
            finally:
                where.close()  # the training needs cores and memory
            settings = settings_of(training, student, seed, checkpoints, len(data))
            if state.is_main_process:
                files = [file_hash(checkpoints / file) for file in sources if (checkpoints / file).exists()]
                parts = (files, training, student, seed, state.num_processes, learning.identity())
                _keep_own_checkpoints(checkpoints, content_id(*parts))
                drop_broken_checkpoints(checkpoints)
            state.wait_for_everyone()
            if tracking != "none" and state.is_main_process:
                run = _tracked_run(tracking, run_name or name, data, heldout, student, training, seed)
                run.tables({"examples": supervised_examples(tokenizer, rows, data)})
            rendered = RenderedRows(_ids(rows), data, _ids(sources[HELDOUT]), heldout)
            trainer = _trained(name, learning, rendered, tokenizer, student, training, settings, format, run)
            save(trainer, tokenizer, student, training, output, rendered, learning)
        except BaseException as error:
            if run is not None:
                run.close(failed=True)
            if not isinstance(error, Exception):
                raise
            if state.is_main_process:
                drop_broken_checkpoints(checkpoints)  # checkpoints truncated by a full disk take up space
            reason = explained(error, name, output)
            if reason is None:
                raise
            raise reason from error
        if run is not None:
            run.close(failed=False)  # the next arm gets its own run
        state.wait_for_everyone()
        if state.is_main_process:
            shutil.rmtree(checkpoints, ignore_errors=True)
    return template_hash(tokenizer)


def _trained(
    name: str,
    learning: LearningSpec,
    data: RenderedRows,
    tokenizer: Any,
    student: StudentConfig,
    training: TrainingConfig,
    settings: TrainingSetup,
    format: Format,
    run: Lenient | None,
) -> Any:
    """Train, resuming from the last complete checkpoint, and return the trainer."""
    from tracedistill.training.adapter import adapter_config, move_weights
    from tracedistill.training.callbacks import (
        ProgressCallback,
        TrackingCallback,
        WholeCheckpoints,
        last_whole_checkpoint,
    )
    from tracedistill.training.learning import build

    checkpoints, full = Path(settings.output_dir), training.method == "full"
    rejected = _rejected(learning, data, tokenizer, student, settings, format)
    teacher = None if learning.teacher is None else load_teacher(settled(learning.teacher), settings, tokenizer)
    model = load_model(student, settings, full=full)
    trainer = build(
        learning,
        data,
        model,
        tokenizer,
        settings,
        format,
        None if full else adapter_config(training, model),
        [WholeCheckpoints(), ProgressCallback(name), *([] if run is None else [TrackingCallback(run)])],
        rejected=rejected,
        teacher=teacher,
    )
    move_weights(trainer, training, checkpoints)
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(checkpoints))
    return trainer


def _rejected(
    learning: LearningSpec,
    data: RenderedRows,
    tokenizer: Any,
    student: StudentConfig,
    settings: TrainingSetup,
    format: Format,
) -> dict[str, Sequence[int]]:
    """Return problem -> rejected completion in tokens: of the rows made for it, or the student's own."""
    from accelerate import PartialState

    from tracedistill.chat.rendering import read_completion, render_example

    arm = learning.arm
    if arm.method != "dpo":
        return {}
    if arm.rejected != "own":
        rendered = {row.problem_id: render_example(tokenizer, row, format) for row in learning.rejected}
        return {key: row.input_ids[row.completion_mask.index(1) :] for key, row in rendered.items()}
    from tracedistill.training.methods.draws import draw_completions, nearest_failed
    from tracedistill.training.methods.verdicts import by_tokens

    assert learning.judge is not None, "the pipeline gives one"
    drawn = draw_completions(
        lambda: load_writer(student, settings, tokenizer, arm, learning.start),
        data.prompts(),
        arm.num_generations,
        settings.seed,
        by_tokens(learning.judge, tokenizer, format, arm.max_tokens),
        lambda tokens: read_completion(tokenizer, tokens, format),
        Path(settings.output_dir) / OWN_COMPLETIONS,
        is_main=PartialState().is_main_process,
    )
    lengths = {problem_id: sum(row["completion_mask"]) for problem_id, row in zip(data.ids, data.rows, strict=True)}
    return {key: drawn_one.tokens for key, drawn_one in nearest_failed(drawn, arm.reward, lengths).items()}


def _rendered(
    compute: Compute, student: StudentConfig, tokenizer: Any, format: Format, rows: Iterable[Example]
) -> Iterator[RowTokens]:
    """Render rows: of a file, wherever `compute` works; of memory, in this process."""
    from tracedistill.training.rows import render_file, render_rows

    if isinstance(rows, Records):
        return render_file(compute, student, rows, format)
    return render_rows(tokenizer, rows, format)


def _on_disk(
    arm: str,
    render: Callable[[Iterable[Example]], Iterator[RowTokens]],
    sources: Mapping[str, Iterable[Example]],
    rationale_weight: float | None,
    folder: Path,
    state: Any,
) -> list[Any]:
    """Return datasets of these rows, memory-mapped from files that the first process renders.

    The others poll for the files instead of waiting at a barrier, which launchers time out after minutes.
    """
    from tracedistill.training.rows import open_rows, supervised_tokens, write_rows

    done = folder / RENDERED
    if state.is_main_process:
        done.unlink(missing_ok=True)
    state.wait_for_everyone()
    if state.is_main_process:
        for file, rows in sources.items():
            weights = None
            if rationale_weight is not None:
                tokens = supervised_tokens(render(rows))
                weights = target_weights(*tokens, rationale_weight) if any(tokens) else (1.0, 1.0)
            if not write_rows(render(rows), folder / file, weights) and file == ROWS:
                raise InputError(f"arm {arm}: has no training rows")
        done.touch()
    while not done.exists():
        time.sleep(LOOK)
    return [open_rows(folder / file) for file in sources]


def _tracked_run(
    tracking: str,
    name: str,
    data: Sequence[Any],
    heldout: Sequence[Any],
    student: StudentConfig,
    training: TrainingConfig,
    seed: int,
) -> Lenient:
    """Open a tracker run with this training's settings."""
    config: dict[str, Any] = {key: getattr(student, key) for key in ("model", "dtype", "quantization")}
    config |= {"rows": len(data), "validation_rows": len(heldout), "seed": seed}
    return Lenient(open_run(tracking, name, {**config, "training": to_json(training, defaults=True)}), tracking)


def supervised_examples(tokenizer: Any, rows: Iterable[Example], data: Iterable[Mapping[str, Any]]) -> Table:
    """Return the first rows decoded: problem, end of the prompt, supervised text."""
    made = []
    for row, tokens in islice(zip(rows, data, strict=True), SHOWN):
        ids, start = tokens["input_ids"], tokens["completion_mask"].index(1)
        made.append([row.problem_id, tokenizer.decode(ids[:start])[-PROMPT_END:], tokenizer.decode(ids[start:])])
    return ("problem_id", "prompt ends", "supervised"), made


def settings_of(
    training: TrainingConfig,
    student: StudentConfig,
    seed: int,
    checkpoints: Path,
    rows: int,
) -> TrainingSetup:
    """Return the trainer settings of a recipe's training."""
    steps = _logging_steps(training.optimizer_steps(rows), training.save_steps)
    return TrainingSetup(str(checkpoints), training, seed, student.dtype == "bfloat16", steps)


def _logging_steps(steps: int, save_steps: int) -> int:
    """Return the steps per log entry; entries end at checkpoints, so that a kill cannot split one."""
    wanted = max(1, steps // LOGGED_STEPS)
    return max(steps for steps in range(1, min(wanted, save_steps or wanted) + 1) if save_steps % steps == 0)


def _keep_own_checkpoints(checkpoints: Path, identity: str) -> None:
    """Delete checkpoints of another training."""
    mark = checkpoints / "training-id.json"
    if mark.exists() and read_value(mark) == identity:
        return
    for leftover in checkpoints.iterdir():
        if leftover.is_dir():
            shutil.rmtree(leftover)
        elif leftover.name not in (LOCK, ROWS, HELDOUT, RENDERED):
            leftover.unlink()
    write_json(mark, identity)


def _ids(rows: Iterable[Example]) -> list[str]:
    return [row.problem_id for row in rows]
