"""`requests` and `answers`: a study whose models are called elsewhere, through files (see request_files.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tracedistill.engines.batch_files import AnswerIndex, UnmatchedAnswer
from tracedistill.engines.vllm_engines import VllmTokenEngine
from tracedistill.errors import InputError
from tracedistill.pipeline.checks import pin
from tracedistill.pipeline.engines import Endpoint, arm_engine, teacher_engine
from tracedistill.pipeline.execution import make_nodes
from tracedistill.pipeline.free_stages import make_free
from tracedistill.pipeline.graph import Node, needed_by
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.paid_calls import HandedOver, open_cache
from tracedistill.pipeline.request_files import (
    AnswerCounts,
    AnswerReader,
    RequestFiles,
    RequestWriter,
    close_folder,
    open_folder,
    parts_of_run,
)
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teach import Teachers
from tracedistill.recipes import StudentConfig, Study, TeacherConfig, arm_of, arm_of_run, run_name

SHOWN = 3
"""Unmatched answers shown."""


@dataclass(slots=True)
class OpenWork:
    """What is to be requested elsewhere now, and what is not."""

    waits: dict[str, str] = field(default_factory=dict)
    """Node that calls a model -> node that must be made first."""
    here: list[str] = field(default_factory=list)
    """Models that run on this machine, by their name in the recipe."""
    failed: list[str] = field(default_factory=list)
    """Errors that would stop a run."""


@dataclass(frozen=True, slots=True)
class Requested:
    """Result of `requests`."""

    groups: dict[str, RequestFiles]
    """Model, by its name in the recipe -> its requests."""
    open_work: OpenWork


@dataclass(frozen=True, slots=True)
class Received:
    """Result of `answers`."""

    groups: dict[str, AnswerCounts]
    """Model, by its name in the recipe -> its answers."""
    open_work: OpenWork
    lines: int
    unreadable: int
    """Lines that are not answers."""
    duplicates: int
    """Repeated answers to the same request."""
    strangers: int
    """Answers to no request of the current recipe."""
    examples: list[UnmatchedAnswer]
    """The first of these."""
    made: list[str]
    """Nodes made from them."""


def write_requests(loaded: LoadedStudy, out: Path, parts: int, *, quiet: bool = False) -> Requested:
    """Write the requests that the study's next stages need and the cache lacks, in up to `parts` files per model.

    What is free is made first. Raises InputError for a folder with other content, and for a study without models called
    elsewhere.
    """
    with _opened(loaded, quiet) as work:
        open_folder(out, work.study.study, parts)
        open_work = OpenWork()
        with open_cache(work) as cache, RequestWriter(out, parts, cache) as writer:
            work.hand_over = writer.take
            open_work.failed = _make_free(work)
            for node in _nodes_to_request(work, open_work):
                _hand_over(work, node)
        close_folder(work, out, parts, writer.groups)
    return Requested(writer.groups, open_work)


def take_answers(loaded: LoadedStudy, files: Sequence[Path], *, quiet: bool = False) -> Received:
    """Put answers from files into the cache, and make the stages that are now complete.

    An answer counts once, however often it occurs in the files. Raises InputError for files that cannot be read or hold
    requests, and if no answer belongs to this study.
    """
    made: list[str] = []
    with _opened(loaded, quiet) as work, AnswerIndex(answer_files(files)) as index:
        open_work, handed_over = OpenWork(), set[str]()
        with (
            open_cache(work) as cache,
            AnswerReader(index, cache, work.study.study, work.run.folder, parts_of_run(work)) as taker,
        ):
            work.asks_again = False  # failed answers are requested again by the next `requests`, not here
            while True:
                work.hand_over, open_work = taker.take, OpenWork()
                open_work.failed = _make_free(work)
                answered = []
                for node in _nodes_to_request(work, open_work):
                    if node.name not in handed_over:
                        handed_over.add(node.name)
                        answered += [node] if _hand_over(work, node) == 0 else []
                work.hand_over = None
                for node in answered:
                    made += make_nodes(work, [node])
                made += _score(work)
                if not answered:
                    break
            strangers, examples = 0, list[UnmatchedAnswer]()
            for answer in index.unmatched(cache):
                strangers += 1
                examples += [answer] if len(examples) < SHOWN else []
        if index.lines and strangers == index.lines:
            raise InputError(
                f"none of the {index.lines} answers belongs to a request of {loaded.recipe}: they are another study's, "
                "or the recipe (a model, a prompt, the sampling) or the problems have changed since `tracedistill "
                f"requests`; the first is {examples[0].custom_id} of {examples[0].file}"
            )
        return Received(
            taker.groups, open_work, index.lines, index.unreadable, index.duplicates(), strangers, examples, made
        )


def answer_files(given: Sequence[Path]) -> list[Path]:
    """Return the given files, and the JSON Lines files of given folders. Raises InputError if one is missing."""
    files: list[Path] = []
    for path in given:
        inside = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            raise InputError(f"{path}: {'holds no .jsonl file' if path.is_dir() else 'no such file'}")
        files += inside
    return files


@contextmanager
def _opened(loaded: LoadedStudy, quiet: bool) -> Iterator[StudyRun]:
    """Lock and yield the study's run folder. Raises InputError if none of its models is called elsewhere."""
    work = StudyRun(loaded, Screen(quiet=quiet))
    models = [model for node in Graph(work).nodes() if (model := _model_of(work.study, node)) is not None]
    if not any(runs_elsewhere(config) for _, config in models):
        raise InputError(
            f"{loaded.recipe}: no model of this study runs elsewhere; give a model teacher or a student a base_url "
            "or engine: vllm"
        )
    work.run.claim()
    with work.run.lock(), work.screen.overall():
        if any(student.engine == "vllm" for student in work.study.students.values()):
            # commit and dtype are part of the cache key of its answers
            if pin(work, loaded.study, Graph(work).nodes()):
                work = StudyRun(loaded, work.screen)
            work.settle()
        yield work


