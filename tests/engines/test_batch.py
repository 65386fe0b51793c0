import json

import pytest

from tests.engines.server_kit import KEY, ask, counts, engine_at, many, running
from tests.fault_server import Behaviour
from tracedistill.engines.batch import BatchEngine, _BatchRun
from tracedistill.engines.batch_state import lines_of
from tracedistill.engines.budget import Budget, Prices
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import StopRunError
from tracedistill.engines.client import generate
from tracedistill.errors import InputError

QUICK = Behaviour(latency=0.005)


def batch_at(url, state, **fields):
    options = {name: fields.pop(name) for name in ("rounds", "wait", "on_wait", "at_once", "rows") if name in fields}
    sleep = fields.pop("sleep", lambda _: None)
    return BatchEngine(engine_at(url, timeout=5.0, **fields), state, poll=0.01, sleep=sleep, **options)


def summary(answers):
    return sorted((answer.request_id, answer.text, answer.finish) for answer in answers)


@pytest.fixture
def cache(tmp_path):
    with GenerationCache(tmp_path / "cache.db") as cache:
        yield cache


def test_a_batch_gives_what_single_calls_give_and_shares_their_cache(tmp_path, cache):
    state = tmp_path / "batches.json"
    with running(QUICK) as server:
        told = []
        answers = list(generate(many(50), batch_at(server.url, state, on_wait=told.append), cache))
        assert server.ledger.batches == 1
        assert told == ["batch batch-2: in_progress"]
        single = list(generate(many(50), engine_at(server.url)))
        calls = server.ledger.calls
        cached = list(generate(many(50), engine_at(server.url), cache))
        assert server.ledger.calls == calls
    assert summary(answers) == summary(single) == summary(cached)
    assert all(answer.tokens_out > 0 for answer in answers)
    assert json.loads(state.read_text()) == {"open": [], "rounds": {}, "paid": {}}


def test_expired_rows_are_submitted_again(tmp_path, cache):
    with running(Behaviour(batch_expires=2)) as server:
        answers = list(generate(many(40), batch_at(server.url, tmp_path / "s.json", rounds=4), cache))
        assert [answer.finish for answer in answers] == ["stop"] * 40
        assert server.ledger.batches == 3
        assert server.ledger.summary()["duplicates"] == 0


def test_failed_rows_are_merged_from_the_error_file(tmp_path, cache):
    marks = ["", "[[400]]", "[[context]]", "[[503]]", "[[empty]]", "[[length]]"]
    requests = [ask(n, marks[n % 6]) for n in range(30)]
    with running(QUICK) as server:
        answers = list(generate(requests, batch_at(server.url, tmp_path / "s.json", rounds=2), cache))
        assert server.ledger.batches == 2
    found = {marks[n]: {(a.finish, a.error[:9]) for a in answers if int(a.request_id[1:]) % 6 == n} for n in range(6)}
    assert found == {
        "": {("stop", "")},
        "[[400]]": {("error", "HTTP 400:")},
        "[[context]]": {("too-long", "HTTP 400:")},
        "[[503]]": {("error", "batch: HT")},
        "[[empty]]": {("error", "batch: em")},
        "[[length]]": {("length", "")},
    }


def test_a_batch_of_equal_refusals_stops_the_run_and_counts_no_row_as_failed(tmp_path, cache):
    """A field that the model refuses: every row comes back with the same words, and none with an answer."""
    state, limits = tmp_path / "s.json", Budget(scope="study")
    with running(Behaviour(latency=0.005, rejects="Problem")) as server:
        for _ in range(2):
            with pytest.raises(StopRunError, match="20 requests in a row failed and none was answered, with the same"):
                list(generate(many(20), batch_at(server.url, state, prices=Prices(2.0, 4.0)), cache, limits))
            assert json.loads(state.read_text()) == {"open": [], "rounds": {}, "paid": {}}
            balance = cache.balance("study")
            assert (balance.spent.usd, balance.others.calls) == (0.0, 0)
        server.service.behaviour.rejects = ""
        answers = list(generate(many(20), batch_at(server.url, state), cache))
    assert [answer.finish for answer in answers] == ["stop"] * 20
    assert not any(answer.cached for answer in answers)


@pytest.mark.parametrize(
    ("marks", "stops"),
    [
        (["[[400]]"] * 7, False),  # too few to tell
        (["[[400]]"] * 8, True),
        (["[[400]]"] * 19 + [""], False),  # an answer: the rows are at fault
        (["[[refusal]]"] * 20, False),  # moderated prompts
        (["[[400]]", "[[context]]"] * 10, True),
        (["[[503]]"] * 8, True),  # after all its rounds
    ],
)
def test_rows_or_run_is_told_by_what_a_batch_brings(marks, stops, tmp_path, cache):
    requests = [ask(n, mark) for n, mark in enumerate(marks)]
    with running(QUICK) as server:
        run = generate(requests, batch_at(server.url, tmp_path / "s.json", rounds=2), cache)
        if stops:
            with pytest.raises(StopRunError, match="none was answered"):
                list(run)
            return
        answers = list(run)
    failed = [answer for answer in answers if answer.finish in ("error", "too-long", "refusal")]
    assert len(failed) == sum(map(bool, marks))


