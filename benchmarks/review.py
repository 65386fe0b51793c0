"""The review page on 100,000 traces: how long the queue and the next item take, and the server's peak memory.

A temporary run folder holds `--traces` traces of 1,000 synthetic problems with the verdicts of the real judges, every
third one with a wrong calculation. The server is a process of its own, as `tracedistill review` starts it, and is asked
as a browser asks. Ratio: the seconds that reading the run's files for one page of the queue would take, over ours.

    python benchmarks/review.py [--traces 100000] [--folder TMP]
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import httpx2 as httpx
from machine import machine

from tracedistill.files import content_id, read_jsonl, write_jsonl
from tracedistill.records import Problem, Trace
from tracedistill.tasks import get_task
from tracedistill.tasks._steps import make_steps
from tracedistill.validation import Validation, validate

PROBLEMS = 1000
SERVER = """
import sys, time
from pathlib import Path
from tracedistill.review.session import ReviewSession
from tracedistill.review.sources import fill_from_run
from tracedistill.review.server import serve
from tracedistill.review.store import ReviewStore
folder = Path(sys.argv[1])
with ReviewStore(folder / "review.sqlite") as store:
    started = time.perf_counter()
    fill_from_run(store, folder, "gsm8k", ["t"])
    print("filled", time.perf_counter() - started, flush=True)
    serve(ReviewSession(store, "ana"), browser=False, say=lambda text: print(text, flush=True))
"""


def write_run(folder: Path, traces: int) -> None:
    """Write problems, traces and validation as the stages do; each judged once and written many times."""
    task = get_task("gsm8k")
    problems, first, verdicts = [], [], []
    for number in range(PROBLEMS):
        a, b, c = number % 80 + 11, number % 7 + 3, number % 9 + 2
        lines = [f"They pack {a}*{b} = {a * b} pens.", f"After the loss {a * b}-{c} = {a * b - c} pens are left."]
        question = f"In town {number} they pack {a} boxes of {b} pens and lose {c} pens. What is left?"
        problem = Problem(f"p{number}", "gsm8k", "train", question, (str(a * b - c),), gold_steps=make_steps(lines))
        lines[0] = lines[0] if number % 3 else lines[0].replace("= ", "= 1")
        steps = make_steps(lines)
        trace = Trace("", problem.problem_id, "t", steps, task.render_trace(steps), answer=problem.answers[0])
        problems.append(problem)
        first.append(trace)
        verdicts += validate(task, {problem.problem_id: problem}, [trace], "correct")
    write_jsonl(folder / "problems.jsonl", problems)
    ids = [content_id("t", number) for number in range(traces)]
    pairs = [(number, one) for number, one in enumerate(ids)]
    write_jsonl(
        folder / "traces" / "t.jsonl",
        (replace(first[number % PROBLEMS], trace_id=one, sample=number // PROBLEMS) for number, one in pairs),
    )
    write_jsonl(
        folder / "validation" / "t.jsonl",
        (replace(verdicts[number % PROBLEMS], trace_id=one) for number, one in pairs),
    )


def timed(call: Callable[[], httpx.Response]) -> tuple[float, httpx.Response]:
    """Return the seconds of a request, and its answer."""
    started = time.perf_counter()
    answer = call()
    answer.raise_for_status()
    return time.perf_counter() - started, answer


def memory(pid: int) -> float:
    """Return peak resident set of a process so far, in MB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def act(client: httpx.Client, address: str, page: str, action: str, **changes: object) -> tuple[float, httpx.Response]:
    """Return press a button of an item's page as the script does."""
    version = re.search(r'name="version" value="(\d+)"', page)
    lines = [unescape(line) for line in re.findall(r'name="line"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)]
    answer = re.search(r'name="answer"[^>]*>\n(.*?)</textarea>', page)
    assert version
    assert answer
    form = {"version": version[1], "do": action, "line": lines, "answer": answer[1], "comment": "", **changes}
    part = "verdicts" if action == "save" else "main"
    return timed(lambda: client.post(address, data=form, headers={"X-Part": part}))


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; 400 MB for 100,000 traces")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="review-") as name:
        folder = Path(name)
        write_run(folder, options.traces)
        started = time.perf_counter()
        sum(not verdict.accepted for verdict in read_jsonl(folder / "validation" / "t.jsonl", Validation))
        scan = time.perf_counter() - started
        server = subprocess.Popen([sys.executable, "-c", SERVER, name], stdout=subprocess.PIPE, text=True)
        try:
            print(json.dumps({**measure(server, options.traces, scan), **machine()}))
        finally:
            server.kill()
            server.wait()


def measure(server: subprocess.Popen[str], traces: int, scan: float) -> dict[str, object]:
    """Ask the server; returns the line of figures."""
    assert server.stdout
    filled = float(server.stdout.readline().split()[1])
    found = re.search(r"http://\S+", server.stdout.readline())
    assert found
    base = found[0]
    origin = "/".join(base.split("/")[:3])
    with httpx.Client(headers={"Origin": origin}, timeout=60, follow_redirects=True) as client:
        first, _ = timed(lambda: client.get(base))
        addresses = ["", "?need=failed", "?need=teacher", "?need=leak", "?need=disputed&shown=all", "?shown=done",
                     "?sample=50&seed=1", "?least=2&most=3&teacher=t"]  # fmt: skip
        queues = {address or "all": timed(lambda a=address: client.get(base + a))[0] for address in addresses}
        nexts, typed = [], []
        for query in ("", "?need=failed", "?sample=50&seed=1"):
            page = client.get(base + "start" + query)
            address, text = str(page.url), page.text
            for number in range(12):
                if number % 3 == 0:
                    seconds, _ = act(client, address, text, "save", comment=f"remark {number}")
                    typed.append(seconds)
                    text = client.get(address).text
                seconds, answer = act(client, address, text, "approve" if number % 2 else "reject")
                nexts.append(seconds)
                address, text = origin + answer.headers["X-Address"], answer.text
        again, _ = timed(lambda: client.get(base))
    return {
        "benchmark": "review", "traces": traces, "fill_seconds": round(filled, 1), "queue_first": round(first, 3),
        "queue_slowest": round(max(queues.values()), 3), "queue_again": round(again, 3),
        "queues": {key: round(value, 3) for key, value in queues.items()},
        "next_median": round(statistics.median(nexts), 4), "next_slowest": round(max(nexts), 4),
        "typed_median": round(statistics.median(typed), 4), "peak_mb": round(memory(server.pid)),
        "scan_seconds": round(scan, 2), "ratio_scan_to_queue": round(scan / max(queues.values()), 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
