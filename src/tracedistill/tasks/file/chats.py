r"""Conversations in columns, and the thinking inside a model's text.

    [{"from": "human", "value": "3 boxes of 4 pens?"}, {"from": "gpt", "value": "12"}]                     ShareGPT
    [{"role": "user", "content": "..."}, {"role": "assistant", "reasoning_content": "...", "content": "12"}]  OpenAI
    <|begin_of_thought|> ... <|end_of_thought|> <|begin_of_solution|> ... \boxed{12} <|end_of_solution|>  OpenThoughts

The assistant's last turn is the answer, the user's turn before it the question, and all earlier turns are context.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracedistill.errors import InputError
from tracedistill.tasks.file.cells import structured

_ROLES = {
    "human": "user", "user": "user", "prompter": "user", "gpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "chatgpt": "assistant", "system": "system", "developer": "system",
}  # fmt: skip
_THINKS = ("reasoning_content", "reasoning", "thinking", "thought")
_THOUGHT = re.compile(
    r"\A\s*(?:<think>|<\|begin_of_thought\|>)?(?P<thought>.*?)(?:</think>|<\|end_of_thought\|>)(?P<rest>.*)\Z",
    re.DOTALL,
)
_SOLUTION = re.compile(r"<\|(?:begin|end)_of_solution\|>")
_HASHED = re.compile(r"\A(?P<worked>.*\S)\s*\n\s*####[ \t]*(?P<answer>\S[^\n]*)\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Chat:
    """One parsed conversation; absent parts are empty."""

    system: str
    before: tuple[str, ...]
    """Earlier turns, each with its speaker."""
    question: str
    answer: str
    """The assistant's answer, without its thinking."""
    thought: str


def is_chat(value: Any) -> bool:
    """Return whether a cell is a conversation: a list of objects, each with a speaker and a text."""
    value = structured(value) if isinstance(value, str) and value[:1] == "[" else value
    return isinstance(value, list) and bool(value) and all(_turn(item) is not None for item in value)


def read_chat(value: Any, where: str) -> Chat:
    """Parse the conversation of a row. Raises InputError, with `where`, if it lacks a question or an answer."""
    value = structured(value)
    turns = [_turn(item) for item in value] if isinstance(value, list) else []
    if not turns or None in turns:
        raise InputError(f"{where}: not a conversation: each turn needs role and content (or from and value)")
    known = [turn for turn in turns if turn is not None]
    system = "\n".join(text for role, text, _ in known if role == "system" and text)
    spoken = [turn for turn in known if turn[0] != "system"]
    last = next((at for at in range(len(spoken) - 1, -1, -1) if spoken[at][0] == "assistant"), None)
    if last is None or last == 0 or spoken[last - 1][0] != "user":
        raise InputError(f"{where}: the conversation has no user's turn that the assistant answers")
    thought, answer = thought_of(spoken[last][1])
    before = tuple(f"{role.capitalize()}: {thought_of(text)[1]}" for role, text, _ in spoken[: last - 1])
    return Chat(system, before, spoken[last - 1][1], answer, spoken[last][2] or thought)


def _turn(item: Any) -> tuple[str, str, str] | None:
    """Return (role, text, thinking); None if the item is not a turn."""
    if not isinstance(item, Mapping):
        return None
    role, text = item.get("role", item.get("from")), item.get("content", item.get("value"))
    if isinstance(text, list):  # parts: [{"type": "text", "text": ...}]
        parts = [part.get("text") for part in text if isinstance(part, Mapping)]
        text = "\n".join(part for part in parts if isinstance(part, str))
    if not isinstance(role, str) or not (isinstance(text, str) or text is None):
        return None
    thought = next((item[key] for key in _THINKS if isinstance(item.get(key), str) and item[key].strip()), "")
    return _ROLES.get(role.lower(), role.lower()), (text or "").strip(), thought.strip()


def thought_of(text: str) -> tuple[str, str]:
    """Return (thinking, rest) of a model's text; no thinking if nothing marks it."""
    parts = _THOUGHT.match(text) if "</think>" in text or "end_of_thought" in text else None
    if parts is None:
        return "", _SOLUTION.sub("", text).strip()
    return parts["thought"].strip(), _SOLUTION.sub("", parts["rest"]).strip()


def hashed(text: str) -> tuple[str, str] | None:
    """Return (worked solution, answer) of GSM8K's `... #### 72`; None for other text."""
    parts = _HASHED.match(text) if "####" in text else None
    return (parts["worked"].strip(), parts["answer"].strip()) if parts else None
