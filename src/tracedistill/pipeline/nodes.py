"""The graph of a study: each node with its input and output files, and the settings it depends on."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from tracedistill import __version__
from tracedistill.files import read_json
from tracedistill.interventions import code_hashes
from tracedistill.pipeline.assemble import make_datasets
from tracedistill.pipeline.attribute import make_attribution
from tracedistill.pipeline.engine_check import ENGINE_CHECK
from tracedistill.pipeline.engines import answered_by
from tracedistill.pipeline.evaluate import Evaluation
from tracedistill.pipeline.graph import Node, versions
from tracedistill.pipeline.hardware import spreads
from tracedistill.pipeline.preflight import drawn_by, limits_of, make_preflight
from tracedistill.pipeline.problems import make_problems, sources_below
from tracedistill.pipeline.report import make_report
from tracedistill.pipeline.review import REVIEW_STORE, make_reviewed
from tracedistill.pipeline.sft_rows import beside_rows, heldout_file
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teach import Teachers
from tracedistill.pipeline.train import make_adapter, make_trial
from tracedistill.pipeline.validate import judge_params, judge_traces, learning
from tracedistill.recipes import (
    OWN,
    TUNING,
    Arm,
    AttributionConfig,
    arm_of,
    candidates,
    choose_on,
    draws,
    judged,
    on_validation,
    run_name,
)
from tracedistill.recipes.reader import plain
from tracedistill.recipes.schema import key_of
from tracedistill.report import FILES as REPORT_FILES
from tracedistill.review.outcomes import revision
from tracedistill.tasks import code_hash
from tracedistill.tasks.file.judges import judge_hash

ASSEMBLED = (
    "student", "teacher", "traces", "tune", "prompt", "plan", "plan_sample", "plans", "forced", "shots",
    "shots_with_traces", "rationale_weight", "mix", "context", "rejected",
)  # fmt: skip
"""Fields of an arm that datasets, plans and forced traces depend on."""

NOT_OF_ATTEMPTS = {"vote", "mix", *map(key_of, TUNING)}
"""Fields of an arm that its attempts do not depend on, or only through its adapter."""

NOT_REPORTED = ("run_dir", "tracking", "cores", "compute")
"""Recipe keys that no page of a report depends on."""

NOT_OF_GENERATION = ("merge", "parity", "parity_limit", "choose_on", "accelerate_config", "cut_off")
"""Evaluation settings that attempts do not depend on, or only through other files."""


class Graph:
    """The nodes of one study."""

    def __init__(self, work: StudyRun) -> None:
        self.work = work
        self.study = work.study
        self.plain = work.plain
        self.evaluation = Evaluation(work)
        self.teachers = Teachers(work)
        self._held = [on_validation(name) for name in candidates(work.study)]

    def nodes(self) -> list[Node]:
        """Return all nodes of the study, upstream first."""
        study = self.study
        nodes = [self._problems()]
        teachers = self.teachers.needed()
        for teacher in teachers:
            nodes += [self._teach(teacher), self._validate(teacher)]
        nodes += [self._review(teacher) for teacher in self._reviewed(teachers)]
        nodes.append(self._assemble(teachers))
        students = sorted({study.student_of(name) for name in study.tuned_arms()})
        nodes += [self._preflight(student) for student in students]
        tuned = [(name, seed) for name in study.in_training_order() for seed in range(study.training.seeds)]
        nodes += [self._train(name, seed) for name, seed in tuned]
        nodes += [self._parity(name, seed) for name, seed in tuned]
        # an arm that forces a student's own traces reads another arm's generations
        for name in sorted(study.arms, key=lambda name: study.arms[name].forced == OWN) + self._held:
            nodes += [self._generate(name, seed) for seed in range(len(study.runs_of(arm_of(name))))]
        nodes += [self._score(name) for name in (*study.arms, *self._held)]
        nodes += [self._attribute(entry) for entry in study.attribution]
        nodes.append(self._report())
        return nodes

    def _student(self, student: str) -> dict[str, Any]:
        """Return the student settings that results depend on, without costs."""
        identity = self._evaluated(student)
        return {key: value for key, value in identity.items() if key not in ("engine", "vllm_args")}

    def _evaluated(self, student: str) -> dict[str, Any]:
        """Return the settings that a student's answers depend on."""
        return answered_by(self.plain["students"][student])

    def _loads(self, student: str) -> dict[str, Any]:
        """Return what a node records about the student that it loads."""
        return {"student": student, "content": functools.partial(self.work.content_of, student)}

    def _problems(self) -> Node:
        params = {"task": self.plain["task"], "seed": self.study.seed, "overlap": self.study.validation.overlap}
        params |= self._task_code()
        outputs = ("problems.jsonl", "problems.report.json")
        make = functools.partial(make_problems, self.work)
        return Node("problems", "", (), outputs, params, make, sources_below=sources_below(self.work))

    def _task_code(self) -> dict[str, str]:
        """Hash the user's own task or judge code, which verdicts depend on."""
        code = code_hash(self.study.task.name) + judge_hash(self.study.task.judge)
        return {"task_code": code} if code else {}

    def _teach(self, teacher: str) -> Node:
        source = self.teachers.source_of(teacher)
        inputs = ("problems.jsonl", *((f"traces/{source}.jsonl",) if source else ()))
        outputs = (f"traces/{teacher}.jsonl", f"traces/{teacher}.failures.jsonl")
        run = functools.partial(self.teachers.make, teacher)
        params = {**self.teachers.params(teacher), **self._task_code()}
        config, content = self.study.teachers[teacher], {}
        if config.kind == "student":
            content = self._loads(config.student or next(iter(self.study.students)))
        return Node("teach", teacher, inputs, outputs, params, run, **content)

    def _validate(self, teacher: str) -> Node:
        params = {"validation": judge_params(self.work), "task": self.study.task.name, **self._task_code()}
        if students := learning(self.work, teacher):
            params["students"] = students  # their special tokens are rejected in traces
        inputs = ("problems.jsonl", f"traces/{teacher}.jsonl")
        run = functools.partial(judge_traces, self.work, teacher)
        outputs = (f"validation/{teacher}.jsonl", f"validation/{teacher}.report.json")
        return Node("validate", teacher, inputs, outputs, params, run)

    def _shows_plan(self, name: str) -> bool:
        return self.work.shows_plan(self.study.arms[arm_of(name)])

    def _reviewed(self, teachers: Sequence[str]) -> list[str]:
        """Return the teachers whose traces are used as reviewed, or wait for a review."""
        study = self.study
        wanted = {study.teacher_of(arm) for arm in study.arms.values() if arm.traces == "reviewed"}
        if study.review.required:
            wanted |= set(study.review.teachers or teachers)
        return [teacher for teacher in teachers if teacher in wanted]

    def _review(self, teacher: str) -> Node:
        store = self.work.run.path(REVIEW_STORE)
        params = {"review": self.plain["review"], "seed": self.study.seed, "revision": revision(store)}
        inputs = (f"traces/{teacher}.jsonl", f"validation/{teacher}.jsonl")
        make = functools.partial(make_reviewed, self.work, teacher)
        return Node("review", teacher, inputs, (f"reviewed/{teacher}.jsonl",), params, make)

    def _assemble(self, teachers: Sequence[str]) -> Node:
        study = self.study
        outputs = [f"sft/{name}.jsonl" for name in study.tuned_arms()]
        outputs += [file for name in study.tuned_arms() for file in beside_rows(self.work, name)]
        outputs += [f"plans/{name}.jsonl" for name in (*study.arms, *self._held) if self._shows_plan(name)]
        outputs += [f"forced/{name}.jsonl" for name, arm in study.arms.items() if arm.forced not in (None, OWN)]
        arms = {name: {key: self.plain["arms"][name][key] for key in ASSEMBLED} for name in study.arms}
        params = {
            "arms": arms,
            "format": study.format,
            "seed": study.seed,
            "systems": {name: (student.system, student.system_role) for name, student in study.students.items()},
            "prompts": {arm.prompt: self.work.prompt(arm) for arm in study.arms.values()},
        }
        changes = [change for arm in study.arms.values() for change in (arm.tune, arm.plan, arm.forced, arm.rejected)]
        if code := code_hashes(changes):
            params["intervention_code"] = code
        if study.training.eval_steps:
            outputs += [heldout_file(name) for name in study.tuned_arms()]
            params["eval_rows"] = study.training.eval_rows
        inputs = ["problems.jsonl"]
        for teacher in teachers:
            inputs += [f"traces/{teacher}.jsonl", f"validation/{teacher}.jsonl"]
        inputs += [f"reviewed/{teacher}.jsonl" for teacher in self._reviewed(teachers)]
        outputs.append("assembly.json")
        # the manifest lies beside the first output, which must not change when arms are added
        outputs.reverse()
        return Node("assemble", "", tuple(inputs), tuple(outputs), params, lambda: make_datasets(self.work))

    def _preflight(self, student: str) -> Node:
        training = self.plain["training"]
        params = {
            "student": self._student(student),
            "max_length": training["max_length"],
            "too_long": training["too_long"],
            "format": self.study.format,
            "limits": {name: limits_of(self.work, name) for name in self.work.arms_of(student)},
            "cut_off": self.study.evaluation.cut_off,
        }
        drawn = {name: limit for name in self.work.arms_of(student) if (limit := drawn_by(self.study.arms[name]))}
        if drawn:
            params["drawn"] = drawn
        inputs = [f"sft/{name}.jsonl" for name in self.work.arms_of(student)]
        inputs += [file for name in self.work.arms_of(student) for file in beside_rows(self.work, name)]
        inputs += [name for arm in self.work.arms_of(student) for name in self._heldout(arm)]
        run = functools.partial(make_preflight, self.work, student)
        outputs = (f"sft/{student}.preflight.json",)
        return Node("preflight", student, tuple(inputs), outputs, params, run, **self._loads(student))

    def trials(self, wanted: Sequence[Node]) -> list[Node]:
        """Return one trial node per student that these nodes load here.

        Trials belong to no stage; nothing reads them.
        """
        tuned: dict[str, bool] = {}
        for node in wanted:
            if node.kind not in ("preflight", "train", "generate") or node.student is None:
                continue
            if self.study.students[node.student].loads_weights and not self.work.run.is_complete(node):
                tuned[node.student] = tuned.get(node.student, False) or node.kind != "generate"
        return [self._trial(student, learns) for student, learns in sorted(tuned.items())]

    def _trial(self, student: str, learns: bool) -> Node:
        unused = ("seeds", "eval_steps", "eval_rows", "epochs", "max_steps", "batch_size")
        training = {key: value for key, value in self.plain["training"].items() if key not in unused}
        params = {
            "student": self._student(student),
            "training": training if learns else None,
            "format": self.study.format,
            "libraries": versions(),
        }
        make = functools.partial(make_trial, self.work, student, learns)
        outputs = (f"trials/{student}.json",)
        return Node("trial", student, (), outputs, params, make, launched=True, **self._loads(student))

    def _train(self, name: str, seed: int) -> Node:
        student, run = self.study.student_of(name), run_name(name, seed)
        arm = self.study.arms[name]
        unused = {"seeds"} if self.study.training.eval_steps else {"seeds", "eval_steps", "eval_rows"}
        training = {key: value for key, value in plain(self.study.training_of(name)).items() if key not in unused}
        params = {
            "training": training,
            "student": self._student(student),
            "seed": self.study.seed + seed,
            "format": self.study.format,
            "rationale_weight": arm.rationale_weight,
        }
        inputs = [f"sft/{name}.jsonl", f"sft/{student}.preflight.json", *self._heldout(name)]
        loads = self._loads(student)
        if learns_otherwise(arm):
            params["arm"] = {key: self.plain["arms"][name][key] for key in map(key_of, TUNING)}
            inputs += beside_rows(self.work, name)
        if learns_otherwise(arm) and draws(arm):
            params["max_tokens"] = arm.max_tokens
        if judged(arm) or self.study.training.eval_attempts:
            inputs.append("problems.jsonl")
            params |= {"task": self.study.task.name, "judged": judge_params(self.work), **self._task_code()}
        if arm.from_ is not None:
            inputs.append(f"adapters/{run_name(arm.from_, seed)}")
        if arm.teacher_model is not None:
            params["teacher_model"] = self._student(arm.teacher_model)
            both = (student, arm.teacher_model)
            loads |= {"content": lambda: {**self.work.content_of(both[0]), **self.work.content_of(both[1])}}
        make = functools.partial(make_adapter, self.work, name, seed)
        return Node("train", run, tuple(inputs), (f"adapters/{run}",), params, make, launched=True, **loads)

    def _heldout(self, name: str) -> list[str]:
        """Return the path of an arm's validation rows, if the recipe evaluates during training."""
        return [heldout_file(name)] if self.study.training.eval_steps else []

    def _parity(self, name: str, seed: int) -> Node:
        student, run = self.study.student_of(name), run_name(name, seed)
        config = self.plain["evaluation"]
        params = {
            "student": self._evaluated(student),
            "parity": {key: config[key] for key in ("merge", "parity", "parity_limit", "batch_size")},
            "attempts": self.evaluation.attempts_with(name),
            "prompt": self.work.prompt(self.study.arms[name]),
            "max_tokens": self.plain["arms"][name]["max_tokens"],
            **self._task_code(),
        }
        make = functools.partial(self.evaluation.make_parity, name, seed)
        inputs = ("problems.jsonl", f"adapters/{run}")
        outputs = (f"adapters/{run}.parity.json",)
        return Node("parity", run, inputs, outputs, params, make, **self._loads(student))

    def _generate(self, name: str, seed: int) -> Node:
        """Build the node of one run of an arm: over the test problems, or over validation problems to choose it by."""
        study, arm, run = self.study, self.study.arms[arm_of(name)], run_name(name, seed)
        config = {key: value for key, value in self.plain["evaluation"].items() if key not in NOT_OF_GENERATION}
        params = {
            "arm": {key: value for key, value in plain(arm).items() if key not in NOT_OF_ATTEMPTS},
            "student": self._evaluated(study.student_of(arm)),
            "evaluation": config,
            "seed": study.seed,
            "format": study.format,
            "prompt": self.work.prompt(arm),
            "hint": self.work.task.answer_hint,
        }
        if name in self._held:
            params["choose_on"] = choose_on(study.task.name, study.evaluation.choose_on)
        inputs = ["problems.jsonl"]
        if self.work.shows_plan(arm):
            inputs.append(f"plans/{name}.jsonl")
        if arm.forced is not None:
            inputs.append(self._forced_from(name, seed))
        if arm.prompt == "few-shot" and arm.shots_with_traces:
            folders = ("traces", "validation", *(("reviewed",) if arm.traces == "reviewed" else ()))
            inputs += [f"{folder}/{study.teacher_of(arm)}.jsonl" for folder in folders]
        adapter = study.adapter_of(arm_of(name))
        if adapter is not None:
            tuned = f"adapters/{run_name(adapter, seed)}"
            inputs += [tuned, f"{tuned}.parity.json"]
        make = functools.partial(self.evaluation.make_attempts, name, seed)
        launched = spreads(study, study.student_config(arm))
        outputs = (f"generations/{run}.jsonl",)
        loads = self._loads(study.student_of(arm))
        return Node("generate", run, tuple(inputs), outputs, params, make, launched=launched, **loads)

    def _forced_from(self, name: str, seed: int) -> str:
        """Return the file of traces that an arm's student is prefilled with."""
        if self.study.arms[name].forced == OWN:
            return f"generations/{run_name(self.study.twin_of(name) or '', seed)}.jsonl"
        return f"forced/{name}.jsonl"

    def _score(self, name: str) -> Node:
        runs, arm = self.evaluation.runs_of(name), self.study.arms[arm_of(name)]
        params = {"trace_wanted": self.work.trace_wanted(arm), "task": self.study.task.name}
        params |= self._task_code()
        inputs = ["problems.jsonl", *(f"generations/{run}.jsonl" for run in runs)]
        if arm.forced is not None:
            inputs += sorted({self._forced_from(name, seed) for seed in range(len(runs))})
        make = functools.partial(self.evaluation.make_scores, name)
        return Node("score", name, tuple(inputs), (f"attempts/{name}.jsonl",), params, make)

    def _attribute(self, entry: AttributionConfig) -> Node:
        teacher = self.study.teacher_of(entry.plan)
        arms = [name for name in (entry.plan, entry.gold, entry.again) if name is not None]
        params = {"arms": arms, "task": self.study.task.name, "seed": self.study.seed, **self._task_code()}
        inputs = ["problems.jsonl", f"plans/{entry.plan}.jsonl", f"validation/{teacher}.jsonl"]
        inputs += [f"attempts/{name}.jsonl" for name in dict.fromkeys(arms)]
        outputs = tuple(f"attribution/{entry.plan}.{ending}" for ending in ("json", "jsonl", "failures.md"))
        make = functools.partial(make_attribution, self.work, entry)
        return Node("attribute", entry.plan, tuple(inputs), outputs, params, make)

    def _report(self) -> Node:
        study = self.study
        recipe = {key: value for key, value in self.plain.items() if key not in NOT_REPORTED}
        params = {"recipe": recipe, "version": __version__}  # another version may write another page
        inputs = ["problems.jsonl", "problems.report.json", "assembly.json"]
        inputs += [f"attempts/{name}.jsonl" for name in (*study.arms, *self._held)]
        inputs += [f"plans/{name}.jsonl" for name, arm in study.arms.items() if self.work.shows_plan(arm)]
        inputs += [f"attribution/{entry.plan}.json" for entry in study.attribution]
        for teacher in self.teachers.needed():
            inputs += [f"traces/{teacher}.failures.jsonl", f"validation/{teacher}.report.json"]
        imported = self.work.run.path("imported.json")
        if imported.exists():
            inputs += ["imported.json", *(f"attempts/{name}.jsonl" for name in read_json(imported)["arms"])]
        inputs += [name for name in ("sweep.json", ENGINE_CHECK) if self.work.run.path(name).exists()]
        return Node("report", "", tuple(inputs), REPORT_FILES, params, functools.partial(make_report, self.work))


def learns_otherwise(arm: Arm) -> bool:
    """Return whether an arm's adapter depends on more than its rows: another method or start."""
    return arm.method != "sft" or arm.from_ is not None