class Killed(BaseException):
    pass


def test_a_run_killed_while_waiting_goes_on_with_its_batch(tmp_path, cache):
    def die(_):
        raise Killed

    with running(Behaviour(batch_polls=4)) as server:
        state = tmp_path / "batches.json"
        for _ in range(3):
            with pytest.raises(Killed):
                list(generate(many(20), batch_at(server.url, state, sleep=die), cache))
        assert len(json.loads(state.read_text())["open"]) == 1
        answers = list(generate(many(20), batch_at(server.url, state), cache))
        assert server.ledger.batches == 1
        assert len(answers) == 20


def test_a_run_killed_around_the_creation_finds_its_batch(tmp_path, cache, monkeypatch):
    create = _BatchRun._create

    def created_but_not_noted(self, batch):
        create(self, batch)
        batch.batch_id = ""
        self._save()
        raise Killed

    def not_created(self, batch):
        raise Killed

    with running(QUICK) as server:
        for replacement in (not_created, created_but_not_noted):
            state = tmp_path / f"{replacement.__name__}.json"
            monkeypatch.setattr(_BatchRun, "_create", replacement)
            with pytest.raises(Killed):
                list(generate(many(10, state.name), batch_at(server.url, state), cache))
            monkeypatch.setattr(_BatchRun, "_create", create)
            assert len(list(generate(many(10, state.name), batch_at(server.url, state), cache))) == 10
        assert server.ledger.batches == 2
        assert server.ledger.summary()["duplicates"] == 0


def test_a_run_killed_while_merging_pays_nothing_again(tmp_path, cache):
    state = tmp_path / "batches.json"
    with running(QUICK) as server:
        answers = generate(many(20), batch_at(server.url, state), cache)
        for _ in range(7):
            next(answers)
        answers.close()
        rest = list(generate(many(20), batch_at(server.url, state), cache))
        assert sum(answer.cached for answer in rest) == 7
        assert len(rest) == 20
        assert server.ledger.batches == 1


def test_batches_run_at_once_and_a_full_queue_is_waited_for(tmp_path, cache):
    told = []
    with running(Behaviour(batch_polls=3)) as server:
        engine = batch_at(server.url, tmp_path / "a.json", rows=10, at_once=4)
        assert len(list(generate(many(100), engine, cache))) == 100
        assert server.ledger.most_batches == 4
        assert server.ledger.summary()["duplicates"] == 0
    with running(Behaviour(batch_polls=3, batch_room=2)) as server:
        engine = batch_at(server.url, tmp_path / "b.json", rows=10, at_once=4, on_wait=told.append, rounds=1)
        answers = list(generate(many(60, "full"), engine, cache))
        assert [answer.finish for answer in answers] == ["stop"] * 60
        assert server.ledger.summary()["duplicates"] == 0
    assert any("queue is full" in line for line in told)


def test_a_queue_that_is_full_without_us_ends_the_run_with_its_words(tmp_path, cache):
    with running(Behaviour(batch_room=-1)) as server, pytest.raises(StopRunError, match="Enqueued token limit"):
        server.service.batches["theirs"] = {"status": "in_progress", "input_file_id": "x", "id": "theirs"}
        server.service.behaviour.batch_room = 1
        list(generate(many(3), batch_at(server.url, tmp_path / "s.json"), cache))


@pytest.mark.parametrize("lost", ["batch", "results", "upload"])
def test_what_the_server_has_purged_is_sent_again_and_counts_as_spent(lost, tmp_path, cache, monkeypatch):
    """Results are kept for some weeks; a batch that is gone once blocked every later run."""
    limits, told = Budget(scope="study"), []

    def die(_):
        raise Killed

    with running(Behaviour(batch_polls=2)) as server:
        state = tmp_path / "s.json"
        if lost == "upload":
            monkeypatch.setattr(_BatchRun, "_create", lambda self, batch: die(0))
        with pytest.raises(Killed):
            list(generate(many(5), batch_at(server.url, state, sleep=die, prices=Prices(2.0, 4.0)), cache, limits))
        monkeypatch.undo()
        at_stake = cache.balance("study").others
        assert at_stake.calls == 5
        if lost == "results":
            (name,) = server.service.batches
            server.service._poll(name)
        server.service.files.clear()
        if lost == "batch":
            server.service.batches.clear()
        engine = batch_at(server.url, state, on_wait=told.append, prices=Prices(2.0, 4.0))
        answers = list(generate(many(5), engine, cache, limits))
        balance = cache.balance("study")
    assert [answer.finish for answer in answers] == ["stop"] * 5
    bought = sum(answer.usd for answer in answers)
    assert balance.others.calls == 0
    assert balance.spent.usd == pytest.approx(bought + (at_stake.usd if lost != "upload" else 0.0))
    assert any("no longer on the server" in line for line in told) == (lost != "upload")


