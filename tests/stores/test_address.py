"""Which URLs name run folders, where their working copies lie, and what no message shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracedistill.errors import InputError
from tracedistill.stores import Mirror, address, is_url, run_folder, url_fault, working_copy
from tracedistill.stores.objects import ObjectStore


@pytest.mark.parametrize("place", ["s3://bucket/study", "gs://b/a/b", "memory://x", "file:///mnt/x", "abfs://c@a/x"])
def test_urls(place: str) -> None:
    assert is_url(place)
    assert url_fault(place) == ""


@pytest.mark.parametrize("place", ["runs/first", "/data/runs", "./s3:/x", "run_dir=s3://b/x", "C:\\runs", "~/x"])
def test_paths(place: str) -> None:
    assert not is_url(place)
    assert run_folder(place) == Path(place)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("s3://key:secret@bucket/study", "contains a password or a query"),
        ("sftp://ana:secret@host/study", "contains a password or a query"),
        ("https://host/x?token=secret", "contains a password or a query"),
        ("s3://bucket/x?X-Amz-Signature=secret&a=b", "contains a password or a query"),
        ("gs://bucket/x#secret", "contains a password or a query"),
        ("simplecache::s3://bucket/x", "chained"),
        ("s3://bucket/a::zip://b", "chained"),
        ("s3://", "names no folder"),
        ("s3://bucket/../x", "'..'"),
        ("s3://[bucket/x", "not a URL"),
    ],
)
def test_refused_urls_show_no_secret(url: str, part: str) -> None:
    assert is_url(url)
    fault = url_fault(url)
    assert part in fault
    assert "secret" not in fault
    with pytest.raises(InputError):
        working_copy(url)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot reach s3://key:pw@b/x", "cannot reach s3://***@b/x"),
        ("GET https://h/x?X-Amz-Signature=abc&d=e failed", "GET https://h/x?*** failed"),
        ("{'aws_secret_access_key': 'abc'}", "{'aws_secret_access_key': ***"),
        ("token=abc and more", "token=*** and more"),
        ("Access denied to s3://bucket/study", "Access denied to s3://bucket/study"),
        ("tokens in: 12", "tokens in: 12"),
    ],
)
def test_masks(text: str, shown: str) -> None:
    assert address.masked(text) == shown


def test_a_copy_is_the_same_for_the_same_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEDISTILL_WORKING_COPIES", str(tmp_path))
    assert working_copy("s3://bucket/study") == working_copy("s3://bucket/study/")
    assert working_copy("s3://bucket/study").name == "study"
    assert working_copy("s3://bucket/study") != working_copy("s3://other/study")
    assert working_copy("s3://bucket/study").is_relative_to(tmp_path)


def test_places_of_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRACEDISTILL_WORKING_COPIES", raising=False)
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path))
    assert working_copy("s3://b/x").is_relative_to(tmp_path / "runs")
    monkeypatch.delenv("TRACEDISTILL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert working_copy("s3://b/x").is_relative_to(tmp_path / "xdg" / "tracedistill" / "runs")


@pytest.mark.parametrize(
    ("url", "part"), [("s3://bucket/x", "pip install s3fs"), ("gs://bucket/x", "pip install gcsfs")]
)
def test_a_missing_package_is_named(url: str, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=part):
        ObjectStore(url)


def test_an_unknown_protocol() -> None:
    with pytest.raises(InputError, match="cannot be opened: Protocol not known: nosuch"):
        ObjectStore("nosuch://x/y")


def test_mirrors_refuse_secrets() -> None:
    with pytest.raises(InputError) as caught:
        Mirror("s3://key:secret@bucket/study")
    assert "secret" not in str(caught.value)
