"""A study being run: its run folder, task, problems and loaded engine, shared by all stages."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tracedistill.chat.prompts import PROMPTS, asks_for_trace, needs_plan, prompt_text
from tracedistill.compute import Job, Part, PartOutput, choose_compute, lookup, sum_parts, write_by_parts
from tracedistill.compute.part_files import Progress, Take, ignore
from tracedistill.engines import Engine, Request
from tracedistill.engines.dtypes import choose
from tracedistill.engines.identity import identity_of
from tracedistill.engines.processor import Dtype
from tracedistill.engines.vllm import VllmHost
from tracedistill.files import ListId, Records, read_lines, to_json
from tracedistill.interventions import NO_TRACE
from tracedistill.pipeline.dtypes import local_dtypes, settle_dtypes, stored_dtypes, with_dtypes
from tracedistill.pipeline.graph import PARTS, open_run_folder
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.revisions import pinned
from tracedistill.pipeline.screen import Screen
from tracedistill.recipes import Arm, TeacherConfig, resolved
from tracedistill.records import Problem
from tracedistill.sft.messages import PromptSpec
from tracedistill.tasks import Task, get_task

HandOver = Callable[[str, str, TeacherConfig, Engine, Iterable[Request]], int]
"""(model by its name in the recipe, stage, settings, engine, requests) -> number of requests without an answer."""


class StudyRun:
    """One study's run folder with the state shared by its stages: task, problems, engine."""

    def __init__(self, loaded: LoadedStudy, screen: Screen) -> None:
        self.declared = study = loaded.study
        """The study as its recipe says, possibly with `dtype: auto`."""
        self.recipe = loaded.recipe
        self.overrides = loaded.overrides
        self.screen = screen
        self.compute = choose_compute(study.compute, study.cores)
        """Processes rows: all cores of this machine, or a cluster that accesses the folder by its full path."""
        self.run = open_run_folder(study, screen.say)
        self.parts = self.run.path(PARTS)
        """Folder for parts of the node in progress."""
        self._settle(stored_dtypes(self.run))
        self.loaded: tuple[str, Any] | None = None
        """(model, engine) loaded in this process; see `engines.local_engine`."""
        self._known: tuple[tuple[int, int], Mapping[str, Problem]] | None = None
        self._counted: tuple[tuple[int, int], dict[str, Any]] | None = None
        self.serving = VllmHost(self.run.path("logs"), screen.say, self.release)
        """The running vLLM server, if any."""
        self.hand_over: HandOver | None = None
        """Receives a stage's requests instead of their engine (request_files.py); None: answers are bought."""
        self.asks_again = True
        """Whether failed and cut-off answers are bought again if the recipe says so."""
        self.share = (0, 1)
        self.barrier: Callable[[], object] = lambda: None

    def _settle(self, dtypes: dict[str, Dtype]) -> None:
        self.dtypes = dtypes
        """Student, or `teacher:<name>` -> dtype stored in this run folder."""
        self.study = with_dtypes(pinned(self.declared, self.declared.folder), dtypes)
        self.plain = resolved(self.study)

    def settle(self) -> None:
        """Fix the students' dtypes that are still `auto`, and store them in the run folder."""
        self._settle(settle_dtypes(local_dtypes(self.declared), self.run, self.screen))

    def suppose(self, dtype: Dtype | None = None) -> None:
        """Assume this dtype (None: the fastest here) for students that are still `auto`, without storing it."""
        known = stored_dtypes(self.run)
        undecided = [name for name, own in local_dtypes(self.declared).items() if own == "auto" and name not in known]
        if undecided:
            self._settle(known | dict.fromkeys(undecided, dtype or choose().dtype))

    def teacher_dtype(self, teacher: str) -> str:
        """Return the dtype of a local teacher, as stored in the run folder."""
        name = f"teacher:{teacher}"
        return settle_dtypes({name: "auto"}, self.run, self.screen)[name]

    @functools.cached_property
    def task(self) -> Task:
        """The study's task."""
        return get_task(self.study.task.name)

    def content_of(self, student: str) -> dict[str, dict[str, Any]]:
        """Return a student's content hash for a manifest; empty if it runs elsewhere or its files are not here."""
        config = self.study.students[student]
        if not config.loads_weights:
            return {}
        identity = identity_of(config.model, config.revision)
        return {} if identity is None else {f"student {student}": to_json(identity, defaults=True)}

    def prompt(self, arm: Arm) -> str:
        """Return the template of an arm's prompt."""
        return prompt_text(arm.prompt, self.study.prompts, PROMPTS)

    def prompt_spec(self, arm: Arm) -> PromptSpec:
        """Return how an arm's student is prompted, without solved examples."""
        student, study = self.study.student_config(arm), self.study
        return PromptSpec(
            self.task, arm, self.prompt(arm), student.system, study.format, seed=study.seed,
            system_role=student.system_role,
        )  # fmt: skip

    def shows_plan(self, arm: Arm) -> bool:
        """Return whether the arm shows its student a teacher's steps."""
        return needs_plan(self.prompt(arm))

    def trace_wanted(self, arm: Arm) -> bool:
        """Return whether the arm's prompt requests a trace."""
        lender = self.study.arms[arm.adapter] if arm.adapter is not None else arm
        tuned = NO_TRACE if lender.rationale_weight is not None else lender.tune
        mixed_in = any(self.study.arms[other].tune != NO_TRACE for other in lender.mix)
        if arm.forced is not None or mixed_in or (tuned is not None and tuned != NO_TRACE):
            return True
        if tuned is not None and not self.shows_plan(arm):
            return False
        return asks_for_trace(self.prompt(arm)) or self.shows_plan(arm) or arm.shots_with_traces

    def facts(self) -> dict[str, Any]:
        """Return what every manifest records beside its node's settings: recipe, seed, problems."""
        return {"recipe": self.plain, "seed": self.study.seed, "data": self._drawn()}

    def _drawn(self) -> dict[str, Any]:
        """Return role -> number of problems and hash of their ids, read again when the file changes."""
        path = self.run.path("problems.jsonl")
        if not path.exists():
            return {}
        stat = path.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        if self._counted is None or self._counted[0] != mark:
            by_role: dict[str, ListId] = {}
            for _, problem in read_lines(path):
                by_role.setdefault(problem["split"], ListId()).add(problem["problem_id"])
            self._counted = (mark, {role: {"n": ids.n, "ids": ids.id()} for role, ids in by_role.items()})
        return self._counted[1]

    def arms_of(self, student: str) -> list[str]:
        """Return the tuned arms of a student."""
        return [name for name in self.study.tuned_arms() if self.study.student_of(name) == student]

    def beside_recipe(self, path: str) -> str:
        """Resolve a path from the working folder, or else beside the recipe; hub ids are unchanged."""
        beside = self.recipe.parent / path
        return str(beside) if not _is_there(Path(path)) and _is_there(beside) else path

    def each_problem(self) -> Records[Problem]:
        """Yield all problems as drawn, one at a time."""
        return Records(self.run.path("problems.jsonl"), Problem)

    def problems(self, *roles: str) -> list[Problem]:
        """Return the problems of these roles (train, validation, test; default: all), as drawn."""
        return [problem for problem in self.each_problem() if not roles or problem.split in roles]

    def ids(self, *roles: str) -> list[str]:
        """Return the ids of the problems of these roles, as drawn."""
        return [problem.problem_id for problem in self.each_problem() if problem.split in roles]

    def known(self) -> Mapping[str, Problem]:
        """Return the problems by id, read again when the file changes; large files stay on the disk."""
        path = self.run.path("problems.jsonl")
        if not path.exists():
            return lookup(path, Problem)  # which says what is missing
        stat = path.stat()
        mark = (stat.st_mtime_ns, stat.st_size)
        if self._known is None or self._known[0] != mark:
            self._known = (mark, lookup(path, Problem))
        return self._known[1]

    def write_by_parts(
        self,
        job: Job[Part, PartOutput],
        sources: Sequence[Path],
        output: Path,
        *,
        take: Take = ignore,
        progress: Progress = ignore,
    ) -> None:
        """Write a file from what a job makes of each part of other files, on the available cores or cluster."""
        write_by_parts(self.compute, job, sources, output, self.parts / output.stem, take=take, progress=progress)

    def sum_parts(
        self, job: Job[Part, PartOutput], sources: Sequence[Path], name: str, *, take: Take, progress: Progress = ignore
    ) -> None:
        """Pass a job's result for each part of these files to `take`; `name` distinguishes several of one node."""
        sum_parts(self.compute, job, sources, self.parts / name, take=take, progress=progress)

    def release(self) -> None:
        """Release the model loaded in this process."""
        if self.loaded is not None:
            from tracedistill.engines.local import give_back_memory

            self.loaded = None
            give_back_memory()


def _is_there(path: Path) -> bool:
    """Return whether a path exists; with `{split}` in its name, whether a file of any split does."""
    if "{split}" not in path.name:
        return path.exists() or ("{" in path.name and path.parent.exists())
    return any(path.parent.glob(path.name.replace("{split}", "*")))
