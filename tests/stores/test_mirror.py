"""Pull and push: what arrives elsewhere, in which order, and what a crash, a failure or a damaged object does."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.stores.kit import URL, CountedStore, kinds, machine, mirror, put, quick, stored
from tracedistill.errors import InputError
from tracedistill.stores import Mirror, push
from tracedistill.stores.listing import INDEX, is_mark, scan
from tracedistill.training.callbacks import WHOLE

__all__ = ["machine", "quick"]
pytestmark = pytest.mark.usefixtures("quick")
Machine = Callable[[str], None]


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_manifest", ".manifest").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def texts(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in scan(folder)}


def index() -> dict[str, dict[str, object]]:
    content = stored(INDEX)
    assert content is not None
    return dict(json.loads(content))


def test_files_arrive_on_another_machine(machine: Machine) -> None:
    here = mirror()
    with here.driven():
        write(here.folder, study_json="{}", traces__rules="a\n", traces__rules_manifest_json="m")
    machine("second")
    there = mirror()
    assert not there.folder.exists()
    there.refresh()
    assert texts(there.folder) == texts(here.folder)
    assert scan(there.folder) == scan(here.folder)  # times too, so that nothing is hashed again
    before = len(CountedStore.requests)
    there.refresh()
    assert [kind for kind, _ in CountedStore.requests[before:]] == ["GET"]  # the index alone


def test_what_is_removed_does_not_come_back(machine: Machine) -> None:
    first = mirror()
    with first.driven():
        write(first.folder, a="1", deep__b="2", c="3")
    machine("second")
    second = mirror()
    second.refresh()
    with second.driven():
        (second.folder / "deep" / "b").unlink()
        write(second.folder, c="33", d="4")
    assert stored("deep/b") is None
    machine("first")
    first = mirror()
    first.refresh()
    assert texts(first.folder) == {"a": "1", "c": "33", "d": "4"}
    assert not (first.folder / "deep").exists()


def test_a_file_lost_at_rest_is_fetched_again(machine: Machine) -> None:
    here = mirror()
    with here.driven():
        write(here.folder, a="1", b="2")
    (here.folder / "a").unlink()
    (here.folder / "b").write_text("changed by hand")
    here.refresh()
    assert texts(here.folder) == {"a": "1", "b": "2"}


def test_what_is_not_sent(machine: Machine) -> None:
    here = mirror()
    with here.driven():
        write(here.folder, a="1")
        for name in (
            ".lock",
            "adapters/x.checkpoints/running.lock",
            ".parts/validate/0",
            ".a.partial",
            "c.sqlite-wal",
            ".a.jsonl.id.index",
        ):
            path = here.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
        (here.folder / "link").symlink_to("/etc/passwd")
    assert set(index()["files"]) == {"a"}


def test_marks_come_last(machine: Machine) -> None:
    """Objects, then marks, then the index: at every moment the index names only what is there."""
    here = mirror()
    with here.driven():
        write(here.folder, z="1", a_manifest_json="m")

    def order() -> list[tuple[str, str]]:
        named = [(kind, path.removeprefix("/bucket/study/")) for kind, path in CountedStore.requests]
        return [(kind, name) for kind, name in named if kind in ("PUT", "DELETE") and "lease" not in name]

    assert order()[-3:] == [("PUT", "z"), ("PUT", "a.manifest.json"), ("PUT", INDEX)]
    CountedStore.requests.clear()
    with here.driven():
        write(here.folder, z="2", a_manifest_json="n")
    index = ("PUT", INDEX)
    assert order() == [
        index, ("DELETE", "a.manifest.json"), index, ("PUT", "z"), ("PUT", "a.manifest.json"), index,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["problems.jsonl.manifest.json", f"adapters/x.checkpoints/checkpoint-2/{WHOLE}"])
def test_marks(name: str) -> None:
    assert is_mark(name)
    assert not is_mark(name + "x")


def test_a_manifest_without_its_files_is_not_sent(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage begins again in the middle of a push: its manifest goes, its file changes."""
    here = mirror()
    with here.driven():
        write(here.folder, a="old", a_manifest_json="of old")

    with here.driven():
        write(here.folder, a="new", a_manifest_json="of new")
        real = push.snapshot

        def racing(source: Path, target: Path) -> object:
            entry = real(source, target)
            if source.name == "a":
                (here.folder / "a.manifest.json").unlink(missing_ok=True)
                (here.folder / "a").write_text("newer")
            return entry

        with monkeypatch.context() as patch:
            patch.setattr(push, "snapshot", racing)
            here._driving._pusher.push()  # type: ignore[union-attr]
        assert set(index()["files"]) == {"a"}
        write(here.folder, a_manifest_json="of newer")
    machine("second")
    there = mirror()
    there.refresh()
    assert texts(there.folder) == {"a": "newer", "a.manifest.json": "of newer"}


