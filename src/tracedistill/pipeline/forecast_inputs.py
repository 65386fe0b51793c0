"""What a forecast looks up once: problems, sizes and token counters of students, devices."""

from __future__ import annotations

from collections.abc import Callable

from tracedistill.engines.sizes import ModelSize, size_of
from tracedistill.forecast.estimates import Device
from tracedistill.forecast.tokens import TokenCounter
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.records import Problem

Devices = Callable[[str], Device]
"""dtype -> device that runs students of it."""


class ForecastInputs:
    """The problems, students and devices of one study, each looked up when it is first needed."""

    def __init__(self, work: StudyRun, device_of: Devices, unknown: list[str]) -> None:
        """`unknown`: takes a line about each student whose size is not known."""
        self.work = work
        self.study = work.study
        self.device_of = device_of
        self.unknown = unknown
        self.sizes: dict[str, ModelSize | None] = {}
        self.counters: dict[str, TokenCounter] = {}
        self.devices: dict[str, Device] = {}
        self.by_role: dict[str, list[Problem]] = {}

    def problems(self, role: str) -> list[Problem]:
        """Return the problems of a split; they must have been drawn."""
        if not self.by_role:
            for problem in self.work.problems():
                self.by_role.setdefault(problem.split, []).append(problem)
        return self.by_role.get(role, [])

    def counter(self, student: str) -> TokenCounter:
        """Return what counts a student's tokens."""
        if student not in self.counters:
            self.counters[student] = TokenCounter(self.study.students[student], self.study.format)
        return self.counters[student]

    def size(self, student: str) -> ModelSize | None:
        """Return a student's size; None, and a line in `unknown`, if it is not known."""
        if student not in self.sizes:
            model = self.study.students[student].model
            self.sizes[student] = size_of(model)
            if self.sizes[student] is None:
                self.unknown.append(
                    f"student {student}: the size of '{model}' is unknown, so memory and time are not estimated"
                )
        return self.sizes[student]

    def device(self, dtype: str) -> Device:
        """Return the device that runs students of a dtype."""
        if dtype not in self.devices:
            self.devices[dtype] = self.device_of(dtype)
        return self.devices[dtype]

    def assumptions(self) -> list[str]:
        """Return lines on what the estimates are based on."""
        devices = dict.fromkeys(self.devices.values())
        lines = [f"{device.name}: {device.source}; with nothing else running" for device in devices]
        known = {student: size for student, size in self.sizes.items() if size is not None}
        lines += [f"{name}: {size.parameters / 1e6:.0f}M weights, by {size.source}" for name, size in known.items()]
        if self.study.training.eval_steps and self.study.tuned_arms():
            lines.append("training.eval_steps: an evaluation is estimated as one forward pass over its rows")
        for how in dict.fromkeys(counter.said for counter in self.counters.values()):
            names = [student for student, counter in self.counters.items() if counter.said == how]
            lines.append(f"lengths of {', '.join(names)}: by {how}")
        if any(device.kind == "gpu" for device in devices):
            lines.append("GPU speeds are guesses (30% of the data sheet's, small kernels), not measured")
        lines.append("one process, adapters and arms in sequence; accurate to a factor of two at best")
        return lines
