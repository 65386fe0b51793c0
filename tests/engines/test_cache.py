import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from tests.engines.server_kit import counts
from tracedistill.engines import Generation
from tracedistill.engines.cache import GenerationCache, content_key
from tracedistill.engines.ledger import Balance, Booking, Spending, holder_name
from tracedistill.errors import InputError

GOOD = Generation("", "text", "stop", tokens_in=3, tokens_out=4)


@pytest.fixture
def cache(tmp_path):
    with GenerationCache(tmp_path / "made" / "cache.db") as cache:
        yield cache


def made(finish, text="", **fields):
    return Generation("", text, finish, **fields)


def put(cache, key, generation):
    cache.exchange([(key, generation)])


def get(cache, key):
    return cache.lookup([key]).get(key)


def same(stored, generation):
    return replace(stored, created=0.0, cached=False) == generation


def test_keys_tell_apart_whatever_differs():
    parts = [
        ("a",),
        ("a", None),
        ("b",),
        (1,),
        (1.5,),
        ("1",),
        ({"a": 1},),
        (["a"],),
        ("\U0001f600",),
        ("\ud83d\ude00",),
    ]
    parts += [("\0",), ("",), ("\ud800",), ("é",), ("e\u0301",)]
    assert len({content_key(*some) for some in parts}) == len(parts)
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    with pytest.raises(ValueError):
        content_key(float("nan"))


@pytest.mark.parametrize(
    "text", ["", "plain", "nul \0 inside", "lone \ud800 \udfff", "\r\n\u2028", "é" * 10, "x" * 20_000_000]
)
def test_any_text_comes_back(cache, text):
    entry = made("stop", text, reasoning=text[:100], error=text[:100])
    put(cache, b"k" * 32, entry)
    assert same(get(cache, b"k" * 32), entry)


def test_reopened_file_has_everything(tmp_path):
    path = tmp_path / "cache.db"
    with GenerationCache(path) as cache:
        put(cache, b"a", GOOD)
        cache.exchange(booking=Booking("study", "somebody", Spending(1, 7, 0.5)))
    with GenerationCache(path) as cache:
        assert same(get(cache, b"a"), GOOD)
        assert get(cache, b"b") is None
        assert cache.balance("study").spent == Spending(1, 7, 0.5)
        assert cache.balance("other") == Balance()


def test_first_good_answer_wins_and_nothing_is_overwritten(cache):
    for text, finish in [("", "error"), ("half", "length"), ("first", "stop"), ("second", "stop"), ("", "refusal")]:
        put(cache, b"a", made(finish, text))
    assert get(cache, b"a").text == "first"
    assert counts(cache) == {"error": 1, "length": 1, "refusal": 1, "stop": 2}
    put(cache, b"b", made("error", error="one"))
    put(cache, b"b", made("error", error="two"))
    assert get(cache, b"b").error == "two"


def test_lookup_of_many(cache):
    keys = [content_key(index) for index in range(1500)]
    cache.exchange([(key, GOOD) for key in keys[:1200]])
    assert cache.lookup(keys).keys() == set(keys[:1200])


def test_two_users_do_not_buy_the_same(tmp_path):
    path = tmp_path / "cache.db"
    with GenerationCache(path) as one, GenerationCache(path) as two:
        assert one.exchange(wanted=[b"a", b"b"]).granted == {b"a", b"b"}
        assert two.exchange(wanted=[b"a", b"c"]).granted == {b"c"}
        put(one, b"a", GOOD)
        assert two.exchange(wanted=[b"a"]).answered.keys() == {b"a"}
        one.exchange(released=[b"b"])
        assert two.exchange(wanted=[b"b"]).granted == {b"b"}
        assert one.exchange(wanted=[b"b"]).granted == frozenset()
    with GenerationCache(path) as three:
        assert three.exchange(wanted=[b"b", b"c"]).granted == {b"b", b"c"}


def test_failures_are_found_unless_asked_for_again(cache):
    put(cache, b"a", made("length", "cut"))
    assert cache.exchange(wanted=[b"a"]).answered[b"a"].finish == "length"
    assert cache.exchange(wanted=[b"a"], rebuy=frozenset({"length"})).granted == {b"a"}


def test_claims_of_a_dead_process_are_void_and_of_a_hung_one_end(tmp_path):
    path = tmp_path / "cache.db"
    claim = "import os, sys; from tracedistill.engines.cache import GenerationCache as C; c = C(sys.argv[1]); "
    claim += "c.exchange(wanted=[b'a']); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", claim, str(path)]).returncode == -9
    now = [1000.0]
    with GenerationCache(path) as cache:
        assert cache.exchange(wanted=[b"a"]).granted == {b"a"}
    with GenerationCache(path, clock=lambda: now[0]) as hung, GenerationCache(path, clock=lambda: now[0]) as other:
        assert hung.exchange(wanted=[b"b"]).granted
        assert not other.exchange(wanted=[b"b"]).granted
        now[0] += 3600
        assert other.exchange(wanted=[b"b"]).granted


