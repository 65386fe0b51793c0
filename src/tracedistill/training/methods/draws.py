"""Completions sampled once, before a training: for self-imitation, and for pairs with the student's own failures."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tracedistill.files import dumps, from_json, read_jsonl
from tracedistill.training.methods.verdicts import JudgedCompletion, TokenJudge
from tracedistill.training.methods.writer import AT_ONCE, CompletionWriter

LOOK = 0.2
"""Seconds between two checks for a file that another process writes."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One completion of the student; verdicts as in `JudgedCompletion`."""

    problem_id: str
    sample: int
    tokens: tuple[int, ...]
    """Its tokens, the end included."""
    text: str
    answer: float
    trace: float | None
    format: float
    ended: bool = True

    @property
    def judged(self) -> JudgedCompletion:
        """The judges' verdicts."""
        return JudgedCompletion(self.answer, self.trace, self.format, ended=self.ended)

    def imitable(self, by: Literal["answer", "trace", "both"]) -> bool:
        """Return whether the judges accept it and it ended; a cut-off one would teach to stop in the middle."""
        return self.ended and self.judged.accepted(by)


def draw_completions(
    load: Callable[[], CompletionWriter],
    prompts: Mapping[str, list[int]],
    per_problem: int,
    seed: int,
    judge: TokenJudge,
    read: Callable[[Sequence[int]], str],
    file: Path,
    *,
    is_main: bool,
) -> list[Drawn]:
    """Draw `per_problem` completions of each problem into a file, judged, in the problems' order.

    `load` returns the writer and is called only if completions are missing. They are appended in groups of AT_ONCE, so
    a killed run continues after the last complete line. One process draws; the others wait for the file.
    """
    partial = file.with_name(f"{file.name}.partial")
    while not is_main and not file.exists():
        time.sleep(LOOK)
    if not file.exists():
        places = [(problem_id, sample) for problem_id in prompts for sample in range(per_problem)]
        done = _whole_lines(partial)
        writer = load() if done < len(places) else None
        with partial.open("a", encoding="utf-8") as stream:
            for start in range(done, len(places), AT_ONCE):
                part = places[start : start + AT_ONCE]
                assert writer is not None
                # a fixed position for every completion: the same draws wherever a killed run stopped
                seeds = [(seed, place) for place in range(start, start + len(part))]
                written = writer.write([prompts[problem_id] for problem_id, _ in part], seeds)
                verdicts = judge([problem_id for problem_id, _ in part], written)
                for (problem_id, sample), tokens, judged in zip(part, written, verdicts, strict=True):
                    verdict = (judged.answer, judged.trace, judged.format, judged.ended)
                    drawn = Drawn(problem_id, sample, tuple(tokens), read(tokens), *verdict)
                    stream.write(dumps(drawn) + "\n")
                stream.flush()
        partial.rename(file)
    return list(read_jsonl(file, Drawn))


def _whole_lines(partial: Path) -> int:
    """Return the number of complete lines, and cut off what follows them."""
    if not partial.exists():
        return 0
    with partial.open("rb+") as stream:
        lines = [line for line in stream if line.endswith(b"\n")]
        stream.truncate(sum(map(len, lines)))
    for line in lines:
        from_json(Drawn, json.loads(line))
    return len(lines)


def first_accepted(drawn: Sequence[Drawn], by: Any) -> dict[str, Drawn]:
    """Return each problem's first completion that the judges accept and that ended by itself."""
    accepted: dict[str, Drawn] = {}
    for completion in drawn:
        if completion.problem_id not in accepted and completion.imitable(by):
            accepted[completion.problem_id] = completion
    return accepted


def nearest_failed(drawn: Sequence[Drawn], by: Any, lengths: Mapping[str, int]) -> dict[str, Drawn]:
    """Return each problem's failed completion whose length in tokens is nearest to the given one."""
    nearest: dict[str, Drawn] = {}
    for completion in drawn:
        if completion.judged.accepted(by) or completion.problem_id not in lengths:
            continue
        wanted, best = lengths[completion.problem_id], nearest.get(completion.problem_id)
        if best is None or abs(len(completion.tokens) - wanted) < abs(len(best.tokens) - wanted):
            nearest[completion.problem_id] = completion
    return nearest
