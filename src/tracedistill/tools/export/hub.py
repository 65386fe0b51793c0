"""Upload to a model hub, only on explicit request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from tracedistill.errors import InputError

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_REPO_ID = re.compile(rf"{_PART}/{_PART}")
LONGEST = 96
"""Most characters of a repository id."""


def check_repo_id(repo_id: str) -> str:
    """Check a repository id. Raises InputError that shows a valid one."""
    if not _REPO_ID.fullmatch(repo_id) or len(repo_id) > LONGEST or "--" in repo_id or ".." in repo_id:
        raise InputError(f"--push {repo_id}: not a repository name; use owner/name")
    return repo_id


def push(
    folder: Path, repo_id: str, kind: Literal["dataset", "model"], *, private: bool = False, hub: Any = None
) -> str:
    """Upload an exported folder, and return its address; `hub`: the client, by default huggingface_hub's HfApi.

    `private`: the repository is created private; an existing public one is refused before anything is sent. Raises
    InputError if the hub cannot be reached or denies access; the local folder is unchanged.
    """
    check_repo_id(repo_id)
    if hub is None:
        from huggingface_hub import HfApi

        hub = HfApi()  # finds the user's token by itself
    try:
        hub.create_repo(repo_id, repo_type=kind, private=True if private else None, exist_ok=True)
        public = private and not hub.repo_info(repo_id, repo_type=kind).private
        if not public:
            message = f"Exported by tracedistill from {folder.name}"
            hub.upload_folder(repo_id=repo_id, repo_type=kind, folder_path=str(folder), commit_message=message)
    except Exception as error:
        # the client raises a dozen unrelated types if an upload fails
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise InputError(
            f"cannot push to {repo_id}: {reason}; {folder} is complete, so push it again with a network and a token "
            "that may write (HF_TOKEN, or `hf auth login`)"
        ) from error
    if public:
        raise InputError(f"--private: {repo_id} already exists and is public; nothing was uploaded")
    return f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
