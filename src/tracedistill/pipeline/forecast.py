"""The forecast of a study: rows, tokens, steps, memory and time of every arm, before anything is tuned or paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from tracedistill.chat.prompts import PROMPTS
from tracedistill.engines import Request
from tracedistill.errors import InputError
from tracedistill.evaluation.requests import requests_for
from tracedistill.files import read_jsonl
from tracedistill.forecast.estimates import (
    Need,
    PromptLengths,
    RowLengths,
    evaluation_need,
    evaluations,
    like,
    longest_fitting,
    training_need,
    trial_need,
)
from tracedistill.forecast.methods import curve_need, method_need, rollouts_of
from tracedistill.forecast.records import EvaluationEstimate, StudyForecast, Trial, TuningEstimate
from tracedistill.forecast.tokens import TokenCounter
from tracedistill.pipeline.checks import trials_to_make
from tracedistill.pipeline.evaluate import PAYS, Evaluation
from tracedistill.pipeline.expected_rows import Lengths, by_problem, foreseen_rows
from tracedistill.pipeline.forecast_inputs import Devices, ForecastInputs
from tracedistill.pipeline.graph import Node
from tracedistill.pipeline.preflight import limits_of
from tracedistill.pipeline.sft_rows import heldout_file
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teacher_quotes import quotes
from tracedistill.recipes import SCRIPTED, arm_of, candidates, choose_on, draws, on_validation
from tracedistill.records import Example, Problem
from tracedistill.sft.messages import PromptSpec
from tracedistill.sft.preflight import SHORT_ROWS, preflight

UNTUNED_WRITES = 0.15
"""Approximate share of `max_tokens` that an untuned student generates: 0.06 to 0.14 in the quickstart."""


class Forecaster:
    """Forecasts one study; nothing is tuned, called or downloaded."""

    def __init__(
        self, work: StudyRun, evaluation: Evaluation, nodes: Sequence[Node], devices: Devices, shared: int = 1
    ) -> None:
        """Prepare a forecast. `shared`: processes that share one row in training (context parallelism)."""
        self.shared = shared
        self.work = work
        self.study = work.study
        self.evaluation = evaluation
        self.complete = {node.name for node in nodes if work.run.state(node).kind == "complete"}
        self.tried = trials_to_make(work, nodes)
        self.unknown: list[str] = []
        self.inputs = ForecastInputs(work, devices, self.unknown)
        self.refused: list[str] = []
        self.crowded: list[str] = []
        """Arms whose prompts plus max_tokens exceed the context window."""

    def forecast(self, failed: Sequence[str] = (), hidden: Sequence[str] = ()) -> StudyForecast:
        """Forecast everything. `failed`: errors that would stop a run; `hidden`: what could not be examined."""
        self.refused += failed
        self.unknown += hidden
        tunings: dict[str, TuningEstimate] = {}
        for student in dict.fromkeys(self.study.student_of(name) for name in self.study.tuned_arms()):
            tunings |= self._tunings(student)
        held = [on_validation(name) for name in candidates(self.study)]
        evaluations = [self._estimate_evaluation(name, tunings) for name in (*self.study.arms, *held)]
        evaluations += self._merging(tunings, evaluations)
        trials = [self._trial(node) for node in self.tried]
        refused = [*self.refused, *(line for counter in self.inputs.counters.values() for line in counter.refused)]
        return StudyForecast(
            self.study,
            tuple(tunings[name] for name in self.study.tuned_arms()),
            tuple(evaluations),
            tuple(quotes(self.work, self.complete)),
            tuple(self.inputs.devices.values()),
            tuple(self.inputs.assumptions()),
            tuple(dict.fromkeys([*self.crowded, *self.unknown])),
            tuple(dict.fromkeys(refused)),
            tuple(trials),
        )

    def _trial(self, node: Node) -> Trial:
        """Return what a student's trial would take."""
        config, size = self.study.students[node.of], self.inputs.size(node.of)
        device = self.inputs.device(config.dtype)
        training = self.study.training if node.params["training"] is not None else None
        need = None if size is None or not device.known else trial_need(size, training, config, device)
        return Trial(node.of, training is not None, need)

    # ---- tuning

    def _tunings(self, student: str) -> dict[str, TuningEstimate]:
        """Forecast the tuned arms of one student. A row too long for one of them is left out of all."""
        config, training = self.study.students[student], self.study.training
        if config.model.startswith(SCRIPTED):
            self.refused.append(f"student {student}: a scripted student cannot be tuned")
        elif training.eval_steps and config.quantization == "nf4" and self.inputs.device(config.dtype).kind == "cpu":
            self.refused.append(
                f"student {student}: training.eval_steps: 4-bit weights on a CPU are not evaluated between steps; set 0"
            )
        counted = {name: self._rows(name, student) for name in self.work.arms_of(student)}
        heldout = {name: self._heldout(name, student) for name in counted}
        long = {
            problem_id
            for rows in (*(rows for rows, _ in counted.values()), *heldout.values())
            for problem_id, lengths in (rows or {}).items()
            if max(length for length, _ in lengths) > training.max_length
        }
        if long:
            refusal = f"student {student}: {len(long)} rows are over training.max_length={training.max_length}"
            if training.too_long == "error":
                self.refused.append(f"{refusal}, and too_long is error")
            else:
                self.unknown.append(f"{refusal} and are left out of every arm")
        tunings = {}
        for name, (rows, at_most) in counted.items():
            self._check_limits(name, rows or {}, long, at_most)
            lengths = self._assumed() if rows is None else _summed(rows, long)
            if lengths is not None and not lengths.rows:
                self.refused.append(f"arm {name}: no training rows are left")
            if lengths is None:
                tunings[name] = TuningEstimate(name, student, None, 0, training.seeds, None, at_most)
                continue
            mine = heldout[name]
            held = like(lengths, self._heldout_count()) if mine is None else _summed(mine, long)
            tunings[name] = self._tuning(name, student, lengths, held, at_most=at_most)
        return tunings

    def _tuning(
        self, name: str, student: str, lengths: RowLengths, heldout: RowLengths, *, at_most: bool
    ) -> TuningEstimate:
        """Forecast the training of one tuned arm from its row lengths."""
        config, training, arm = self.study.students[student], self.study.training_of(name), self.study.arms[name]
        steps, size = training.optimizer_steps(lengths.rows), self.inputs.size(student)
        need, fits = None, 0
        device = self.inputs.device(config.dtype)
        if size is not None and device.known:
            if arm.method == "sft":
                need = training_need(size, lengths, training, config, device, heldout, self.shared)
            else:
                teacher = None if arm.teacher_model is None else self.inputs.size(arm.teacher_model)
                need = method_need(size, arm, lengths, training, config, device, teacher)
            curve = curve_need(size, arm, lengths, training, config, device) if heldout.rows else 0.0
            need = replace(need, seconds=need.seconds + curve)
            if device.memory:
                fits = longest_fitting(size, lengths, training, config, device, self.shared)
        evaluated = heldout.rows and (arm.method == "sft" or training.eval_attempts)
        times = evaluations(steps, training) if evaluated else 0
        rollouts = rollouts_of(arm, lengths, training) if draws(arm) else None
        return TuningEstimate(
            name, student, lengths, steps, training.seeds, need, at_most, heldout, times, fits, rollouts
        )

    def _check_limits(self, name: str, rows: Lengths, long: Set[str], at_most: bool) -> None:
        """Report rows that are longer than an arm may generate, as the preflight would."""
        if self.study.arms[name].rationale_weight is not None:
            return  # the trace is a row of its own, which evaluation does not prompt for
        learnt = [most for key, lengths in rows.items() if key not in long for _, most in lengths]
        for arm, limit in limits_of(self.work, name).items():
            over = sum(length > limit for length in learnt)
            if not over:
                continue
            message = (
                f"arm {arm}: {over} of {len(learnt)} rows {'may ' if at_most else ''}have more supervised tokens than "
                f"the arm may generate (max_tokens: {limit}); set base.max_tokens to {max(learnt)}"
            )
            stops = over > SHORT_ROWS * len(learnt) and self.study.evaluation.cut_off == "refuse" and not at_most
            (self.refused if stops else self.unknown).append(message)

    def _heldout(self, name: str, student: str) -> Lengths | None:
        """Return problem_id -> lengths of an arm's validation rows; None if they do not exist or are not used."""
        if not self.study.training.eval_steps:
            return {}
        if "assemble" not in self.complete:
            return None
        examples = list(read_jsonl(self.work.run.path(heldout_file(name)), Example))
        return by_problem(examples, self.inputs.counter(student).rows(examples))

    def _heldout_count(self) -> int:
        """Return an upper bound on validation rows, if they do not exist yet."""
        most = self.study.training.eval_rows
        there = len(self.inputs.problems("validation")) if "problems" in self.complete else self.study.task.validation
        return most if there is None else min(most, there)

    def _rows(self, name: str, student: str) -> tuple[Lengths | None, bool]:
        """Return (lengths of an arm's rows, whether they are upper bounds); None: no rows."""
        if "assemble" in self.complete:
            examples, extra = list(read_jsonl(self.work.run.path(f"sft/{name}.jsonl"), Example)), 0
        elif "problems" in self.complete:
            problems = self.inputs.problems("train")
            examples, extra = foreseen_rows(self.work, self.complete, name, problems)
            if extra:
                self.unknown.append(
                    f"the traces of {self.study.teacher_of(name)} are missing: its rows are counted "
                    f"as all {len(problems)} training problems, with traces of at most {extra} tokens"
                )
        else:
            return None, True
        meter = self.inputs.counter(student)
        self._try_template(meter, examples[:2], name)
        counted = meter.rows(examples)
        if not extra:
            return by_problem(examples, counted), False
        limit = self.study.training.max_length
        most = [(min(length + extra, limit), learnt + extra) for length, learnt in counted]
        if self.study.arms[name].rationale_weight is None:
            return by_problem(examples, most), True
        return by_problem([*examples, *examples], [*counted, *most]), True  # the answer alone, and the trace

    def _assumed(self) -> RowLengths | None:
        """Return the row lengths that the recipe alone implies."""
        rows, length = self.study.task.train, self.study.training.max_length
        if rows is None:
            self.unknown.append("the problems are missing and task.train gives no number: no rows are counted")
            return None
        self.unknown.append(
            f"the problems are missing: task.train={rows} rows of max_length={length} tokens are assumed, the maximum"
        )
        return RowLengths(rows, rows * length, rows * length // 2, length)

    def _try_template(self, meter: TokenCounter, examples: Sequence[Example], name: str) -> None:
        """Check that the student's chat template accepts an arm's rows; the full preflight runs before training."""
        if meter.tokenizer is None or not examples:
            return
        try:
            preflight(meter.tokenizer, examples, 1 << 30, "error", name, self.study.format)
        except InputError as error:
            self.refused.append(str(error))

    # ---- evaluation

    def _estimate_evaluation(self, name: str, tunings: Mapping[str, TuningEstimate]) -> EvaluationEstimate:
        arm, student = self.study.arms[arm_of(name)], self.study.student_of(arm_of(name))
        config = self.study.students[student]
        runs = len(self.evaluation.runs_of(name))
        lengths, at_most = self._prompts(name, student, tunings)
        if lengths is not None:
            lengths = replace(lengths, requests=runs * lengths.requests, tokens=runs * lengths.tokens)
        if config.base_url is not None or config.model.startswith(SCRIPTED):
            usd = 0.0
            if lengths is not None:
                out = lengths.requests * arm.max_tokens * config.usd_per_million_out
                usd = (lengths.tokens * config.usd_per_million_in + out) / 1e6
            return EvaluationEstimate(name, student, lengths, None, usd, at_most)
        size = self.inputs.size(student)
        if size is None or lengths is None or not self.inputs.device(config.dtype).known:
            return EvaluationEstimate(name, student, lengths, None, 0.0, at_most)
        adapter = self.study.adapter_of(arm_of(name))
        merged = adapter is not None and self._merges(adapter)
        need = evaluation_need(
            size, lengths, self.study.evaluation.batch_size, config, self.inputs.device(config.dtype), merged
        )  # fmt: skip
        return EvaluationEstimate(name, student, lengths, need, 0.0, at_most)

    def _prompts(
        self, name: str, student: str, tunings: Mapping[str, TuningEstimate]
    ) -> tuple[PromptLengths | None, bool]:
        """Return one run's prompts, and whether their answers are counted at full length."""
        study, own = self.study, arm_of(name)
        arm, held = study.arms[own], own != name
        lender = tunings.get(study.adapter_of(own) or "")
        written, at_most, longest_written = UNTUNED_WRITES * arm.max_tokens, True, float(arm.max_tokens)
        if lender is not None and lender.lengths is not None and not lender.at_most and not self.work.shows_plan(arm):
            # a tuned student writes what it was tuned on; after a forced trace at most that
            mean = lender.lengths.supervised / max(1, lender.lengths.rows)
            written, at_most = min(mean, float(arm.max_tokens)), False
            longest_written = min(1.5 * mean, float(arm.max_tokens))
        if "problems" not in self.complete:
            asked_of = study.task.validation if held else study.task.test
            if asked_of is None:
                role = "validation" if held else "test"
                self.unknown.append(f"the problems are missing and task.{role} gives no number: no prompts are counted")
                return None, at_most
            if held:
                asked_of = min(asked_of, choose_on(study.task.name, study.evaluation.choose_on))
            requests = asked_of * study.samples_of(own)
            length = max(1, study.training.max_length - arm.max_tokens)
            return PromptLengths(requests, requests * length, length, written, arm.max_tokens), at_most
        meter = self.inputs.counter(student)
        problems, extra = self.evaluation.problems_of(name) if held else self.inputs.problems("test"), 0
        try:
            requested = self.evaluation.requests_of(name, problems).requests
        except InputError:  # no plans or traces yet
            requested, extra = self._without(own, problems)
        counted = meter.prompts(requested)
        self._check_window(name, [length + extra for length in counted])
        longest = max(counted, default=0) + extra
        tokens = sum(counted) + extra * len(counted)
        shared = meter.shared(requested)
        return PromptLengths(len(counted), tokens, longest, written, arm.max_tokens, shared, longest_written), at_most

    def _check_window(self, name: str, lengths: Sequence[int]) -> None:
        """Record prompts that leave no room for an answer in the student's context window; they are skipped."""
        arm = self.study.arms[arm_of(name)]
        student = self.study.student_of(arm)
        config = self.study.students[student]
        size = None if config.base_url is not None or config.model.startswith(SCRIPTED) else self.inputs.size(student)
        if size is None or not size.context:
            return
        over = sum(length + arm.max_tokens > size.context for length in lengths)
        if over:
            self.crowded.append(
                f"arm {name}: {over} of {len(lengths)} prompts and max_tokens={arm.max_tokens} exceed the context "
                f"window of student {student} ({size.context} tokens), so that they are not asked and count as too "
                f"long; the longest prompt has {max(lengths)} tokens: lower base.max_tokens, or show less"
            )

    def _without(self, name: str, problems: Sequence[Problem]) -> tuple[list[Request], int]:
        """Return (an arm's prompts without missing parts, the most tokens of these parts)."""
        study, arm = self.study, self.study.arms[name]
        student = study.student_config(arm)
        plain = replace(arm, prompt="standard", forced=None)
        prompts = PromptSpec(
            self.work.task, plain, PROMPTS["standard"], student.system, study.format,
            study.samples_of(name) // arm.plans, 0.0, study.seed,
        )  # fmt: skip
        most = study.teachers[study.teacher_of(arm)].max_tokens
        shown = arm.shots if arm.prompt == "few-shot" else 1
        return requests_for(prompts, problems, {}, {}).requests, most * shown

    def _merges(self, adapter: str) -> bool:
        """Return whether an arm's adapter would be checked and then merged."""
        config, study = self.study.evaluation, self.study
        if config.merge == "never" or study.student_config(adapter).quantization != "none":
            return False
        test = len(self.inputs.problems("test")) if "problems" in self.complete else study.task.test or 0
        return config.merge == "checked" or self.evaluation.attempts_with(adapter) * test >= PAYS * config.parity

    def _merging(
        self, tunings: Mapping[str, TuningEstimate], evaluations: Sequence[EvaluationEstimate]
    ) -> list[EvaluationEstimate]:
        """Forecast the greedy answers, merged and separate, of the check before merging."""
        estimates = []
        asked = {evaluation.arm: evaluation for evaluation in evaluations}
        for name, tuning in tunings.items():
            lengths, need = asked[name].lengths, asked[name].need
            if lengths is None or need is None or not self._merges(name):
                continue
            wanted = 2 * tuning.seeds * min(self.study.evaluation.parity, self._spare())
            share = wanted / max(1, lengths.requests)
            both = replace(lengths, requests=wanted, tokens=round(share * lengths.tokens))
            check = Need(share * need.seconds, need.memory)
            label = f"{name} (merging check)"
            estimates.append(EvaluationEstimate(label, tuning.student, both, check, 0.0, asked[name].at_most))
        return estimates

    def _spare(self) -> int:
        """Return the number of problems on which adapters are checked before merging."""
        if "problems" not in self.complete:
            return self.study.evaluation.parity
        return len(self.inputs.problems("validation") or self.inputs.problems("train"))


def _summed(rows: Lengths, without: Set[str]) -> RowLengths:
    """Sum the lengths of the rows that are kept."""
    kept = [length for problem_id, lengths in rows.items() if problem_id not in without for length in lengths]
    whole = [length for length, _ in kept]
    return RowLengths(len(kept), sum(whole), sum(learnt for _, learnt in kept), max(whole, default=0))
