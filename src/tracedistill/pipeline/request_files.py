"""Offline answers: requests are written as files of the Batch format, and answers are read from files.

A stage's requests go to a `RequestWriter`, which writes those the cache lacks, or to an `AnswerReader`, which puts
answers from files into the cache. A stage with all answers in the cache is then made as in any run.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from tracedistill.engines import Engine, Generation, Request
from tracedistill.engines.batch import BatchEngine
from tracedistill.engines.batch_files import AnswerIndex, SeenKeys, outcome_of_line, part_of, request_line, result_of
from tracedistill.engines.budget import Budget, Prices, SpendMeter, worst_case
from tracedistill.engines.cache import request_key
from tracedistill.engines.calls import CallOutcome, finishes_to_retry
from tracedistill.engines.server import ServerEngine
from tracedistill.engines.vllm_engines import VllmChatEngine, VllmTokenEngine
from tracedistill.errors import InputError
from tracedistill.files import atomic, content_id, read_json, write_json
from tracedistill.recipes import TeacherConfig

if TYPE_CHECKING:
    from tracedistill.engines.cache import GenerationCache
    from tracedistill.pipeline.study_run import StudyRun

NOTE = "requests.json"
"""In the folder of requests: what it holds. In the run folder: the number of parts of the last one."""
MOST_PARTS = 500
"""Most parts of one command; each is an open file meanwhile."""
_AT_ONCE = 400
"""Requests looked up in the cache at a time."""
_HELD = 1_000
"""Refused rows held until another one is answered."""
_PART = re.compile(r"(?:teachers|students)\..+\.\d+\.jsonl")


@dataclass(slots=True)
class RequestFiles:
    """The requests of one model."""

    model: str
    """Model name in the requests' bodies; for several adapters the base model's."""
    requests: int = 0
    """Requests of the study, without duplicates."""
    cached: int = 0
    """Of these, answered in the cache."""
    unsendable: Counter[str] = field(default_factory=Counter)
    """Reason -> requests that this format cannot express."""
    lines: dict[int, int] = field(default_factory=dict)
    """Part -> number of lines."""
    flags: list[str] = field(default_factory=list)
    """Flags of `vllm run-batch` that reproduce the study's own server."""
    longest: int = 0
    """Tokens of the longest prompt with its answer, if known."""

    def files(self, group: str) -> list[str]:
        """Return the names of its files."""
        return [f"{group}.{part}.jsonl" for part in sorted(self.lines)]


class RequestWriter:
    """Writes requests that the cache lacks into files; a request is always assigned to the same part."""

    def __init__(self, out: Path, parts: int, cache: GenerationCache) -> None:
        self.groups: dict[str, RequestFiles] = {}
        self._out, self._parts, self._cache = out, parts, cache
        self._seen = SeenKeys()
        self._files = contextlib.ExitStack()
        self._streams: dict[tuple[str, int], TextIO] = {}

    def __enter__(self) -> RequestWriter:
        self._files.__enter__()
        self._files.callback(self._seen.close)
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._files.__exit__(*error)

    def take(self, group: str, _: str, config: TeacherConfig, engine: Engine, requests: Iterable[Request]) -> int:
        """Write the requests of one stage that the cache does not answer; return their number."""
        server, lacking = server_of(engine), 0
        written = self.groups.setdefault(group, RequestFiles(server.config.model))
        if isinstance(server, VllmChatEngine):
            self._note_flags(group, written, server)
        again = finishes_to_retry(config.retry_failed, config.retry_cut_off)
        for key, request, lacks, first in look_up(requests, server, self._cache, self._seen, again):
            lacking += lacks
            written.requests += first
            written.cached += first and not lacks
            if not (first and lacks):
                continue
            part = part_of(key, self._parts)
            try:
                line = request_line(key.hex(), server.batch_body(request))
            except ValueError as error:
                written.unsendable[str(error)] += 1
                continue
            self._stream(group, part).write(line + "\n")
            written.lines[part] = written.lines.get(part, 0) + 1
        return lacking

    def _note_flags(self, group: str, written: RequestFiles, server: VllmChatEngine) -> None:
        """Record the flags to run the model with; a student's chat template is written to a file."""
        written.longest = max(written.longest, server.served.max_length or 0)
        if written.longest:
            server.served.max_length = written.longest
        written.model, written.flags = server.served.arguments()
        if isinstance(server, VllmTokenEngine):
            template = self._out / f"{group}.jinja"
            with atomic(template) as stream:
                stream.write(server.chat_template)
            written.flags += ["--chat-template", str(template)]

    def _stream(self, group: str, part: int) -> TextIO:
        if (group, part) not in self._streams:
            path = self._out / f"{group}.{part}.jsonl"
            self._streams[group, part] = self._files.enter_context(atomic(path))
        return self._streams[group, part]


