"""Make the nodes of a study one after another; complete, unchanged ones are skipped."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tracedistill.engines.scripted import SCRIPTED
from tracedistill.errors import InputError
from tracedistill.forecast.calibration import device_of
from tracedistill.forecast.estimates import LAUNCH_SECONDS
from tracedistill.forecast.records import StudyForecast
from tracedistill.forecast.table import duration
from tracedistill.pipeline.forecast import Forecaster
from tracedistill.pipeline.graph import Clock, Node, NodeState, discard
from tracedistill.pipeline.launch import launch as launch_nodes
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import arm_asked, run_name
from tracedistill.records import node_name


def make_nodes(work: StudyRun, wanted: Sequence[Node]) -> list[str]:
    """Make the incomplete nodes in this order; return their names."""
    made = []
    work.screen.plan([node.name for node in wanted if work.run.state(node).kind != "complete"])
    forecast = False
    for node in wanted:
        state = work.run.state(node)
        if state.kind == "complete":
            continue
        if state.kind == "damaged":
            raise InputError(f"{work.run.folder}: {state.reason}")
        _announce(work, node, state)
        if node.launched or node.kind == "parity":
            work.serving.stop()  # it occupies the device's memory
        if node.kind == "train" or (node.kind == "generate" and work.screen.shows_whole and _runs_here(work, node)):
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
    return made


def _say_time(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Print before the first adapter how long adapters and attempts will take, by the dry run's forecast."""
    graph, stale = Graph(work), {(node.kind, node.of) for node in wanted if work.run.state(node).kind != "complete"}
    forecaster = Forecaster(work, graph.attempting, graph.nodes(), functools.partial(device_of, None))
    forecast = forecaster.forecast()
    for line in forecaster.crowded:
        work.screen.say(f"  {line}")
    adapters = [
        tuning.need.seconds
        for tuning in forecast.tunings
        for seed in range(tuning.seeds)
        if tuning.need is not None and ("train", run_name(tuning.arm, seed)) in stale
    ]
    attempts = [
        asking.need.seconds
        for asking in forecast.askings
        if asking.need is not None and ("generate", run_name(asking.arm, 0)) in stale
    ]
    parts = [f"{duration(sum(adapters) + LAUNCH_SECONDS)} for {len(adapters)} adapters"] if adapters else []
    parts += [f"{duration(sum(attempts))} for {len(attempts)} arms' attempts"] if attempts else []
    work.screen.expect(_expected(forecast))
    if parts:
        kind = "(a guess on a GPU)" if any(device.kind == "gpu" for device in forecast.devices) else ""
        work.screen.say(f"  about {', then about '.join(parts)} if nothing else runs here{kind}")


def _runs_here(work: StudyRun, node: Node) -> bool:
    """Return whether a node loads a student's weights on this machine."""
    config = None if node.student is None else work.study.students[node.student]
    return config is not None and config.base_url is None and not config.model.startswith(SCRIPTED)


def _expected(forecast: StudyForecast) -> dict[str, float]:
    """Return the forecast seconds of each training and each run of an arm."""
    seconds: dict[str, float] = {}
    for tuning in forecast.tunings:
        if tuning.need is not None:
            seconds |= {node_name("train", run_name(tuning.arm, seed)): tuning.need.seconds
                      for seed in range(tuning.seeds)}  # fmt: skip
    seeds = {tuning.arm: tuning.seeds for tuning in forecast.tunings}
    for asking in forecast.askings:
        if asking.need is not None:
            runs = seeds.get(arm_asked(asking.arm), 1)
            seconds |= {node_name("generate", run_name(asking.arm, seed)): asking.need.seconds / runs
                      for seed in range(runs)}  # fmt: skip
    return seconds


def _announce(work: StudyRun, node: Node, state: NodeState) -> None:
    reads = f" from {', '.join(node.inputs)}" if node.inputs else ""
    work.screen.say(f"{node.name}: {state.reason}; writes {', '.join(node.outputs)}{reads}")


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
