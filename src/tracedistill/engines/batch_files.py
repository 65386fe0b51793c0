"""Requests and answers as files in the format of the OpenAI Batch API: one JSON object a line, joined by `custom_id`.

    {"custom_id": "9f2c...", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "m", "messages": [...]}}
    {"custom_id": "9f2c...", "response": {"status_code": 200, "body": {"choices": [...], "usage": {}}}, "error": null}

The `custom_id` is the cache key of the request, which identifies the request of an answer.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracedistill.engines import Request
from tracedistill.engines.cache_rows import chunks
from tracedistill.engines.calls import CallOutcome
from tracedistill.engines.replies import ErrorReplyError, UnusableReplyError, json_object
from tracedistill.errors import InputError

if TYPE_CHECKING:
    from tracedistill.engines.cache import GenerationCache
    from tracedistill.engines.server import ServerEngine

CHAT: Final = "/v1/chat/completions"
"""The only endpoint that all readers of such files support; `vllm run-batch` stops at a line with another one."""
_LONGEST = 64 * 2**20
"""Most bytes of a line; a longer one is not an answer to a request of this program."""
_LOOKED_UP = 400
"""Answers looked up in the cache at a time."""
_OPEN = 100
"""Files of answers that are open at a time."""
_STORED = 10_000
"""Rows of the index that are written at a time."""
TEXT = ("generated_text", "generation")
"""Fields with the text in data set rows (Ray Data's LLM processor, NeMo-Skills)."""
TOKENS_OUT = ("num_generated_tokens", "completion_tokens")
"""Fields with the number of generated tokens in such rows."""
TOKENS_IN = ("num_input_tokens", "prompt_tokens")
"""Fields with the number of prompt tokens in such rows."""


def request_line(custom_id: str, body: Mapping[str, Any]) -> str:
    """Return one request as a line of a batch file."""
    line = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line, separators=(",", ":"))


def part_of(key: bytes, parts: int) -> int:
    """Return the index (from 0) of a request's part, which depends on its key alone."""
    return int.from_bytes(key[:8], "big") % parts


