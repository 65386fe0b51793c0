"""What the teacher client costs: rate and CPU beside a plain `AsyncOpenAI` + semaphore loop on the same transport.

Both use openai's aiohttp transport. The stub (tests/fault_server.py --canned) answers after 200 ms and shares the
machine. Ideal: concurrency / latency. Both loops run in turns on the same stub; medians over the rounds. Ours starts
cold each round (thread, client, connections, new cache file), and every answer is committed to the cache before it
counts; the plain loop has no cache and opens its connections before the clock starts.

    python benchmarks/teacher_client.py [--calls 3200] [--rounds 3] [--concurrency 64] [--latency 0.2]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from machine import machine
from openai import AsyncOpenAI, DefaultAioHttpClient

from tracedistill.engines import Request, Sampling
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import Pacing
from tracedistill.engines.client import generate
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.records import Message

STUB = Path(__file__).resolve().parents[1] / "tests" / "fault_server.py"
SYSTEM = "Decompose the problem into short steps. Do not solve the problem. Format as a list."


def question(index: int) -> str:
    """Return a prompt of ordinary length."""
    return f"Problem {index}: a farmer picks {index} apples and sells half of them at 3 for 2 dollars. " * 4


def plain(url: str, calls: int, concurrency: int) -> tuple[float, float]:
    """Return (seconds, CPU seconds) of the loop that everybody writes first."""

    async def run() -> tuple[float, float]:
        gate = asyncio.Semaphore(concurrency)
        transport = DefaultAioHttpClient()
        async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0, http_client=transport) as client:

            async def one(index: int) -> str:
                async with gate:
                    reply = await client.chat.completions.create(
                        model="stub",
                        messages=[
                            {"role": "system", "content": SYSTEM},
                            {"role": "user", "content": question(index)},
                        ],
                        max_tokens=256,
                        temperature=0.0,
                        top_p=1.0,
                        seed=0,
                    )
                    return reply.choices[0].message.content or ""

            await asyncio.gather(*(one(-1 - index) for index in range(concurrency)))
            wall, cpu = time.perf_counter(), time.process_time()
            texts = await asyncio.gather(*(one(index) for index in range(calls)))
            spent = time.perf_counter() - wall, time.process_time() - cpu
            assert all(texts)
            return spent

    return asyncio.run(run())


def ours(url: str, calls: int, concurrency: int) -> tuple[float, float]:
    """Return (seconds, CPU seconds) of `generate` with a cache on disk."""

    def requests() -> Iterator[Request]:
        for index in range(calls):
            yield Request(
                f"{index}", (Message("system", SYSTEM), Message("user", question(index))), Sampling(max_tokens=256)
            )

    pacing = Pacing(concurrency=concurrency, start=concurrency)
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        engine = ServerEngine(ServerConfig(url, "stub", pacing=pacing))
        with GenerationCache(Path(folder) / "generations.db") as cache:
            answers = list(generate(requests(), engine, cache, total=calls, on_progress=lambda _: None))
        spent = time.perf_counter() - wall, time.process_time() - cpu
    assert len(answers) == calls
    assert all(answer.finish == "stop" and not answer.cached for answer in answers)
    return spent


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.2)
    options = parser.parse_args()
    command = [sys.executable, str(STUB), "--canned", "--latency", str(options.latency)]
    stub = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert stub.stdout is not None
        url = stub.stdout.readline().strip()
        ideal = options.calls / options.concurrency * options.latency
        loops: dict[str, Callable[[str, int, int], tuple[float, float]]] = {"plain": plain, "ours": ours}
        for loop in loops.values():  # imports and first-call costs belong to neither
            loop(url, options.concurrency * 2, options.concurrency)
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
        for turn in range(options.rounds):
            for name, loop in loops.items():
                gc.collect()
                wall, cpu = loop(url, options.calls, options.concurrency)
                seen[name].append((ideal / wall, cpu * 1000 / options.calls))
                print(
                    f"round {turn + 1} {name:5}: {ideal / wall:.3f} of ideal, {seen[name][-1][1]:.3f} CPU s per 1,000"
                )
    finally:
        stub.kill()
        stub.wait()
        if stub.stdout is not None:
            stub.stdout.close()
    middle = {name: [statistics.median(values) for values in zip(*rows, strict=True)] for name, rows in seen.items()}
    figures = {
        "ideal_ratio": round(middle["ours"][0], 4),
        "cpu_s_per_1000": round(middle["ours"][1], 4),
        "plain_ideal_ratio": round(middle["plain"][0], 4),
        "plain_cpu_s_per_1000": round(middle["plain"][1], 4),
        "cpu_ratio": round(middle["ours"][1] / middle["plain"][1], 4),
    }
    print(json.dumps({**figures, **machine()}))


if __name__ == "__main__":
    main()
