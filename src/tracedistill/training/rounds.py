"""Self-imitation: train on the student's own completions that the judges accept, for the arm's number of rounds.

As in STaR (arXiv 2203.14465) every round trains from the same start, and samples from the adapter of the round before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import prompt_ids, read_completion
from tracedistill.chat.templates import template_hash
from tracedistill.compute import Compute
from tracedistill.engines.dtypes import settled
from tracedistill.engines.tokenizers import tokenizer_of
from tracedistill.errors import InputError
from tracedistill.files import content_id, read_value, write_json, write_jsonl
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example
from tracedistill.training.arm import settings_of, train_arm
from tracedistill.training.learning import LearningSpec
from tracedistill.training.models import load_writer
from tracedistill.training.work import TrainingWork, together

IMITATED = "imitated.jsonl"
"""In the adapter's folder: the rows of the last round."""
FACTS = "training.json"


def train_in_rounds(
    *,
    name: str,
    rows: Iterable[Example],
    student: StudentConfig,
    training: TrainingConfig,
    seed: int,
    output: Path,
    learning: LearningSpec,
    tracking: str = "none",
    run_name: str | None = None,
    format: Format = "plain",
    rationale_weight: float | None = None,  # noqa: ARG001 - as `train_arm` has it
    validation: Iterable[Example] = (),
    compute: Compute | None = None,
) -> str:
    """Sample, keep what the judges accept, and train, `rounds` times; takes the arguments of `train_arm`.

    Only the prompts of the rows are read. Samples are kept in `<output>.rounds` until the adapter is complete, so a
    killed training resumes in its round. Raises InputError if a round keeps nothing.
    """
    from accelerate import PartialState

    state, arm = PartialState(), learning.arm
    student = settled(student)
    learning.check(student)
    folder = output.with_name(f"{output.name}.rounds")
    prompts = list(rows)
    if state.is_main_process:
        _keep_own(folder, output, content_id(prompts, student, training, seed, learning.identity()))
    state.wait_for_everyone()
    facts_of_rounds: list[dict[str, Any]] = []
    start = learning.start
    for number in range(1, arm.rounds + 1):
        last = number == arm.rounds
        target = output if last else folder / f"adapter-{number}"
        kept, facts = _draw(
            prompts, number, start, student, training, seed, learning, format, folder, is_main=state.is_main_process
        )
        facts_of_rounds.append(facts)
        if not kept:
            raise InputError(
                f"arm {name}: round {number}: the judges accept none of the {facts['drawn']} completions drawn; start "
                "from a tuned arm (from), show examples (context), or accept by reward: answer"
            )
        if not (target / FACTS).exists():
            train_arm(
                name=f"{name}, round {number}" if arm.rounds > 1 else name,
                rows=kept,
                student=student,
                training=training,
                seed=seed,
                output=target,
                tracking=tracking,
                run_name=run_name if last else f"{run_name}.round{number}",
                format=format,
                validation=validation,
                learning=replace(learning, arm=replace(arm, method="sft"), shown=()),
                compute=compute,
            )
        facts_of_rounds[-1]["work"] = json.loads((target / FACTS).read_text(encoding="utf-8"))["work"]
        start = target
        if last and state.is_main_process:
            _finish(output, kept, facts_of_rounds)
    state.wait_for_everyone()
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
    return template_hash(tokenizer_of(student))


def _keep_own(folder: Path, output: Path, identity: str) -> None:
    """Delete the rounds of another training, and an adapter that is not of these rounds."""
    mark = folder / "rounds-id.json"
    if mark.exists() and read_value(mark) == identity:
        return
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(output, ignore_errors=True)
    write_json(mark, identity)


def _draw(
    rows: list[Example],
    number: int,
    adapter: Path | None,
    student: StudentConfig,
    training: TrainingConfig,
    seed: int,
    learning: LearningSpec,
    format: Format,
    folder: Path,
    *,
    is_main: bool,
) -> tuple[list[Example], dict[str, Any]]:
    """Return (rows of what the judges accept, what was drawn) of one round."""
    from tracedistill.training.methods.draws import draw_completions, first_accepted
    from tracedistill.training.methods.verdicts import by_tokens

    arm, tokenizer = learning.arm, tokenizer_of(student)
    assert learning.judge is not None, "the pipeline gives one"
    settings = settings_of(training, student, seed, folder, len(rows))
    # the first round may be shown more; its completions are then paired with the evaluation prompt
    shown = {row.problem_id: row.prompt for row in learning.shown} if number == 1 else {}
    prompts = {
        row.problem_id: prompt_ids(tokenizer, shown.get(row.problem_id, row.prompt), format=format) for row in rows
    }
    drawn = draw_completions(
        lambda: load_writer(student, settings, tokenizer, arm, adapter),
        prompts,
        arm.num_generations,
        1_000_003 * seed + number,
        by_tokens(learning.judge, tokenizer, format, arm.max_tokens),
        lambda tokens: read_completion(tokenizer, tokens, format),
        folder / f"drawn-{number}.jsonl",
        is_main=is_main,
    )
    accepted = first_accepted(drawn, arm.reward)
    kept = [
        replace(row, completion=accepted[row.problem_id].text.strip(), trace_id=None)
        for row in rows
        if row.problem_id in accepted
    ]
    facts = {
        "drawn": len(drawn),
        "answers_right": sum(completion.answer == 1 for completion in drawn),
        "traces_right": sum(completion.trace == 1 for completion in drawn),
        "cut_off": sum(not completion.ended for completion in drawn),
        "accepted": sum(completion.imitable(arm.reward) for completion in drawn),
        "kept": len(kept),
        "kept_traces_right": sum(accepted[row.problem_id].trace == 1 for row in kept),
        "drawn_tokens": sum(len(completion.tokens) for completion in drawn),
        "prompt_tokens": sum(len(prompts[completion.problem_id]) for completion in drawn),
    }
    return kept, facts


def _finish(output: Path, kept: list[Example], facts_of_rounds: list[dict[str, Any]]) -> None:
    """Write the imitated rows, and the cost of all rounds, into the adapter's folder."""
    facts = json.loads((output / FACTS).read_text(encoding="utf-8"))
    if "rounds" in facts:
        return
    parts = [TrainingWork(**facts.pop("work")) for facts in facts_of_rounds]
    trained = together(parts)
    weights = trained.flops / max(1, 4 * trained.trained)  # of imitation alone: 4 operations per weight and token
    drawn, read = (sum(facts[key] for facts in facts_of_rounds) for key in ("drawn_tokens", "prompt_tokens"))
    flops = trained.flops + 2 * weights * (drawn + read)
    facts["work"] = asdict(replace(trained, drawn=drawn, read=read, flops=flops))
    facts["rounds"] = facts_of_rounds
    write_jsonl(output / IMITATED, kept)
    write_json(output / FACTS, facts)