def runs_elsewhere(config: TeacherConfig | StudentConfig) -> bool:
    """Return whether a model's requests can be expressed as those of an endpoint."""
    return config.base_url is not None or config.engine == "vllm"


def _model_of(study: Study, node: Node) -> tuple[str, TeacherConfig | StudentConfig] | None:
    """Return (place in the recipe, settings) of the model that a node calls; None if it calls none."""
    if node.kind == "teach" and study.teachers[node.of].kind == "model":
        return f"teachers.{node.of}", study.teachers[node.of]
    if node.kind == "validate" and study.validation.judge != "none":
        return f"teachers.{study.validation.judge}", study.teachers[study.validation.judge]
    if node.kind == "generate":
        student = study.student_of(arm_of(arm_of_run(node.of)))
        return f"students.{student}", study.students[student]
    return None


def _nodes_to_request(work: StudyRun, open_work: OpenWork) -> Iterator[Node]:
    """Yield the nodes that call a model elsewhere and can be made; record in `open_work` why the others cannot."""
    nodes = Graph(work).nodes()
    for node in nodes:
        model = _model_of(work.study, node)
        if model is None or work.run.is_complete(node):
            continue
        place, config = model
        if not runs_elsewhere(config):
            open_work.here += [place] if place not in open_work.here else []
            continue
        missing = work.run.incomplete(needed_by(nodes, [node]))
        if missing:
            open_work.waits[node.name] = missing[0].name
            continue
        yield node


def _hand_over(work: StudyRun, node: Node) -> int:
    """Hand over the requests of a node; return how many of them lack an answer."""
    work.screen.doing(f"requests of {node.name}")
    take, (place, _) = work.hand_over, _model_of(work.study, node) or ("", None)
    assert take is not None
    if node.kind == "teach":  # not through its stage, which keeps pending requests in memory
        teachers, config = Teachers(work), work.study.teachers[node.of]
        streamed = teachers.requests(node.of, teachers.sources(node.of))
        return take(place, node.of, config, teacher_engine(work, node.of, config), streamed)
    if node.kind == "generate":
        name, evaluation = arm_of_run(node.of), Graph(work).evaluation
        arm, seed = arm_of(name), evaluation.runs_of(name).index(node.of)
        endpoint = arm_engine(work, arm, seed)
        assert isinstance(endpoint, Endpoint)
        requests = evaluation.requests_of(name, evaluation.problems_of(name), seed).requests
        endpoint.prepare(requests)
        adapter = work.study.adapter_of(arm)
        if isinstance(endpoint.server, VllmTokenEngine) and adapter is not None:
            # separate files: vLLM 0.32.0 was seen to answer rows of the base wrongly beside rows of an adapter
            place += f".{run_name(adapter, seed)}"
        return take(place, arm, endpoint.config, endpoint.server, requests)
    try:
        node.run()
    except HandedOver as handed:
        return handed.lacking
    return 0  # it had no requests


def _make_free(work: StudyRun) -> list[str]:
    """Make what is free, including parity verdicts of adapters that vLLM serves separately; return failures."""
    failed, _ = make_free(work, Graph(work).nodes(), make_nodes)
    nodes = Graph(work).nodes()
    for node in nodes:
        if (
            node.kind == "parity"
            and Graph(work).evaluation.is_served_as_it_is(node.of)
            and not work.run.incomplete(needed_by(nodes, [node]))
        ):
            make_nodes(work, [node])
    return failed


def _score(work: StudyRun) -> list[str]:
    """Judge the complete attempts."""
    nodes = Graph(work).nodes()
    made: list[str] = []
    for node in nodes:
        if node.kind == "score" and not work.run.incomplete(needed_by(nodes, [node])):
            made += make_nodes(work, [node])
    return made