@dataclass(slots=True)
class AnswerCounts:
    """The answers to one model's requests."""

    requests: int = 0
    """Requests of the study, without duplicates."""
    cached: int = 0
    """Of these, already answered."""
    taken: int = 0
    """Answers taken in now, including cut-offs and refusals."""
    cut_off: int = 0
    """Of these, cut off at max_tokens."""
    failed: int = 0
    """Of these, refused or failed permanently: counted failures, as in a live run."""
    usd: float = 0.0
    """US dollars charged for them."""
    unusable: Counter[str] = field(default_factory=Counter)
    """Reason -> rejected answers, whose requests still lack one."""
    lacking: Counter[int] = field(default_factory=Counter)
    """Part -> requests that still lack an answer."""
    answered: Counter[int] = field(default_factory=Counter)
    """Part -> answered requests."""

    def count(self, answer: Generation) -> None:
        """Count an accepted answer."""
        self.taken += 1
        self.cut_off += answer.finish == "length"
        self.failed += answer.finish not in ("stop", "length")
        self.usd += answer.usd or 0.0

    def missing_parts(self) -> list[int]:
        """Return the parts none of whose requests has an answer."""
        return sorted(part for part in self.lacking if not self.answered[part])


class AnswerReader:
    """Puts answers from files into the cache, charged to the study's account."""

    def __init__(self, answers: AnswerIndex, cache: GenerationCache, study: str, folder: Path, parts: int) -> None:
        self.groups: dict[str, AnswerCounts] = {}
        self._answers, self._cache, self._folder, self._parts = answers, cache, folder, parts
        self._budget = Budget(scope=study)
        self._seen, self._began = SeenKeys(), time.time()

    def __enter__(self) -> AnswerReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._seen.close()

    def lacking(self) -> int:
        """Return the number of requests that still lack an answer."""
        return sum(group.lacking.total() for group in self.groups.values())

    def take(self, group: str, label: str, config: TeacherConfig, engine: Engine, requests: Iterable[Request]) -> int:
        """Take in the answers to the requests of one stage; return how many still lack one.

        `group`: the model, by its name in the recipe; `label`: the stage, as in a live run. Rows that the engine
        refused count as failed once another row was answered: until then the engine, not the row, may be at fault.
        """
        server, lacking, works = server_of(engine), 0, False
        tally = self.groups.setdefault(group, AnswerCounts())
        meter = SpendMeter(self._budget, getattr(engine, "prices", None) or Prices())
        name, buyer = self._cache.record_engine(server.describe()), content_id(str(self._folder.resolve()), label)
        refused: list[tuple[bytes, Request, CallOutcome]] = []
        entries: dict[bytes, Generation] = {}

        def keep(key: bytes, request: Request, outcome: CallOutcome) -> None:
            assert outcome.generation is not None
            worst = worst_case(request)
            stake = meter.stake(worst)
            meter.sent(stake)
            paid = meter.settle(stake, worst, outcome.billed, outcome.usage)
            entries[key] = replace(outcome.generation, usd=paid.usd, buyer=buyer)
            tally.count(entries[key])
            tally.answered[part_of(key, self._parts)] += 1

        def lose(key: bytes, cause: str = "") -> None:
            nonlocal lacking
            lacking += 1
            tally.lacking[part_of(key, self._parts)] += 1
            if cause:
                tally.unusable[cause] += 1

        again = finishes_to_retry(config.retry_failed, config.retry_cut_off)
        rows = look_up(requests, server, self._cache, self._seen, again, self._began)
        while some := list(itertools.islice(rows, _AT_ONCE)):
            answers = self._answers.find([key.hex() for key, _, _, _ in some])
            for key, request, lacks, first in some:
                tally.requests += first
                if not first:
                    lacking += lacks and key not in entries
                elif not lacks:
                    tally.cached += 1
                    tally.answered[part_of(key, self._parts)] += 1
                else:
                    lines = [result_of(row, request) for row in answers.get(key.hex(), ())]
                    outcome = _best([outcome_of_line(server, line, request) for line in lines])
                    generation = None if outcome is None else outcome.generation
                    if outcome is None or generation is None:
                        lose(key, "" if outcome is None else outcome.cause)
                    elif generation.finish != "error" or works:
                        works = True
                        keep(key, request, outcome)
                    elif len(refused) < _HELD:
                        refused.append((key, request, outcome))
                    else:
                        lose(key, generation.error)
            if works:
                while refused:
                    keep(*refused.pop(0))
            if entries:  # cached answers are charged, and vice versa
                self._cache.exchange(list(entries.items()), engine=name, booking=meter.booking())
                entries.clear()
        for key, _, outcome in refused:
            lose(key, outcome.generation.error if outcome.generation is not None else outcome.cause)
        return lacking


