"""Rules for endpoint settings: no secrets, since a recipe is copied into manifests, reports and exports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

RESERVED = frozenset(
    {"model", "messages", "n", "stream", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens"}
)
"""Fields of the request body with settings of their own."""

_SECRET_NAMES = re.compile(
    r"api[-_]?key|authori[sz]ation|secret|passw|bearer|credential|(?:access|auth|api)[-_]?token", re.IGNORECASE
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PREFIXED = re.compile(
    r"(?:sk|pk|rk|xai|pplx|key|nvapi|dsk|ak)-\w|(?:gsk|hf|r8|ghp|sk|github_pat)_\w{12}|AIza\w{12}|Bearer\b"
)
_LETTERS_AND_DIGITS = re.compile(r"[A-Za-z0-9]{16,}")
_NOT_A_VARIABLE = (
    "not the name of an environment variable: give the NAME, not the key (export MY_KEY=...; key_env: MY_KEY), and "
    "replace a key that was written into a recipe"
)


def endpoint_faults(base_url: str | None, key_env: str, extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (field, error), never quoting a value."""
    if base_url is not None:
        fault = _url_fault(base_url)
        if fault:
            yield "base_url", fault
    if key_env and (not _VARIABLE.fullmatch(key_env) or looks_like_key(key_env)):
        yield "key_env", _NOT_A_VARIABLE
    for path, value in _leaves(extra, "extra", 0):
        name = path.rpartition(".")[2]
        if path == f"extra.{name}" and name in RESERVED:
            yield path, f"{name} cannot be set here; use the recipe's own settings"
        elif _SECRET_NAMES.search(name) or (isinstance(value, str) and looks_like_key(value)):
            yield path, "looks like a secret and would be written into manifests; give the key with key_env"


def looks_like_key(text: str) -> bool:
    """Return whether a text looks like a key: a known prefix, or long with mixed letters and digits."""
    if _PREFIXED.match(text.strip()):
        return True
    return any(
        sum(char.isdigit() for char in run) >= 2 and any(char.islower() for char in run)
        for run in _LETTERS_AND_DIGITS.findall(text)
    )


def _url_fault(base_url: str) -> str:
    try:
        url = urlsplit(base_url)
        host, _ = url.hostname, url.port
    except ValueError:
        host = None
    if not host or url.scheme not in {"http", "https"} or not base_url.isprintable() or " " in base_url:
        return "give the endpoint's URL, such as https://api.openai.com/v1"
    if url.username or url.password or url.query or url.fragment:
        return "contains credentials or a query and would be written into manifests; give the key with key_env"
    if any(_PREFIXED.match(part) for part in url.path.split("/")):
        return "its path looks like it contains a key and would be written into manifests; give the key with key_env"
    return ""


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of everything below a mapping, including the names of inner mappings."""
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(value, Mapping):
        items = iter(value.items())
    elif isinstance(value, list | tuple):
        items = iter(enumerate(value))
    for name, inner in items:
        yield f"{path}.{name}", inner
        if depth < 6:
            yield from _leaves(inner, f"{path}.{name}", depth + 1)