def test_threads_and_processes_write_at_the_same_time(tmp_path):
    path = tmp_path / "cache.db"
    work = "import sys; from tracedistill.engines.cache import *; c = GenerationCache(sys.argv[1]); "
    work += "[c.exchange([(content_key(sys.argv[2], i), Generation('', str(i), 'stop'))]) for i in range(150)]"
    processes = [subprocess.Popen([sys.executable, "-c", work, str(path), name]) for name in ("p", "q")]
    with GenerationCache(path) as cache:
        puts = [
            threading.Thread(
                target=lambda n=n: [put(cache, content_key(n, i), made("stop", str(i))) for i in range(150)]
            )
            for n in range(2)
        ]
        for thread in puts:
            thread.start()
        for thread in puts:
            thread.join()
        assert [process.wait(60) for process in processes] == [0, 0]
        assert counts(cache) == {"stop": 600}
        assert get(cache, content_key("q", 149)).text == "149"


def test_engine_descriptions_are_kept(cache, tmp_path):
    name = cache.record_engine({"model": "m", "endpoint": "e"})
    assert name == cache.record_engine({"endpoint": "e", "model": "m"})
    assert name != cache.record_engine({"model": "m2"})
    with sqlite3.connect(cache.path) as db:
        assert db.execute("SELECT count(*) FROM engines").fetchone() == (2,)
    db.close()


def test_what_is_no_cache_is_refused_by_name_and_left_alone(tmp_path):
    garbage = tmp_path / "garbage.db"
    garbage.write_bytes(b"not a database at all" * 100)
    foreign = tmp_path / "foreign.db"
    db = sqlite3.connect(foreign)
    db.execute("CREATE TABLE notes (x)")
    db.close()
    newer = tmp_path / "newer.db"
    GenerationCache(newer).close()
    db = sqlite3.connect(newer)
    db.execute("PRAGMA user_version = 9")
    db.close()
    for path, words in [
        (garbage, "damaged"),
        (foreign, "not a generation cache"),
        (newer, "version 9"),
        (tmp_path, "check"),
    ]:
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(InputError, match=words) as caught:
            GenerationCache(path)
        assert str(path) in str(caught.value)
        assert not path.is_file() or path.read_bytes() == before


VERSION_1 = """
CREATE TABLE generations (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, finish TEXT NOT NULL, text BLOB NOT NULL, reasoning BLOB,
  error BLOB NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, estimated INTEGER NOT NULL,
  seconds REAL NOT NULL, engine TEXT NOT NULL, created REAL NOT NULL);
CREATE INDEX generations_key ON generations (key);
CREATE TABLE claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE engines (engine TEXT PRIMARY KEY, description TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE spending (scope TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens INTEGER NOT NULL, usd REAL NOT NULL)
  WITHOUT ROWID;
INSERT INTO generations VALUES (1, 'k', 'stop', 'text', NULL, '', 3, 4, 0, 0.5, 'e', 9.0);
INSERT INTO engines VALUES ('e', '{}');
INSERT INTO spending VALUES ('study', 2, 30, 0.25);
PRAGMA application_id = 1413760835;
PRAGMA user_version = 1;
"""


def test_a_file_of_version_1_is_upgraded_with_all_that_was_paid_for(tmp_path):
    path = tmp_path / "old.db"
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode = WAL;" + VERSION_1.replace("'k'", "x'6b'"))
    db.execute("UPDATE generations SET text = CAST(text AS BLOB), error = CAST(error AS BLOB)")
    db.commit()
    db.close()
    for _ in range(2):
        with GenerationCache(path) as cache:
            assert get(cache, b"k") == made(
                "stop", "text", tokens_in=3, tokens_out=4, seconds=0.5, created=9.0, cached=True
            )
            assert cache.balance("study").spent == Spending(2, 30, 0.25)
            cache.record_overrun("e", 7, 9)
            assert cache.overrun("e") == (7, 9)
            put(cache, b"new", GOOD)
            assert same(get(cache, b"new"), GOOD)