def _best(outcomes: Sequence[CallOutcome]) -> CallOutcome | None:
    """Return the first good answer, else the last one that counts, else the last line; None without any."""
    usable = [outcome for outcome in outcomes if outcome.generation is not None]
    good = [outcome for outcome in usable if outcome.generation is not None and outcome.generation.finish == "stop"]
    return next(iter([*good[:1], *usable[-1:], *outcomes[-1:]]), None)


def look_up(
    requests: Iterable[Request],
    engine: Engine,
    cache: GenerationCache,
    seen: SeenKeys,
    again: frozenset[str],
    began: float = float("inf"),
) -> Iterator[tuple[bytes, Request, bool, bool]]:
    """Yield (key, request, whether the cache lacks its answer, whether it is the first of equal requests).

    `again`: finishes of cached answers that count as missing, unless cached after `began` (Unix time).
    """
    name = cache.record_engine(engine.describe())
    rows = iter(requests)
    while some := [(request_key(name, request), request) for request in itertools.islice(rows, _AT_ONCE)]:
        new = seen.new([key for key, _ in some])
        known = cache.lookup([key for key, _ in some])
        for key, request in some:
            answer, first = known.get(key), key in new
            new.discard(key)
            yield key, request, answer is None or (answer.finish in again and answer.created < began), first


def server_of(engine: Engine) -> ServerEngine:
    """Return the engine that formats requests and parses answers."""
    server = engine.server if isinstance(engine, BatchEngine) else engine
    assert isinstance(server, ServerEngine), "only models that run elsewhere are handed over"
    return server


# ---- the folder of requests


def open_folder(out: Path, study: str, parts: int) -> None:
    """Prepare the folder for requests: a new one, or one of earlier requests, which are removed.

    Raises InputError for a folder with other content, and for an invalid number of parts.
    """
    if not 1 <= parts <= MOST_PARTS:
        raise InputError(f"--parts {parts}: must be from 1 to {MOST_PARTS}")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / NOTE).exists():
        raise InputError(f"{out}: is not empty and holds no earlier requests; give another folder")
    if (out / NOTE).exists():
        owner = read_json(out / NOTE).get("study")
        if owner != study:
            raise InputError(f"{out}: holds the requests of study '{owner}', not of '{study}'; give another folder")
        for path in out.iterdir():
            if _PART.fullmatch(path.name):
                path.unlink()
    write_json(out / NOTE, {"study": study, "parts": parts, "complete": False})


def close_folder(work: StudyRun, out: Path, parts: int, groups: dict[str, RequestFiles]) -> None:
    """Record the content of the folder, and its number of parts in the run folder."""
    held = {
        group: {
            "model": group_files.model,
            "flags": group_files.flags,
            "lines": group_files.lines,
            "files": group_files.files(group),
        }
        for group, group_files in groups.items()
    }
    write_json(out / NOTE, {"study": work.study.study, "parts": parts, "complete": True, "groups": held})
    write_json(work.run.path(NOTE), {"parts": parts})


def parts_of_run(work: StudyRun) -> int:
    """Return the number of parts of the last requests; 1 if none were written."""
    path = work.run.path(NOTE)
    return int(read_json(path)["parts"]) if path.exists() else 1
