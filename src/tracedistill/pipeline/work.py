"""What the pieces of a study do: each method reads files of the run folder and writes others, whole or not at all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tracedistill.chat.prompts import PROMPTS, asks_for_trace, needs_plan, prompt_text
from tracedistill.engines import Engine
from tracedistill.engines.dtypes import choose, settled
from tracedistill.engines.identity import identity_of
from tracedistill.engines.processor import Dtype
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.files import ListId, Records, read_json, read_lines, to_json, write_json
from tracedistill.interventions import NO_TRACE
from tracedistill.pipeline.assembling import heldout_file
from tracedistill.pipeline.drawing import draw_problems, sources_below
from tracedistill.pipeline.graph import RunFolder, stamped
from tracedistill.pipeline.judging import judge_traces
from tracedistill.pipeline.pinning import pinned
from tracedistill.pipeline.preflights import make_preflight
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.settling import kept, settle, students_here, with_dtypes
from tracedistill.pipeline.teaching import SCRIPTED, Teaching
from tracedistill.recipes import Arm, Study, resolved, run_name
from tracedistill.records import Example, Problem
from tracedistill.tasks import Task, get_task
from tracedistill.training.tracking import check_tracker


class Workshop:
    """One study's run folder with what its stages share: the task, the problems, the engine at work."""

    def __init__(self, study: Study, recipe: Path, screen: Screen, overrides: Sequence[str] = ()) -> None:
        self.asked = study
        """The study as its recipe says: `dtype: auto` may stand in it."""
        self.recipe = recipe
        self.overrides = tuple(overrides)
        self.screen = screen
        self.run = RunFolder(study.folder, study.study)
        self._settle(kept(self.run))
        self._engine: tuple[str, Any] | None = None
        self._counted: tuple[tuple[int, int], dict[str, Any]] | None = None
        self.share = (0, 1)
        self.barrier: Callable[[], object] = lambda: None

    def _settle(self, dtypes: dict[str, Dtype]) -> None:
        self.dtypes = dtypes
        """Student, or `teacher:<name>` -> the dtype that this run folder keeps."""
        self.study = with_dtypes(pinned(self.asked, self.asked.folder), dtypes)
        self.plain = resolved(self.study)

    def settle(self) -> None:
        """Settle the students' dtypes that are still `auto`: from here on the run folder keeps them."""
        self._settle(settle(students_here(self.asked), self.run, self.screen))

    def suppose(self, dtype: Dtype | None = None) -> None:
        """Take this dtype (none: what is fastest here) for students that are still `auto`, and note it nowhere."""
        known, asked = kept(self.run), students_here(self.asked)
        undecided = [name for name, own in asked.items() if own == "auto" and name not in known]
        if undecided:
            self._settle(known | dict.fromkeys(undecided, dtype or choose().dtype))

    def teacher_dtype(self, teacher: str) -> str:
        """The dtype of a teacher that runs here; the run folder keeps it."""
        name = f"teacher:{teacher}"
        return settle({name: "auto"}, self.run, self.screen)[name]

    @functools.cached_property
    def task(self) -> Task:
        """The study's task."""
        return get_task(self.study.task.name)

    @functools.cached_property
    def teaching(self) -> Teaching:
        """The study's teachers."""
        return Teaching(self)

    def content_of(self, student: str) -> dict[str, dict[str, Any]]:
        """What a student is, for a manifest; nothing if it runs elsewhere, or its files are not on this machine."""
        config = self.study.students[student]
        if config.base_url is not None or config.model.startswith(SCRIPTED):
            return {}
        found = identity_of(config.model, config.revision)
        return {} if found is None else {f"student {student}": to_json(found, defaults=True)}

    def prompt(self, arm: Arm) -> str:
        """The text of an arm's prompt."""
        return prompt_text(arm.prompt, self.study.prompts, PROMPTS)

    def shows_plan(self, arm: Arm) -> bool:
        """Whether the arm shows its student a teacher's steps."""
        return needs_plan(self.prompt(arm))

    def trace_wanted(self, arm: Arm) -> bool:
        """Whether the arm asks its student for a trace."""
        lender = self.study.arms[arm.adapter] if arm.adapter is not None else arm
        tuned = NO_TRACE if lender.rationale_weight is not None else lender.tune
        mixed_in = any(self.study.arms[other].tune != NO_TRACE for other in lender.mix)
        if arm.forced is not None or mixed_in or (tuned is not None and tuned != NO_TRACE):
            return True
        if tuned is not None and not self.shows_plan(arm):
            return False
        return asks_for_trace(self.prompt(arm)) or self.shows_plan(arm) or arm.shots_with_traces

    def facts(self) -> dict[str, Any]:
        """What every manifest says beside its node's own settings: the whole recipe, the seed, which problems."""
        return {"recipe": self.plain, "seed": self.study.seed, "data": self._drawn()}

    def _drawn(self) -> dict[str, Any]:
        """Role -> how many problems and their ids' id; read again where the file is another."""
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
        """The tuned arms of a student."""
        return [name for name in self.study.tuned_arms() if self.study.student_of(self.study.arms[name]) == student]

    def make_problems(self) -> dict[str, Any]:
        """Draw the study's problems; the files that they come from are inputs, which count by their content."""
        return {"sources": stamped(draw_problems(self), sources_below(self))}

    def beside_recipe(self, path: str) -> str:
        """A path as given, or beside the recipe where it is not found from the working folder (hub ids stay)."""
        beside = self.recipe.parent / path
        return str(beside) if not _is_there(Path(path)) and _is_there(beside) else path

    def each_problem(self) -> Records[Problem]:
        """All problems as the study drew them, one at a time in memory."""
        return Records(self.run.path("problems.jsonl"), Problem)

    def problems(self, *roles: str) -> list[Problem]:
        """Problems with these roles (train, validation, test; all where none is named), as the study drew them."""
        return [problem for problem in self.each_problem() if not roles or problem.split in roles]

    def make_validation(self, teacher: str) -> None:
        """Judge a teacher's traces."""
        judge_traces(self, teacher)

    def make_preflight(self, student: str) -> None:
        """Check every row as the student will see it, and show a few."""
        make_preflight(self, student)

    def make_trial(self, student: str, learns: bool) -> None:
        """Try a student on a made row, and keep what was found; runs inside the launched process."""
        from tracedistill.training.trial import try_student

        study, output = self.study, self.run.path(f"trials/{student}.json")
        training = study.training if learns else None
        config, place = study.students[student], output.with_name(f"{student}.partial")
        found = try_student(student, config, training, study.format, place)
        if found:
            write_json(output, found)
            if found["note"]:
                self.screen.say(f"  student {student}: batches of {found['layout']}: {found['note']}")

    def make_adapter(self, name: str, seed: int) -> dict[str, Any]:
        """Tune an arm's adapter with its seed-th seed; runs inside the launched process."""
        from tracedistill.training.arm import train_arm

        study = self.study
        student, run = study.student_of(study.arms[name]), run_name(name, seed)
        preflight = read_json(self.run.path(f"sft/{student}.preflight.json"))
        dropped = set(preflight["dropped"]) | set(preflight.get("dropped_validation", ()))

        def kept(row: Example) -> bool:
            return row.problem_id not in dropped

        rows = Records(self.run.path(f"sft/{name}.jsonl"), Example, kept)
        validation: Iterable[Example] = ()
        if study.training.eval_steps:
            validation = Records(self.run.path(heldout_file(name)), Example, kept)
            if not any(True for _ in validation):
                self.screen.say(f"  {run}: no row of a validation problem: nothing is evaluated during training")
        template = train_arm(
            name=run,
            rows=rows,
            student=study.students[student],
            training=study.training,
            seed=study.seed + seed,
            output=self.run.path(f"adapters/{run}"),
            tracking=study.tracking,
            run_name=f"{study.study}/{run}",
            style=study.format,
            rationale_weight=study.arms[name].rationale_weight,
            validation=validation,
        )
        return {"template_hash": template, "adapter_seed": study.seed + seed}

    def engine(self, student: str, adapter: Path | None = None, *, merge: bool = True) -> Engine:
        """The engine of a student, with an arm's adapter or without; one base model serves all arms of a student."""
        config, style = settled(self.study.students[student]), self.study.format
        if config.model.startswith(SCRIPTED):
            return ScriptedEngine.from_path(config.model.removeprefix(SCRIPTED))
        from tracedistill.engines.local import LocalEngine

        whole = adapter is not None and self.study.training.method == "full"
        model = str(adapter) if whole else config.model
        if self._engine is None or self._engine[0] != model:
            self._engine = None  # let go of the last model before the next is loaded
            loaded = LocalEngine.load(
                model,
                config.dtype,
                quantization=config.quantization,
                style=style,
                revision=None if whole else config.revision,
                chat_template=config.chat_template,
            )
            if loaded.tried.note:
                self.screen.say(f"  student {student}: batches of {loaded.tried.layout}: {loaded.tried.note}")
            self._engine = (model, loaded)
        engine: LocalEngine = self._engine[1]
        engine.use(None if whole else adapter, merge=merge)
        return engine

    def make_report(self) -> None:
        """Write the report; where the recipe tracks runs, also there."""
        from tracedistill.report import write_report

        tracking = self.study.tracking
        if tracking != "none":
            check_tracker(tracking)
        problems = {problem.problem_id: problem for problem in self.problems("test")}
        report = write_report(self.study, self.task, self.run.folder, problems, self.teaching.needed())
        if tracking != "none":
            from tracedistill.report.tracking import log_report

            log_report(report, self.study.study, tracking)


def _is_there(path: Path) -> bool:
    """Whether a path exists; of one with `{split}` in its name, whether a file of any split does."""
    if "{split}" not in path.name:
        return path.exists() or ("{" in path.name and path.parent.exists())
    return any(path.parent.glob(path.name.replace("{split}", "*")))
