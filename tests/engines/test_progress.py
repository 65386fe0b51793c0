import pytest

from tests.engines.server_kit import Endpoint, ask, completion, many
from tracedistill.engines import Generation
from tracedistill.engines.budget import Prices
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.client import generate
from tracedistill.engines.cost_forecast import forecast
from tracedistill.engines.progress import Statistics


def test_rates_are_those_of_the_last_minute():
    now = [100.0]
    figures = Statistics(total=1000, clock=lambda: now[0])
    for _ in range(240):  # two answers of 30 tokens a second
        now[0] += 0.5
        figures.count(Generation("r", "text", "stop", 10, 20))
    assert figures.tokens_per_minute == pytest.approx(3600, rel=0.05)
    assert figures.seconds_left == pytest.approx(380, rel=0.05)
    now[0] += 120
    assert figures.tokens_per_minute == 0
    assert figures.seconds_left is None
    assert len(figures._recent) <= 62


def test_money_is_projected_from_what_was_bought():
    figures = Statistics(total=100)
    assert figures.usd_projected is None
    for cached in [True] * 20 + [False] * 10:
        figures.count(Generation("r", "text", "stop", 10, 20, cached=cached))
    figures.usd = 1.0
    assert figures.usd_projected == pytest.approx(8.0)


def test_forecast_tells_what_is_left_to_buy(tmp_path):
    engine = Endpoint(completion()).engine(prices=Prices(1e6, 1e6))
    with GenerationCache(tmp_path / "c.db") as cache:
        list(generate(many(10), engine, cache))
        asked = [*many(900), ask(5), ask(899)]
        found = forecast(asked, engine, cache)
        assert (found.requests, found.cached, found.calls) == (902, 12, 890)
        assert found.first == ask(10)
        assert found.tokens_out_most == 890 * 64
        assert found.usd_most == found.tokens_in + found.tokens_out_most
        assert len(list(generate(asked, engine, cache))) == 902
        assert forecast(asked, engine, cache).calls == 0
    assert forecast(many(3), engine).calls == 3
