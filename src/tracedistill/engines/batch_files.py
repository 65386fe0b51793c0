"""Requests and answers as files in the format of the OpenAI Batch API: one JSON object a line, joined by `custom_id`.

    {"custom_id": "9f2c...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [...]}}
    {"custom_id": "9f2c...", "response": {"status_code": 200, "body": {"choices": [...], "usage": {}}}, "error": null}

The `custom_id` is the cache key of the request, so that an answer says by itself what it is the answer to.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tracedistill.engines import Generation, Request
from tracedistill.engines.cache_rows import chunks
from tracedistill.engines.calls import Outcome
from tracedistill.engines.replies import ErrorReplyError, UnusableReplyError, json_of
from tracedistill.engines.server import finish_for
from tracedistill.engines.words import gist
from tracedistill.errors import InputError

if TYPE_CHECKING:
    from tracedistill.engines.cache import GenerationCache
    from tracedistill.engines.server import ServerEngine

CHAT: Final = "/v1/chat/completions"
"""The only endpoint that every reader of such files supports; `vllm run-batch` stops at a line with another one."""
_LONGEST = 64 * 2**20
"""Most bytes of a line; a longer one is no answer to a request of this program."""
_STORED = 10_000
"""Rows of the index written at a time."""
TEXT = ("generated_text", "generation")
"""Text fields of data set rows (Ray Data's LLM processor, NeMo-Skills), in place of a whole response."""
TOKENS_OUT = ("num_generated_tokens", "completion_tokens")
"""Fields of such rows with the number of generated tokens."""
TOKENS_IN = ("num_input_tokens", "prompt_tokens")
"""Fields of such rows with the number of prompt tokens."""


def request_line(key: bytes, body: Mapping[str, Any]) -> str:
    """Return one request as a line of a batch file."""
    line = {"custom_id": key.hex(), "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line, separators=(",", ":"))


def part_of(key: bytes, parts: int) -> int:
    """Return the index of a request's part, from 0, which depends on its key alone."""
    return int.from_bytes(key[:8], "big") % parts


def result_of(row: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Return a line of answers in the Batch API's own shape, from any of the known shapes.

    A data set row without `finish_reason` ended by itself if it has fewer tokens than `max_tokens`; without either it
    holds no response, since it may have been cut off.
    """
    if "response" in row or row.get("error"):
        return dict(row)
    if "choices" in row:
        return {"response": {"status_code": 200, "body": row}}
    text = next((row[name] for name in TEXT if isinstance(row.get(name), str)), None)
    read, written = (
        next((row[name] for name in names if isinstance(row.get(name), int)), None) for names in (TOKENS_IN, TOKENS_OUT)
    )
    reason = row.get("finish_reason")
    if reason is None and written is not None:
        reason = "stop" if written < request.sampling.max_tokens else "length"
    if text is None or reason is None:
        return {"error": {"message": "the row has neither finish_reason nor the number of generated tokens"}}
    body = {"choices": [{"message": {"content": text}, "finish_reason": reason}]}
    if read is not None and written is not None:
        body["usage"] = {"prompt_tokens": read, "completion_tokens": written}  # type: ignore[assignment]
    return {"response": {"status_code": 200, "body": body}}


class SeenKeys:
    """A set of seen requests on disk, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tracedistill-")
        self._db = _scratch(Path(self._folder.name) / "seen.sqlite", "CREATE TABLE seen (place INTEGER PRIMARY KEY)")

    def new(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the keys not seen before, without duplicates."""
        places = {int.from_bytes(key[:8], "big", signed=True): key for key in keys}
        for some, marks in chunks(list(places)):  # type: ignore[arg-type]  # whole numbers bind as keys do
            asked = f"SELECT place FROM seen WHERE place IN ({marks})"  # noqa: S608 - question marks
            for (place,) in self._db.execute(asked, some).fetchall():
                del places[place]
        self._db.executemany("INSERT INTO seen VALUES (?)", [(place,) for place in places])
        return set(places.values())

    def close(self) -> None:
        """Remove the file."""
        self._db.close()
        self._folder.cleanup()


@dataclass(frozen=True, slots=True)
class Stranger:
    """An answer to no request of the study."""

    file: Path
    """Path of its file."""
    name: str
    """Its custom_id."""


class AnswerIndex:
    """An index of answers in files by `custom_id`, on disk, so that memory does not grow with their number.

    Raises InputError for a file that cannot be read, and for one that holds requests instead of answers.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.lines = 0
        """Lines that hold an answer."""
        self.unreadable = 0
        """Lines that are not a JSON object with a custom_id, mostly cut off by a kill."""
        self._folder = tempfile.TemporaryDirectory(prefix="tracedistill-")
        self._db = _scratch(
            Path(self._folder.name) / "answers.sqlite",
            "CREATE TABLE answers (name TEXT, file INTEGER, start INTEGER, length INTEGER, taken INTEGER DEFAULT 0)",
        )
        self._streams: dict[int, Any] = {}
        try:
            for number in range(len(self.files)):
                self._read(number)
            self._db.execute("CREATE INDEX by_name ON answers (name)")
        except BaseException:
            self.close()
            raise

    def find(self, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Return the answers with these names, in the order of the files; they then count as matched."""
        found: dict[str, list[dict[str, Any]]] = {}
        for some, marks in chunks(list(names)):  # type: ignore[arg-type]  # names bind as keys do
            asked = f"SELECT name, file, start, length FROM answers WHERE name IN ({marks}) ORDER BY rowid"  # noqa: S608
            for name, file, start, length in self._db.execute(asked, some).fetchall():
                found.setdefault(name, []).append(self._row(file, start, length))
            self._db.execute(f"UPDATE answers SET taken = 1 WHERE name IN ({marks})", some)  # noqa: S608
        return found

    def duplicates(self) -> int:
        """Return the number of repeated answers to matched requests."""
        asked = "SELECT count(*) - count(DISTINCT name) FROM answers WHERE taken"
        return int(self._db.execute(asked).fetchone()[0])

    def strangers(self, cache: GenerationCache) -> Iterator[Stranger]:
        """Yield the unmatched answers that the cache does not already have."""
        rows = self._db.execute("SELECT file, name FROM answers WHERE NOT taken ORDER BY rowid")
        while some := rows.fetchmany(_LOOKED_UP):
            keys = {name: key for _, name in some if (key := _key_of(name)) is not None}
            known = cache.lookup(list(keys.values()))
            for file, name in some:
                if keys.get(name) not in known:
                    yield Stranger(self.files[file], name)

    def close(self) -> None:
        """Remove the index; the files stay."""
        for stream in self._streams.values():
            stream.close()
        self._db.close()
        self._folder.cleanup()

    def __enter__(self) -> AnswerIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, number: int) -> None:
        path, asked = self.files[number], 0
        rows = self._rows(number)
        while some := list(itertools.islice(rows, _STORED)):
            asked += sum(is_request for *_, is_request in some)
            places = [row for *row, is_request in some if not is_request]
            self.lines += len(places)
            self._db.executemany("INSERT INTO answers (name, file, start, length) VALUES (?,?,?,?)", places)
        if asked:
            raise InputError(f"{path}: holds {asked} requests, not answers; give the file that the engine wrote")

    def _rows(self, number: int) -> Iterator[tuple[str, int, int, int, bool]]:
        """Yield (custom_id, number of the file, first byte, bytes, whether it is a request) of each readable line."""
        path, start = self.files[number], 0
        try:
            with path.open("rb") as stream:
                while line := stream.readline(_LONGEST):
                    length = len(line)
                    row = _object(line)
                    name = row.get("custom_id") if row is not None and length < _LONGEST else None
                    if isinstance(name, str):
                        is_request = row is not None and "body" in row and "response" not in row
                        yield name[:200], number, start, length, is_request
                    elif line.strip():
                        self.unreadable += 1
                    while length == _LONGEST and not line.endswith(b"\n") and (line := stream.readline(_LONGEST)):
                        start += len(line)
                    start += length
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def _row(self, file: int, start: int, length: int) -> dict[str, Any]:
        if file not in self._streams:
            if len(self._streams) >= _OPEN:
                self._streams.pop(next(iter(self._streams))).close()
            self._streams[file] = self.files[file].open("rb")
        stream = self._streams[file]
        stream.seek(start)
        return _object(stream.read(length)) or {}


def _key_of(name: str) -> bytes | None:
    try:
        return bytes.fromhex(name)
    except ValueError:
        return None


_LOOKED_UP = 400
"""Answers looked up in the cache at a time."""
_OPEN = 100
"""Files of answers open at a time."""


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = json_of(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _scratch(path: Path, schema: str) -> sqlite3.Connection:
    """Open a temporary database without durability."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute(schema)
    db.execute("BEGIN")  # one transaction for everything, never committed
    return db


def outcome_of_line(server: ServerEngine, line: dict[str, Any], request: Request) -> Outcome:
    """Parse one line of a batch's files; without a generation, its row should be submitted again."""
    response, error = line.get("response"), line.get("error")
    if not isinstance(response, dict):
        return Outcome(cause=server.fate(500, {}, error).cause if error else "no response")
    status, body = response.get("status_code"), response.get("body")
    try:
        if status == 200:
            generation, used = server.read(body if isinstance(body, dict) else {}, request, 0.0)
            return Outcome(generation, billed=True, used=used)
        # `vllm run-batch` leaves the body empty and puts the endpoint's message beside it
        fate = server.fate(status if isinstance(status, int) else 500, {}, error if body is None else body)
    except ErrorReplyError as problem:
        fate = server.fate(problem.status, {}, problem.body)
    except UnusableReplyError as problem:
        cause = server.cleaner.refusal(str(problem))
        return Outcome(cause=cause, billed=problem.billed, used=problem.used)
    finish = finish_for(fate)
    if finish is None:
        return Outcome(cause=fate.cause)
    suspect = "" if finish == "refusal" else f"{status} {fate.code} {gist(fate.cause)}"
    return Outcome(Generation(request.request_id, "", finish, error=fate.cause), suspect=suspect)