def test_a_database_is_copied_while_it_is_written(machine: Machine) -> None:
    here = mirror()
    with here.driven():
        here.folder.mkdir(parents=True)
        with closing(sqlite3.connect(here.folder / "answers.sqlite")) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE t (x)")
            db.execute("INSERT INTO t VALUES (1)")
            db.commit()
            db.execute("INSERT INTO t VALUES (2)")  # not committed
            here._driving._pusher.push()  # type: ignore[union-attr]
            sent = stored("answers.sqlite")
            db.commit()
    assert sent is not None
    machine("second")
    there = mirror()
    there.refresh()
    with closing(sqlite3.connect(there.folder / "answers.sqlite")) as db:
        assert db.execute("SELECT x FROM t ORDER BY x").fetchall() == [(1,), (2,)]
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    before = kinds()["PUT"]
    there.refresh()
    with there.driven():
        pass
    assert kinds()["PUT"] - before == 1  # the lease: opening a database does not change it
    elsewhere = Path(there.folder / "first")
    elsewhere.write_bytes(sent)
    with closing(sqlite3.connect(elsewhere)) as db:
        assert db.execute("SELECT x FROM t").fetchall() == [(1,)]


def test_a_growing_file_is_sent_as_it_was(machine: Machine) -> None:
    here, stop = mirror(), threading.Event()
    with here.driven():
        write(here.folder, log="")

        def grow() -> None:
            with (here.folder / "log").open("a") as stream:
                while not stop.is_set():
                    stream.write("line\n")
                    stream.flush()

        thread = threading.Thread(target=grow)
        thread.start()
        try:
            for _ in range(5):
                here._driving._pusher.push()  # type: ignore[union-attr]
        finally:
            stop.set()
            thread.join()
        machine("second")
        there = mirror()
        there.refresh()  # the content has the hash that the index says
        assert set("".join(texts(there.folder).values())) <= set("line\n")


@pytest.mark.parametrize("content", [b"half", b"", b"12345"])
def test_a_damaged_object_is_refused(content: bytes, machine: Machine) -> None:
    here = mirror()
    with here.driven():
        write(here.folder, a="abcde", a_manifest_json="m")
    put("a", content)
    machine("second")
    there = mirror()
    with pytest.raises(InputError, match=r"counted://bucket/study/a: is not what was written there: it has \d bytes"):
        there.refresh()
    assert "a.manifest.json" not in scan(there.folder)
    CountedStore.store.pop("/bucket/study/a")  # as the message says
    there.refresh()
    assert set(scan(there.folder)) == {"a.manifest.json"}


def test_a_crash_while_objects_are_replaced(machine: Machine) -> None:
    """The store fails for good after some objects were replaced: old or new, another machine finds a sound folder."""
    here = mirror()
    with here.driven():
        write(here.folder, a="a1", b="b1", c="c1", a_manifest_json="m1", other="o", other_manifest_json="of o")
    for count in range(1, 20):
        machine(f"writer{count}")
        here = mirror()
        here.refresh()
        seen = [0]

        def fails(number: int, kind: str, path: str, seen: list[int] = seen, count: int = count) -> bool:
            seen[0] += kind == "PUT"
            return kind == "PUT" and seen[0] > count

        why = ""
        try:
            with here.driven():
                write(here.folder, a=f"a{count}x", b=f"b{count}x", c=f"c{count}x", a_manifest_json=f"m{count}x")
                CountedStore.fails = staticmethod(fails)  # type: ignore[assignment]
        except InputError as error:
            why = str(error)
        if count > 6:  # the index without the mark, and with what is replaced; 3 files; the mark; the index
            assert why == ""
            break
        assert "the same command sends it from there" in why
        CountedStore.fails = staticmethod(lambda *_: False)  # type: ignore[assignment]
        machine(f"reader{count}")
        there = mirror()
        there.refresh()
        found = texts(there.folder)
        assert {"a", "b", "c"} <= set(found), count
        assert found["other"] + found["other.manifest.json"] == "oof o"
        if "a.manifest.json" in found:
            assert found["a.manifest.json"][1:] == found["a"][1:] == found["b"][1:] == found["c"][1:]
        machine(f"writer{count}")
        here = mirror()
        here.refresh()  # nothing is lost where it was made
        assert texts(here.folder)["a"] == f"a{count}x"
        with here.driven():
            pass
        machine(f"reader{count}")
        there.refresh()
        assert texts(there.folder) == texts(here.folder)


@pytest.mark.parametrize("every", [2, 3, 5])
def test_a_store_that_fails_now_and_then(every: int, machine: Machine) -> None:
    """Of the requests for each object, all but every n-th fail."""
    made: Counter[tuple[str, str]] = Counter()

    def fails(number: int, kind: str, path: str) -> bool:
        made[kind, path] += 1
        return made[kind, path] % every != 0

    CountedStore.fails = staticmethod(fails)  # type: ignore[assignment]
    here = mirror()
    here.refresh()
    with here.driven():
        write(here.folder, **{f"f{number}": str(number) for number in range(50)})
    machine("second")
    there = mirror()
    there.refresh()
    assert texts(there.folder) == texts(here.folder)


