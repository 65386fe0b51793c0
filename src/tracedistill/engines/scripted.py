"""The fake engine: answers come from a function, so that the whole pipeline is tested offline in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracedistill.dotted import import_object
from tracedistill.engines import Engine, Generation, Request
from tracedistill.errors import InputError

Script = Callable[[Request], str | Generation]
"""From a request to the text that the 'model' writes, or to a whole generation (to simulate failures)."""

SCRIPTED = "scripted:"
"""Prefix of a student's or teacher's model name if a user's function or engine answers in its place."""


class ScriptedEngine:
    """Runs a Python function in place of a model; tokens are counted as words."""

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.script = script
        self.name = name

    @classmethod
    def from_path(cls, path: str) -> Engine:
        """Import `package.module:function`. Raises InputError if that fails."""
        try:
            found = import_object(path)
            return found() if isinstance(found, type) else cls(found, name=path)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise InputError(f"scripted student '{path}': cannot import it: {error}") from error

    def describe(self) -> dict[str, Any]:
        """Return the script's name."""
        return {"engine": "scripted", "script": self.name}

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Answer each request at once, cut off at max_tokens words."""
        for request in requests:
            answer = self.script(request)
            if isinstance(answer, Generation):
                yield answer
                continue
            words = answer.split(" ")
            limit = request.sampling.max_tokens
            cut = len(words) > limit
            text = " ".join(words[:limit])
            asked = sum(len(message.content.split()) for message in request.messages)
            yield Generation(
                request.request_id,
                text,
                "length" if cut else "stop",
                tokens_in=asked,
                tokens_out=min(len(words), limit),
            )
