"""The graph of a study: each piece with the files that it reads and writes, and the settings that it depends on."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tracedistill.pipeline.graph import Node
from tracedistill.pipeline.judging import judge_params
from tracedistill.pipeline.work import Workshop

STAGES = ("problems", "teach", "validate", "assemble", "train", "evaluate", "report")
"""In the order in which they run; all but the first are subcommands."""


class Graph:
    """The pieces of one study."""

    def __init__(self, work: Workshop) -> None:
        self.work = work
        self.study = work.study
        self.plain = work.plain

    def nodes(self) -> list[Node]:
        """All pieces of the study, upstream first."""
        study = self.study
        nodes = [self._problems()]
        teachers = self.work.teaching.needed()
        for teacher in teachers:
            nodes += [self._teach(teacher), self._validate(teacher)]
        nodes.append(self._assemble(teachers))
        students = sorted({study.student_of(study.arms[name]) for name in study.tuned_arms()})
        nodes += [self._preflight(student) for student in students]
        nodes += [self._train(name) for name in study.tuned_arms()]
        for name in study.arms:
            nodes += [self._generate(name), self._score(name)]
        nodes.append(self._report())
        return nodes

    def _problems(self) -> Node:
        params = {"task": self.plain["task"], "seed": self.study.seed, "overlap": self.study.validation.overlap}
        return Node(
            "problems", "problems", (), ("problems.jsonl", "problems.report.json"), params, self.work.make_problems
        )

    def _teach(self, teacher: str) -> Node:
        source = self.work.teaching.source_of(teacher)
        inputs = ("problems.jsonl", *((f"traces/{source}.jsonl",) if source else ()))
        outputs = (f"traces/{teacher}.jsonl", f"traces/{teacher}.failures.jsonl")
        run = functools.partial(self.work.teaching.make, teacher)
        return Node(f"teach:{teacher}", "teach", inputs, outputs, self.work.teaching.params(teacher), run)

    def _validate(self, teacher: str) -> Node:
        params = {"validation": judge_params(self.work), "task": self.study.task.name}
        inputs = ("problems.jsonl", f"traces/{teacher}.jsonl")
        run = functools.partial(self.work.make_validation, teacher)
        outputs = (f"validation/{teacher}.jsonl", f"validation/{teacher}.report.json")
        return Node(f"validate:{teacher}", "validate", inputs, outputs, params, run)

    def _assemble(self, teachers: Sequence[str]) -> Node:
        study = self.study
        outputs = [f"sft/{name}.jsonl" for name in study.tuned_arms()]
        outputs += [f"plans/{name}.jsonl" for name, arm in study.arms.items() if self.work.shows_plan(arm)]
        arms = {name: {key: value for key, value in self.plain["arms"][name].items() if key != "max_tokens"}
                for name in study.arms}  # fmt: skip
        params = {
            "arms": arms,
            "format": study.format,
            "seed": study.seed,
            "systems": {name: student.system for name, student in study.students.items()},
            "prompts": {arm.prompt: self.work.prompt(arm) for arm in study.arms.values()},
        }
        inputs = ["problems.jsonl"]
        for teacher in teachers:
            inputs += [f"traces/{teacher}.jsonl", f"validation/{teacher}.jsonl"]
        outputs.append("assembly.json")
        # the manifest lies beside the first output, which must not move when arms are added
        outputs.reverse()
        return Node("assemble", "assemble", tuple(inputs), tuple(outputs), params, self.work.make_datasets)

    def _preflight(self, student: str) -> Node:
        training = self.plain["training"]
        params = {
            "student": self.plain["students"][student],
            "max_length": training["max_length"],
            "too_long": training["too_long"],
        }
        inputs = tuple(f"sft/{name}.jsonl" for name in self.work.arms_of(student))
        run = functools.partial(self.work.make_preflight, student)
        return Node(f"preflight:{student}", "train", inputs, (f"sft/{student}.preflight.json",), params, run)

    def _train(self, name: str) -> Node:
        student = self.study.student_of(self.study.arms[name])
        params = {
            "training": self.plain["training"],
            "student": self.plain["students"][student],
            "seed": self.study.seed,
        }
        inputs = (f"sft/{name}.jsonl", f"sft/{student}.preflight.json")
        run = functools.partial(self.work.make_adapter, name)
        return Node(f"train:{name}", "train", inputs, (f"adapters/{name}",), params, run, launched=True)

    def _generate(self, name: str) -> Node:
        study, arm = self.study, self.study.arms[name]
        student = study.student_of(arm)
        params = {
            "arm": self.plain["arms"][name],
            "student": self.plain["students"][student],
            "evaluation": self.plain["evaluation"],
            "seed": study.seed,
            "format": study.format,
            "prompt": self.work.prompt(arm),
            "hint": self.work.task.answer_hint,
        }
        inputs = ["problems.jsonl"]
        if self.work.shows_plan(arm):
            inputs.append(f"plans/{name}.jsonl")
        if arm.prompt == "few-shot" and arm.shots_with_traces:
            inputs.append(f"traces/{study.teacher_of(arm)}.jsonl")
        if arm.tune is not None:
            inputs.append(f"adapters/{name}")
        run = functools.partial(self.work.make_attempts, name)
        return Node(f"generate:{name}", "evaluate", tuple(inputs), (f"generations/{name}.jsonl",), params, run)

    def _score(self, name: str) -> Node:
        params = {"trace_wanted": self.work.trace_wanted(self.study.arms[name]), "task": self.study.task.name}
        inputs = ("problems.jsonl", f"generations/{name}.jsonl")
        run = functools.partial(self.work.make_scores, name)
        return Node(f"score:{name}", "evaluate", inputs, (f"attempts/{name}.jsonl",), params, run)

    def _report(self) -> Node:
        study = self.study
        params = {"recipe": {key: value for key, value in self.plain.items() if key not in ("run_dir", "tracking")}}
        inputs = ["problems.jsonl", "problems.report.json", "assembly.json"]
        inputs += [f"attempts/{name}.jsonl" for name in study.arms]
        inputs += [f"plans/{name}.jsonl" for name, arm in study.arms.items() if self.work.shows_plan(arm)]
        for teacher in self.work.teaching.needed():
            inputs += [f"traces/{teacher}.failures.jsonl", f"validation/{teacher}.report.json"]
        outputs = ("report.json", "report.html", "report.md")
        return Node("report", "report", tuple(inputs), outputs, params, self.work.make_report)
