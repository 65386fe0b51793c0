"""Make the nodes of a study in order, skipping those that are complete."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tracedistill.errors import InputError
from tracedistill.forecast.calibration import device_of
from tracedistill.forecast.estimates import LAUNCH_SECONDS
from tracedistill.forecast.records import StudyForecast
from tracedistill.forecast.table import duration
from tracedistill.pipeline.forecast import Forecaster
from tracedistill.pipeline.graph import Clock, Node, discard
from tracedistill.pipeline.launch import launch as launch_nodes
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import arm_of, arm_of_run, run_name
from tracedistill.records import node_name


def make_nodes(work: StudyRun, wanted: Sequence[Node]) -> list[str]:
    """Make the incomplete nodes in this order; return their names."""
    made = []
    work.screen.plan([node.name for node in work.run.incomplete(wanted)])
    forecast = False
    for node in wanted:
        state = work.run.state(node)
        if state.kind == "complete":
            continue
        if state.kind == "damaged":
            raise InputError(f"{work.run.folder}: {state.reason}")
        reads = f" from {', '.join(node.inputs)}" if node.inputs else ""
        work.screen.say(f"{node.name}: {state.reason}; writes {', '.join(node.outputs)}{reads}")
        if node.launched or node.kind == "parity":
            work.serving.stop()  # it occupies the device's memory
        here = node.student is not None and work.study.students[node.student].loads_weights
        if node.kind == "train" or (node.kind == "generate" and here and work.screen.shows_whole):
            if not forecast:
                work.screen.doing("forecast of adapters and attempts")
                _say_time(work, wanted)
            forecast = True
        if node.launched:
            # one launch for all of its kind: the libraries are loaded once
            made += launch_nodes(work, node.kind, [other for other in wanted if other.kind == node.kind])
        else:
            _run_node(work, node)
            made.append(node.name)
        work.run.publish()
    return made


def _say_time(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Print before the first adapter how long adapters and attempts will take, by the dry run's forecast."""
    graph = Graph(work)
    forecaster = Forecaster(work, graph.evaluation, graph.nodes(), functools.partial(device_of, None))
    forecast = forecaster.forecast()
    for line in forecaster.crowded:
        work.screen.say(f"  {line}")
    seconds = _expected(work, forecast)
    work.screen.expect(seconds)
    stale = [node for node in work.run.incomplete(wanted) if node.name in seconds]
    adapters = [seconds[node.name] for node in stale if node.kind == "train"]
    attempts = {node.of: seconds[node.name] for node in stale if node.kind == "generate"}
    parts = [f"{duration(sum(adapters) + LAUNCH_SECONDS)} for {len(adapters)} adapters"] if adapters else []
    if attempts:
        parts.append(f"{duration(sum(attempts.values()))} for {len(set(map(arm_of_run, attempts)))} arms' attempts")
    if parts:
        kind = "(a guess on a GPU)" if any(device.kind == "gpu" for device in forecast.devices) else ""
        work.screen.say(f"  about {', then about '.join(parts)} if nothing else runs here{kind}")


def _expected(work: StudyRun, forecast: StudyForecast) -> dict[str, float]:
    """Return node -> forecast seconds, of each training and each run of an arm."""
    seconds: dict[str, float] = {}
    for tuning in forecast.tunings:
        if tuning.need is not None:
            for seed in range(tuning.seeds):
                seconds[node_name("train", run_name(tuning.arm, seed))] = tuning.need.seconds
    for estimate in forecast.evaluations:
        if estimate.need is not None:
            arm = arm_of(estimate.arm)
            runs = len(work.study.runs_of(arm)) if arm in work.study.arms else 1  # else: an adapter's merging check
            for seed in range(runs):
                seconds[node_name("generate", run_name(estimate.arm, seed))] = estimate.need.seconds / runs
    return seconds


def _run_node(work: StudyRun, node: Node) -> None:
    clock = Clock()
    discard(work.run.path(node.manifest))  # the outputs are incomplete from here on
    work.parts = work.run.parts(node)
    with work.screen.piece(node.name):
        try:
            facts = node.run() or {}
        finally:
            work.compute.close()  # the next node may need the memory
        work.run.record(node, clock.seconds(), {**work.facts(), **facts})
    work.run.discard_parts(node)
