"""Pushing, without a network: the hub is a record of what it was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracedistill.errors import InputError
from tracedistill.tools.export.hub import check_repo_id, push


class Recorder:
    """A hub that remembers; `public`: the repository is there and public; `error`: what an upload meets."""

    def __init__(self, *, public: bool = False, error: Exception | None = None) -> None:
        self.public = public
        self.error = error
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, **settings: Any) -> None:
        self.calls.append(("create", {"repo_id": repo_id, **settings}))

    def repo_info(self, repo_id: str, **settings: Any) -> Any:
        self.calls.append(("info", {"repo_id": repo_id, **settings}))
        return type("Info", (), {"private": not self.public})()

    def upload_folder(self, **settings: Any) -> None:
        self.calls.append(("upload", settings))
        if self.error is not None:
            raise self.error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("card")
    return tmp_path / "out"


def test_a_push_makes_the_repository_and_uploads_once(folder: Path) -> None:
    hub = Recorder()
    assert push(folder, "me/rows", "dataset", hub=hub) == "https://huggingface.co/datasets/me/rows"
    (created, first), (uploaded, second) = hub.calls
    assert (created, uploaded) == ("create", "upload")
    assert first == {"repo_id": "me/rows", "repo_type": "dataset", "private": None, "exist_ok": True}
    assert (second["repo_id"], second["repo_type"], second["folder_path"]) == ("me/rows", "dataset", str(folder))
    assert push(folder, "me/model", "model", hub=hub) == "https://huggingface.co/me/model"


def test_private_is_private_or_nothing_is_sent(folder: Path) -> None:
    hub = Recorder()
    push(folder, "me/rows", "dataset", private=True, hub=hub)
    assert [name for name, _ in hub.calls] == ["create", "info", "upload"]
    assert hub.calls[0][1]["private"] is True
    public = Recorder(public=True)
    with pytest.raises(InputError, match=r"already exists and is public; nothing was uploaded"):
        push(folder, "me/rows", "dataset", private=True, hub=public)
    assert "upload" not in [name for name, _ in public.calls]


@pytest.mark.parametrize("error", [RuntimeError("401 Unauthorized\nlong story"), ConnectionError(""), ValueError("x")])
def test_a_hub_that_refuses_leaves_the_folder(folder: Path, error: Exception) -> None:
    with pytest.raises(InputError, match=r"cannot push to me/rows: .*HF_TOKEN") as told:
        push(folder, "me/rows", "dataset", hub=Recorder(error=error))
    assert "\n" not in str(told.value)
    assert (folder / "README.md").read_text() == "card"


def test_offline_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot push to me/rows"):
        push(folder, "me/rows", "dataset")


@pytest.mark.parametrize("name", ["", "rows", "me/", "/rows", "me/rows/more", "me/ro ws", "me/-x", "me/x--y", "me/x..y",
                                  "me/.x", "me/" + "x" * 100, "https://huggingface.co/me/rows"])  # fmt: skip
def test_names_that_no_hub_takes(name: str) -> None:
    with pytest.raises(InputError, match="owner/name"):
        check_repo_id(name)


@pytest.mark.parametrize("name", ["me/rows", "me-too/rows_1.5", "M/x"])
def test_names_that_a_hub_takes(name: str) -> None:
    from huggingface_hub.utils import validate_repo_id

    assert check_repo_id(name) == name
    validate_repo_id(name)
