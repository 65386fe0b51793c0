"""Run folders in the real formats without a pipeline: what each arm says is a function of the problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.evaluation.scoring import score
from tracedistill.files import to_json, write_json, write_jsonl
from tracedistill.recipes import Arm, EvaluationConfig, StudentConfig, Study, TaskConfig, resolved
from tracedistill.records import Attempt, Problem
from tracedistill.tasks import Source, get_task

Says = Callable[[Problem], str]
TASK = get_task("babi")


def right(problem: Problem) -> str:
    """The gold answer alone."""
    return f"Answer: {TASK.render_answer(problem)}"


def wrong(problem: Problem) -> str:
    """An answer that is none."""
    return "Answer: nowhere"


def traced(problem: Problem) -> str:
    """The gold trace and the gold answer."""
    return f"{TASK.render_trace(problem.gold_steps)}\n{right(problem)}"


def misled(problem: Problem) -> str:
    """A trace whose class is wrong, and the right answer."""
    steps = (replace(problem.gold_steps[0], value="counting", text="Question type: no such type."),)
    return f"{TASK.render_trace((*steps, *problem.gold_steps[1:]))}\n{right(problem)}"


def some(share: float, says: Says = right, otherwise: Says = wrong) -> Says:
    """Says the one for the first share of the problems, by their number, and the other for the rest."""

    def say(problem: Problem) -> str:
        number = int(problem.problem_id.rsplit("-", 1)[1])
        return says(problem) if number % 100 < 100 * share else otherwise(problem)

    return say


def problems_of(n: int, seed: int = 0) -> list[Problem]:
    """Test problems of the built-in generator."""
    return list(TASK.load("test", Source(seed=seed, size=n)))


def write_run(
    folder: Path,
    arms: Mapping[str, Says],
    n: int = 16,
    *,
    name: str = "small",
    comparisons: Sequence[tuple[str, str]] = (),
    settings: Mapping[str, Arm] | None = None,
    samples: int = 1,
    seed: int = 0,
    problems: Sequence[Problem] | None = None,
    finish: Any = "stop",
    params: Mapping[str, Any] | None = None,
) -> Study:
    """Write a finished run of a study on these arms; `settings`: arms that are more than a name."""
    problems = list(problems_of(n, seed) if problems is None else problems)
    study = Study(
        study=name,
        run_dir=str(folder),
        task=TaskConfig(name="babi", test=len(problems)),
        students={"half": StudentConfig(model="scripted:tests.scripts:half")},
        arms={arm: (settings or {}).get(arm, Arm()) for arm in arms},
        comparisons=tuple(comparisons),
        evaluation=EvaluationConfig(samples=samples),
        seed=seed,
    )
    write_json(folder / "study.json", {"study": name})
    write_jsonl(folder / "problems.jsonl", problems)
    nothing = {"n": len(problems), "found": 0, "repeats": []}
    sizes = {"train": 4, "validation": 2, "test": len(problems)}
    write_json(
        folder / "problems.report.json",
        {"sizes": sizes, "overlap": {"train/test": nothing}, "dropped_from_train": [], "duplicates": {}, "near": {},
         "audit": {}},
    )  # fmt: skip
    _manifest(folder, "problems", "problems.jsonl", study, {})
    for arm, says in arms.items():
        lines = [
            _line(problem, arm, says(problem), sample, finish) for problem in problems for sample in range(samples)
        ]
        write_jsonl(folder / "attempts" / f"{arm}.jsonl", lines)
        _manifest(folder, f"generate:{arm}", f"attempts/{arm}.jsonl", study, params or {})
    return study


def _line(problem: Problem, arm: str, text: str, sample: int, finish: Any) -> dict[str, Any]:
    attempt_id = f"{arm}/{problem.problem_id}/{sample}"
    attempt = Attempt(attempt_id, problem.problem_id, arm, "half", text, finish, 40, 7, 0.5, sample)
    result = score(TASK, problem, attempt, trace_wanted=False)
    return {
        **to_json(attempt),
        "answer": to_json(result.answers.answer, defaults=True),
        "derived": to_json(result.answers.derived, defaults=True),
        "candidate": to_json(result.answers.candidate, defaults=True),
        "trace": to_json(result.trace, defaults=True),
        "cut_off": result.cut_off,
        "answer_in_trace": result.answer_in_trace,
    }


def _manifest(folder: Path, node: str, output: str, study: Study, params: Mapping[str, Any]) -> None:
    stat = (folder / output).stat()
    made = {output: {"sha256": "0" * 64, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}}
    facts = {"seconds": 1.5, "peak_memory_bytes": 10_000_000, "libraries": {"torch": "2.13"}, "inputs": {}}
    value = {"node": node, "params": dict(params), "outputs": made, **facts, "recipe": resolved(study)}
    write_json(folder / f"{output}.manifest.json", value)
