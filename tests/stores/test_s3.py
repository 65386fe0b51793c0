"""s3fs against a pretended S3. Runs where both are installed: pip install s3fs 'moto[server]'."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.stores.kit import machine
from tracedistill.errors import InputError
from tracedistill.stores import Mirror, lease
from tracedistill.stores.objects import ObjectStore, StoreError

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")
__all__ = ["machine"]


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of an empty bucket."""
    import fsspec

    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"), ("AWS_ACCESS_KEY_ID", "testing"),
        ("AWS_SECRET_ACCESS_KEY", "testing"), ("AWS_DEFAULT_REGION", "us-east-1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lease, "SETTLE", 0.0)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    name = f"studies-{secrets.token_hex(4)}"  # moto keeps its buckets
    files.mkdir(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield f"s3://{name}"
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


def test_objects(bucket: str) -> None:
    store = ObjectStore(f"{bucket}/study")
    assert store.names() == []
    assert store.create("a/b", b"1")
    assert not store.create("a/b", b"2")
    assert store.read("a/b") == b"1"
    store.write("a/c", b"3")
    assert store.names("a") == ["b", "c"]
    store.delete(["a/b", "a/none"])
    assert store.read("a/b") is None
    assert store.names("a") == ["c"]


def test_a_missing_bucket_is_not_created(bucket: str) -> None:
    with pytest.raises(StoreError, match="create the bucket or folder first"):
        ObjectStore("s3://nowhere/study").write("a", b"1")
    assert ObjectStore("s3://nowhere/study").read("a") is None


def test_two_machines(bucket: str, machine: Callable[[str], None]) -> None:
    first = Mirror(f"{bucket}/study")
    with first.driven():
        first.folder.mkdir(parents=True)
        (first.folder / "large").write_bytes(b"x" * 20_000_000)
        (first.folder / "a").write_text("1")
        machine("second")
        with pytest.raises(InputError, match="two runs in one folder are refused"), Mirror(f"{bucket}/study").driven():
            pass
        machine("first")
    machine("second")
    second = Mirror(f"{bucket}/study")
    second.refresh()
    assert (second.folder / "large").stat().st_size == 20_000_000
    with second.driven():
        (second.folder / "a").unlink()
    machine("first")
    first.refresh()
    assert [path.name for path in first.folder.iterdir()] == ["large"]
