"""Runs `generate` in a process of its own, to be killed: `kill_worker.py URL CACHE OUT COUNT CONCURRENCY [TEXT
[JSON]]`.

TEXT stands in every prompt; JSON holds the fields of a Budget. Writes OUT (JSON Lines, sorted by id) when everything is
finished; prints one line per yielded generation. Exit code 3: the budget is reached.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tracedistill.engines import Request, Sampling
from tracedistill.engines.budget import Budget, BudgetReachedError, Prices
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import Pacing
from tracedistill.engines.client import generate
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.records import Message

PRICES = Prices(1.0, 4.0, 0.25)


def main(url: str, cache: str, out: str, count: str, concurrency: str, text: str = "", limits: str = "{}") -> None:
    pacing = Pacing(concurrency=int(concurrency), start=int(concurrency))
    config = ServerConfig(url, "stub", key_env="TEACHER_KEY" if "TEACHER_KEY" in os.environ else "", timeout=1.0)
    engine = ServerEngine(type(config)(config.base_url, config.model, config.key_env, config.timeout, pacing, PRICES))
    requests = (
        Request(f"r{index}", (Message("user", f"Problem {index} {text}"),), Sampling(max_tokens=64))
        for index in range(int(count))
    )
    rows = []
    with GenerationCache(cache) as kept:
        for answer in generate(requests, engine, kept, Budget(**json.loads(limits))):
            rows.append({"id": answer.request_id, "text": answer.text, "finish": answer.finish})
            print(answer.request_id, flush=True)
    rows.sort(key=lambda row: row["id"])
    beside = Path(out + ".new")
    beside.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    beside.replace(out)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BudgetReachedError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
