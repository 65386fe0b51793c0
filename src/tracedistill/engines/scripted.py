"""A fake engine: a function answers, so that the whole pipeline can be tested offline in seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tracedistill.engines import Engine, Generation, Request
from tracedistill.errors import InputError
from tracedistill.plugins import import_object

Script = Callable[[Request], str | Generation]
"""Request -> the text that the 'model' writes, or a whole generation (to simulate failures)."""


class ScriptedEngine:
    """Runs a Python function instead of a model; tokens are words."""

    def __init__(self, script: Script, name: str = "scripted") -> None:
        self.script = script
        self.name = name

    @classmethod
    def from_path(cls, path: str) -> Engine:
        """Import `package.module:function`. Raises InputError if that fails."""
        try:
            script = import_object(path)
            return script() if isinstance(script, type) else cls(script, name=path)
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
            words, limit = answer.split(" "), request.sampling.max_tokens
            yield Generation(
                request.request_id,
                " ".join(words[:limit]),
                "length" if len(words) > limit else "stop",
                tokens_in=sum(len(message.content.split()) for message in request.messages),
                tokens_out=min(len(words), limit),
            )