def test_a_store_that_is_gone(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    here = mirror()
    with pytest.raises(InputError) as caught, here.driven():
        write(here.folder, a="1")
        CountedStore.fails = staticmethod(lambda *_: True)  # type: ignore[assignment]
    assert "cannot read .tracedistill/index.json: https://***@host" in str(caught.value)
    assert "secret" not in str(caught.value) + capsys.readouterr().err
    assert "token=abc" not in str(caught.value)
    assert f"Everything that was made is in {here.folder}" in str(caught.value)
    CountedStore.fails = staticmethod(lambda *_: False)  # type: ignore[assignment]
    with mirror().driven():
        pass
    assert stored("a") == b"1"


def test_an_error_of_the_run_is_kept(machine: Machine) -> None:
    """What was made is sent, and the error is the run's own."""
    here = mirror()
    with pytest.raises(ZeroDivisionError), here.driven():
        write(here.folder, a="1")
        raise ZeroDivisionError
    assert stored("a") == b"1"
    machine("second")
    there = mirror()
    there.refresh()
    with there.driven():
        write(there.folder, a="2")
    machine("first")
    here.refresh()
    assert texts(here.folder) == {"a": "2"}


def test_work_that_was_never_sent_is_set_aside(machine: Machine) -> None:
    here = mirror()
    with here.driven():
        write(here.folder, a="1", b="1")
    with pytest.raises(InputError), here.driven():
        write(here.folder, a="unsent", new="unsent")
        CountedStore.fails = staticmethod(lambda *_: True)  # type: ignore[assignment]
    CountedStore.fails = staticmethod(lambda *_: False)  # type: ignore[assignment]
    for name in list(CountedStore.store):
        if "lease" in name:
            CountedStore.store.pop(name)
    machine("second")
    there = mirror()
    there.refresh()
    with there.driven():
        write(there.folder, a="of the second")
    machine("first")
    said: list[str] = []
    here = Mirror(URL, said.append)
    here.refresh()
    assert texts(here.folder) == {"a": "of the second", "b": "1"}
    (aside,) = here.folder.parent.glob("set-aside-*")
    assert texts(aside) == {"a": "unsent", "new": "unsent"}
    assert any("another machine has continued" in line and str(aside) in line for line in said)


def test_what_is_no_run_folder(machine: Machine) -> None:
    put("thesis.pdf", b"x")
    with pytest.raises(InputError, match=r"holds 'thesis.pdf' but no .tracedistill/index.json"):
        mirror().refresh()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", ".tracedistill/index.json"])
def test_names_that_leave_the_folder(name: str, machine: Machine) -> None:
    with mirror().driven():
        pass
    entry = {"bytes": 1, "mtime_ns": 1, "sha256": "0"}
    put(INDEX, json.dumps({**index(), "files": {name: entry}}).encode())
    with pytest.raises(InputError, match="outside the run folder"):
        mirror().refresh()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"files": 3}', b'{"format": 9}', b'{"new": 1}', b"\xff"])
def test_an_index_that_cannot_be_read(content: bytes, machine: Machine) -> None:
    put(INDEX, content)
    with pytest.raises(InputError, match=r"index.json: (not an index|has format 9)"):
        mirror().refresh()


def test_a_reader_while_a_run_works_here(machine: Machine) -> None:
    """The working copy is newer than the store, and is read as it is."""
    here = mirror()
    with here.driven():
        write(here.folder, a="1")
        before = len(CountedStore.requests)
        mirror().refresh()
        assert texts(here.folder) == {"a": "1"}
        assert len(CountedStore.requests) == before


def test_a_reader_while_another_one_fetches(machine: Machine) -> None:
    """It waits, and finds everything."""
    here = mirror()
    with here.driven():
        write(here.folder, **{f"f{number:02}": str(number) for number in range(20)})
    machine("second")
    slow, there = threading.Event(), mirror()

    def waits(number: int, kind: str, path: str) -> bool:
        if path.endswith("f05"):
            slow.set()
            time.sleep(0.5)
        return False

    CountedStore.fails = staticmethod(waits)  # type: ignore[assignment]
    thread = threading.Thread(target=there.refresh)
    thread.start()
    assert slow.wait(10)
    mirror().refresh()
    assert len(scan(there.folder)) == 20
    thread.join()


def test_an_interrupted_pull_is_continued(machine: Machine) -> None:
    here = mirror()
    with here.driven():
        write(here.folder, **{f"f{number:02}": str(number) for number in range(40)})
    machine("second")
    there = mirror()
    start = len(CountedStore.requests)
    CountedStore.fails = staticmethod(lambda number, kind, path: number > start + 20)  # type: ignore[assignment]
    with pytest.raises(InputError, match="cannot read f"):
        there.refresh()
    CountedStore.fails = staticmethod(lambda *_: False)  # type: ignore[assignment]
    assert 0 < len(scan(there.folder)) < 40
    before = kinds()["GET"]
    there.refresh()
    assert texts(there.folder) == texts(here.folder)
    assert kinds()["GET"] - before < 40
