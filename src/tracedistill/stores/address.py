"""URLs of run folders: which are accepted, where their working copies lie, and how secrets are kept out of messages."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from tracedistill.errors import InputError

COPIES = "TRACEDISTILL_WORKING_COPIES"
"""Environment variable: the folder of working copies."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.:-]*://")
_USER = re.compile(r"(?<=://)[^/@\s'\"]*:[^/@\s'\"]*(?=@)")
_QUERY = re.compile(r"(\w+://[^\s?#'\"]*)([?#])[^\s'\"]*")
_PAIR = re.compile(
    r"(?i)\b((?:[\w-]*(?:token|secret|signature|password|credential|access_?key)[\w-]*)['\"]?\s*[=:]\s*)\S+"
)


def is_url(place: str) -> bool:
    """Return whether a run folder is named by a URL, and not by a path."""
    return _URL.match(place) is not None


def masked(text: str) -> str:
    """Return a text without what may be secret: passwords and queries of URLs, values named token, secret and such."""
    return _PAIR.sub(r"\1***", _QUERY.sub(r"\1\2***", _USER.sub("***", text)))


def url_fault(url: str) -> str:
    """Return why a URL cannot name a run folder; empty if it can."""
    shown = masked(url)
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError as error:
        return f"{shown}: not a URL ({masked(str(error))})"
    if password is not None or parts.query or parts.fragment:
        return (
            f"{shown}: contains a password or a query. Keys are read from the environment or fsspec's configuration, "
            "never from the address, which every manifest shows"
        )
    if "::" in url:
        return f"{shown}: chained protocols are not supported; name one store"
    if not (parts.netloc + parts.path).strip("/"):
        return f"{shown}: names no folder; for example s3://bucket/study"
    if ".." in parts.path.split("/"):
        return f"{shown}: contains '..'"
    return ""


@functools.cache
def checked_url(url: str) -> str:
    """Return the URL without a slash at its end. Raises InputError if it cannot name a run folder."""
    if fault := url_fault(url):
        raise InputError(fault)
    return url.rstrip("/")


def working_copy(url: str) -> Path:
    """Return the local folder that stands for a run folder in a store: the same for the same URL on a machine."""
    url = checked_url(url)
    name = re.sub(r"[^\w.-]", "_", url.rpartition("/")[2]) or "run"
    return _copies() / hashlib.sha256(url.encode()).hexdigest()[:12] / name


def run_folder(place: str) -> Path:
    """Return the local folder of a run folder given by path or URL, without looking into the store."""
    return working_copy(place) if is_url(place) else Path(place)


def copies_are_placed() -> bool:
    """Return whether the user has chosen the folder of working copies."""
    return bool(os.environ.get(COPIES))


def _copies() -> Path:
    if own := os.environ.get(COPIES):
        return Path(own).expanduser()
    if cache := os.environ.get("TRACEDISTILL_CACHE"):
        return Path(cache).expanduser() / "runs"
    users = os.environ.get("XDG_CACHE_HOME")
    return (Path(users).expanduser() if users else Path.home() / ".cache") / "tracedistill" / "runs"