def result_of(row: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Convert an answer of any known shape to the Batch API's.

    A data set row without `finish_reason` ended by itself if it has fewer tokens than `max_tokens`. Without token
    counts it is an error, since it may have been cut off.
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
        self._db = _scratch("CREATE TABLE seen (place INTEGER PRIMARY KEY)")

    def new(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return the keys not seen before, without duplicates."""
        places = {int.from_bytes(key[:8], "big", signed=True): key for key in keys}
        for some, marks in chunks(list(places)):  # type: ignore[arg-type]  # whole numbers bind as keys do
            query = f"SELECT place FROM seen WHERE place IN ({marks})"  # noqa: S608 - question marks
            for (place,) in self._db.execute(query, some).fetchall():
                del places[place]
        self._db.executemany("INSERT INTO seen VALUES (?)", [(place,) for place in places])
        return set(places.values())

    def close(self) -> None:
        """Delete the file."""
        self._db.close()


@dataclass(frozen=True, slots=True)
class UnmatchedAnswer:
    """An answer to no request of the study."""

    file: Path
    custom_id: str


class AnswerIndex:
    """An index of answers by `custom_id`, on disk, so that memory does not grow with their number.

    Raises InputError for a file that cannot be read, and for one that holds requests instead of answers.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)
        self.lines = 0
        """Lines that hold an answer."""
        self.unreadable = 0
        """Lines that are not a JSON object with a custom_id, mostly cut off by a kill."""
        self._db = _scratch(
            "CREATE TABLE answers (name TEXT, file INTEGER, start INTEGER, length INTEGER, taken INTEGER DEFAULT 0)"
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
        """Return the answers with these ids, in the order of the files, and mark them as matched."""
        answers: dict[str, list[dict[str, Any]]] = {}
        for some, marks in chunks(list(names)):  # type: ignore[arg-type]  # names bind as keys do
            query = f"SELECT name, file, start, length FROM answers WHERE name IN ({marks}) ORDER BY rowid"  # noqa: S608
            for name, file, start, length in self._db.execute(query, some).fetchall():
                answers.setdefault(name, []).append(self._row(file, start, length))
            self._db.execute(f"UPDATE answers SET taken = 1 WHERE name IN ({marks})", some)  # noqa: S608
        return answers

    def duplicates(self) -> int:
        """Return the number of repeated answers to matched requests."""
        query = "SELECT count(*) - count(DISTINCT name) FROM answers WHERE taken"
        return int(self._db.execute(query).fetchone()[0])

    def unmatched(self, cache: GenerationCache) -> Iterator[UnmatchedAnswer]:
        """Yield the unmatched answers that the cache does not contain."""
        rows = self._db.execute("SELECT file, name FROM answers WHERE NOT taken ORDER BY rowid")
        while some := rows.fetchmany(_LOOKED_UP):
            keys = {name: key for _, name in some if (key := _key_of(name)) is not None}
            known = cache.lookup(list(keys.values()))
            for file, name in some:
                if keys.get(name) not in known:
                    yield UnmatchedAnswer(self.files[file], name)

    def close(self) -> None:
        """Delete the index; the files stay."""
        for stream in self._streams.values():
            stream.close()
        self._db.close()

    def __enter__(self) -> AnswerIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, number: int) -> None:
        path, requests = self.files[number], 0
        rows = self._rows(number)
        while some := list(itertools.islice(rows, _STORED)):
            requests += sum(is_request for *_, is_request in some)
            places = [row for *row, is_request in some if not is_request]
            self.lines += len(places)
            self._db.executemany("INSERT INTO answers (name, file, start, length) VALUES (?,?,?,?)", places)
        if requests:
            raise InputError(f"{path}: contains {requests} requests, not answers; give the file that the engine wrote")

    def _rows(self, number: int) -> Iterator[tuple[str, int, int, int, bool]]:
        """Yield (custom_id, index of the file, first byte, bytes, whether it is a request) for each readable line."""
        path, start = self.files[number], 0
        try:
            with path.open("rb") as stream:
                while line := stream.readline(_LONGEST):
                    length = len(line)
                    row = json_object(line)
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
        return json_object(stream.read(length)) or {}


def _key_of(custom_id: str) -> bytes | None:
    try:
        return bytes.fromhex(custom_id)
    except ValueError:
        return None


def _scratch(schema: str) -> sqlite3.Connection:
    """Open a temporary database on disk, which SQLite deletes when it is closed."""
    db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = OFF")
    db.execute("PRAGMA synchronous = OFF")
    db.execute(schema)
    db.execute("BEGIN")  # one transaction for everything, never committed
    return db


def outcome_of_line(server: ServerEngine, line: dict[str, Any], request: Request) -> CallOutcome:
    """Parse one line of a batch's files; without a generation, its row should be submitted again."""
    response, error = line.get("response"), line.get("error")
    if not isinstance(response, dict):
        return CallOutcome(cause=server.read_error(500, {}, error).cause if error else "no response")
    status, body = response.get("status_code"), response.get("body")
    if status == 200:
        try:
            generation, usage = server.read(body if isinstance(body, dict) else {}, request, 0.0)
            return CallOutcome(generation, billed=True, usage=usage)
        except ErrorReplyError as problem:
            status, body = problem.status, problem.body
        except UnusableReplyError as problem:
            cause = server.cleaner.refusal(str(problem))
            return CallOutcome(cause=cause, billed=problem.billed, usage=problem.usage)
    elif body is None:
        body = error  # `vllm run-batch` leaves the body empty and puts the endpoint's message beside it
    code = status if isinstance(status, int) else 500
    return server.failed(request, code, server.read_error(code, {}, body))
