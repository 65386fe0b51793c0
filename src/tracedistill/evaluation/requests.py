"""The requests of an arm: its prompt for every problem, plan and sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracedistill.chat.formats import prefill_text
from tracedistill.chat.prompts import needs_plan
from tracedistill.engines import Request, Sampling
from tracedistill.errors import InputError
from tracedistill.files import content_id
from tracedistill.recipes import Arm
from tracedistill.records import Problem, Trace
from tracedistill.sft.messages import PromptSpec, messages_for


def shots_for(arm: Arm, train: Sequence[Problem], seed: int) -> list[Problem]:
    """Choose the solved examples of a few-shot arm: the same for all test problems, different categories first."""
    if arm.prompt != "few-shot":
        return []
    if len(train) < arm.shots:
        raise InputError(f"few-shot needs {arm.shots} training problems, but the study has {len(train)}")
    order = sorted(train, key=lambda problem: content_id(seed, "shot", problem.problem_id))
    first_of_kind = {problem.category: problem for problem in reversed(order)}
    kinds = sorted(first_of_kind.values(), key=order.index)
    return (kinds + [problem for problem in order if problem not in kinds])[: arm.shots]


@dataclass(frozen=True, slots=True)
class ArmRequests:
    """The requests of one arm, and the traces they use."""

    requests: list[Request]
    """One per problem, plan and sample, in the problems' order; the id is `<problem_id>/<number>`."""
    shown: dict[str, Trace]
    """Request id -> the plan that it shows, or the trace that it forces."""


def requests_for(
    spec: PromptSpec,
    problems: Sequence[Problem],
    plans: Mapping[str, Sequence[Trace | None]],
    forced: Mapping[str, Trace],
) -> ArmRequests:
    """Build the requests of an arm. Problems that lack a required plan or forced trace get no request.

    `plans`: problem_id -> its plans, `arm.plans` of them; number n shows plan n // samples. `forced`: problem_id -> the
    trace prefilled into the student's answer.
    """
    arm, samples = spec.arm, spec.samples
    shows = needs_plan(spec.template)
    sampling = Sampling(max_tokens=arm.max_tokens, temperature=spec.temperature)
    requests: list[Request] = []
    shown: dict[str, Trace] = {}
    for problem in problems:
        trace = forced.get(problem.problem_id)
        if arm.forced is not None and trace is None:
            continue
        prefill = "" if trace is None else prefill_text(trace.text, spec.format)
        seed = int(content_id(spec.seed, problem.problem_id)[:12], 16)
        own = plans.get(problem.problem_id, ()) if shows else (None,) * arm.plans
        for number, plan in enumerate(own):
            if shows and plan is None:
                continue
            messages = messages_for(spec, problem, plan)
            for sample in range(number * samples, (number + 1) * samples):
                key = f"{problem.problem_id}/{sample}"
                requests.append(Request(key, messages, sampling, seed=seed, sample=sample % samples, prefill=prefill))
                seen = trace if trace is not None else plan
                if seen is not None:
                    shown[key] = seen
    return ArmRequests(requests, shown)