def test_what_a_dead_process_had_at_stake_is_charged_and_a_batch_s_is_not(tmp_path):
    path = tmp_path / "cache.db"
    work = "import os, sys; from tracedistill.engines.cache import GenerationCache as C; "
    work += "from tracedistill.engines.ledger import *; "
    work += "b = Booking('study', holder_name(0), at_stake=Spending(), worst={b'a': Spending(1, 9, 0.5)}); "
    work += "c = C(sys.argv[1]); c.exchange(wanted=[b'a'], booking=b); "
    work += "c.exchange(booking=Booking('study', batch_holder('x'), at_stake=Spending(3, 30, 1.0))); "
    work += "os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", work, str(path)]).returncode == -9
    with GenerationCache(path) as cache:
        balance = cache.balance("study")
        assert (balance.spent, balance.others, balance.waiting) == (Spending(1, 9, 0.5), Spending(3, 30, 1.0), False)
        assert cache.exchange(wanted=[b"a"]).granted == {b"a"}


def test_two_processes_cannot_reserve_the_same_money(tmp_path):
    path = tmp_path / "cache.db"
    worst = {key: Spending(1, 10, 0.0) for key in (b"a", b"b", b"c")}

    def booking(holder):
        return Booking("study", holder, at_stake=Spending(), worst=worst, fits=lambda total: total.calls <= 2)

    with GenerationCache(path) as one, GenerationCache(path) as two:
        assert one.exchange(wanted=[b"a"], booking=booking(holder_name(1))).granted == {b"a"}
        claims = two.exchange(wanted=[b"b", b"c"], booking=booking(holder_name(2)))
        assert (claims.granted, claims.unaffordable) == ({b"b"}, {b"c"})
        assert claims.balance.waiting, "the other's call may turn out to cost nothing"


def test_a_file_damaged_inside_is_told_not_lost(tmp_path):
    path = tmp_path / "cache.db"
    with GenerationCache(path) as cache:
        cache.exchange([(content_key(i), made("stop", "x" * 500)) for i in range(200)])
    data = bytearray(path.read_bytes())
    data[4096 : len(data) - 4096] = b"\xaa" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"), GenerationCache(path) as cache:
        cache.lookup([content_key(i) for i in range(200)])


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="check that the folder"):
        GenerationCache(tmp_path / "file" / "cache.db")
    GenerationCache(tmp_path / "cache.db").close()
    connect = sqlite3.connect
    read_only = f"file:{tmp_path / 'cache.db'}?mode=ro"
    monkeypatch.setattr(sqlite3, "connect", lambda _path, **options: connect(read_only, uri=True, **options))
    with pytest.raises(InputError, match=r"readonly.*check that the folder"):
        GenerationCache(tmp_path / "cache.db")


def test_full_disk_is_told_and_keeps_what_was_there(tmp_path):
    path = tmp_path / "cache.db"
    with GenerationCache(path) as cache:
        put(cache, b"a", GOOD)
        cache._writer.execute("PRAGMA max_page_count = 12")
        with pytest.raises(InputError, match="free disk space"):
            put(cache, b"b", made("stop", "x" * 1_000_000))
        assert same(get(cache, b"a"), GOOD)
        assert get(cache, b"b") is None
        put(cache, b"c", GOOD)


def test_a_lock_held_too_long_is_told(tmp_path):
    path = tmp_path / "cache.db"
    GenerationCache(path).close()
    with GenerationCache(path, busy_seconds=0.2) as cache:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="another process"):
            put(cache, b"a", GOOD)
        other.execute("ROLLBACK")
        other.close()
        put(cache, b"a", GOOD)


def test_kill_loses_nothing_that_was_put(tmp_path):
    path, told = tmp_path / "cache.db", tmp_path / "told"
    work = "import sys; from tracedistill.engines.cache import *; c = GenerationCache(sys.argv[1]); "
    work += "f = open(sys.argv[2], 'w')\n"
    work += "for i in range(10**6): c.exchange([(content_key(i), Generation('', 'x' * 300, 'stop'))]); "
    work += "f.write(f'{i}\\n'); f.flush()"
    process = subprocess.Popen([sys.executable, "-c", work, str(path), str(told)])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and not (told.exists() and told.stat().st_size > 500):
        time.sleep(0.01)
    process.kill()
    process.wait()
    count = len(told.read_text().splitlines())
    assert count > 50
    with GenerationCache(path) as cache:
        assert len(cache.lookup([content_key(i) for i in range(count)])) == count
        assert counts(cache)["stop"] <= count + 1


@pytest.mark.parametrize("module", ["engines.cache", "engines.client", "engines.server", "engines.batch"])
def test_import_is_quick(module):
    code = f"import sys, tracedistill.{module}; print([m for m in sys.modules if m in ('openai', 'httpx2', 'torch')])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