def test_what_is_under_way_is_at_stake_over_kills_and_settled_by_the_bill(tmp_path, cache):
    def die(_):
        raise Killed

    limits, prices = Budget(scope="study"), Prices(2.0, 4.0)
    with running(Behaviour(batch_polls=3, bill_all=True)) as server:
        state = tmp_path / "s.json"
        for _ in range(2):
            with pytest.raises(Killed):
                list(generate(many(20), batch_at(server.url, state, sleep=die, prices=prices), cache, limits))
            balance = cache.balance("study")
            assert (balance.spent.calls, balance.others.calls) == (0, 20)
        with pytest.raises(InputError, match="20 calls of other runs and batches in progress"):
            list(generate(many(9, "other"), engine_at(server.url), cache, Budget(calls=20, scope="study")))
        answers = list(generate(many(20), batch_at(server.url, state, prices=prices), cache, limits))
        read, wrote, _ = server.ledger.bill()
        balance = cache.balance("study")
    assert balance.others.calls == 0
    assert (
        balance.spent.usd
        == pytest.approx((read * 1.0 + wrote * 2.0) / 1e6)
        == pytest.approx(sum(answer.usd for answer in answers))
    )


def test_paid_rows_without_an_answer_stand_by_the_answer_that_came(tmp_path, cache):
    behaviour = Behaviour(faults=0.5, kinds=("empty",), bill_all=True, in_a_row=2)
    with running(behaviour) as server:
        engine = batch_at(server.url, tmp_path / "s.json", prices=Prices(2.0, 4.0), rounds=5)
        answers = list(generate(many(30), engine, cache, Budget(scope="study")))
        read, wrote, _ = server.ledger.bill()
        assert sum(server.ledger.paid.values()) > 30
    bill = (read * 1.0 + wrote * 2.0) / 1e6
    assert cache.balance("study").spent.usd == pytest.approx(bill)
    assert sum(answer.usd for answer in answers) == pytest.approx(bill)


def test_rows_of_a_batch_that_another_chunk_asks_for_are_not_lost(tmp_path, cache):
    def die(_):
        raise Killed

    with running(Behaviour(batch_polls=2)) as server:
        state = tmp_path / "s.json"
        with pytest.raises(Killed):
            list(generate(many(30), batch_at(server.url, state, sleep=die), cache))
        engine = batch_at(server.url, state, rows=8, at_once=1)
        assert engine.chunk == 8
        assert len(list(generate(many(30), engine, cache))) == 30
        assert server.ledger.batches == 1
        assert json.loads(state.read_text())["open"] == []


def test_waiting_ends_with_a_word_on_how_to_go_on(tmp_path, cache):
    with running(Behaviour(batch_polls=10**6)) as server, pytest.raises(StopRunError, match="run again later"):
        list(generate(many(3), batch_at(server.url, tmp_path / "s.json", wait=0.2), cache))


def test_budget_and_half_price(tmp_path, cache):
    with running(QUICK) as server:
        engine = batch_at(server.url, tmp_path / "s.json", prices=Prices(2.0, 4.0))
        assert engine.prices == Prices(1.0, 2.0)
        with pytest.raises(InputError, match="budget"):
            list(generate(many(50), engine, cache, Budget(calls=12)))
        assert sum(server.ledger.paid.values()) == 12 == counts(cache)["stop"]


def test_no_batch_api_is_told(tmp_path, cache):
    with running(QUICK) as server, pytest.raises(StopRunError, match="batch API says"):
        list(generate(many(3), batch_at(server.url + "/nowhere", tmp_path / "s.json"), cache))


def test_a_damaged_state_file_is_told(tmp_path, cache):
    state = tmp_path / "s.json"
    state.write_text('{"open": [')
    with running(QUICK) as server, pytest.raises(InputError, match="not a batch state file"):
        list(generate(many(3), batch_at(server.url, state), cache))


def test_no_key_in_any_file(tmp_path, cache):
    with running(QUICK) as server:
        environment = {"TEACHER_KEY": KEY}
        server_engine = engine_at(server.url, key_env="TEACHER_KEY", environment=environment)
        engine = BatchEngine(server_engine, tmp_path / "s.json", poll=0.01, sleep=lambda _: None)
        assert len(list(generate(many(3), engine, cache))) == 3
        assert server.ledger.authorizations[f"Bearer {KEY}"] >= 4
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()


def test_hostile_lines_of_a_result_file_end_no_run():
    deep, long = b'{"a":' * 100_000, b'{"custom_id": "x", "n": ' + b"9" * 5000 + b"}"
    assert lines_of(b"\n".join([deep, b"[1]", b"\xff", long])) == [{"custom_id": "x", "n": 0}]
