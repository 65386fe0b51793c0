"""Stands in for `vllm serve` (0.32.0, as it was seen to behave): strict about flags, adapters and bodies.

    python -m tests.vllm_stand_in serve MODEL --host 127.0.0.1 --port 8000 [--enable-lora --lora-modules NAME=PATH ...]

A story of bAbI is answered as tests.scripts.solver does; an adapter leaves the trace out. STAND_IN_LOG names a file
that gets a line for each start and each answer; STAND_IN_DIES_AFTER ends it after so many answers.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tests.batch_player import main as run_batch
from tests.batch_player import text_for
from tests.scripts import solver
from tracedistill.engines import Request
from tracedistill.records import Message

RANKS = ["1", "8", "16", "32", "64", "128", "256", "320", "512"]
FIELDS = {
    "model", "prompt", "max_tokens", "temperature", "top_p", "seed", "stop", "stop_token_ids", "return_token_ids",
}  # fmt: skip
LOCK = threading.Lock()
ANSWERED = [0]


def note(line: str) -> None:
    """Write a line into the log that a test reads."""
    if "STAND_IN_LOG" in os.environ:
        with LOCK, Path(os.environ["STAND_IN_LOG"]).open("a") as stream:
            stream.write(line + "\n")


def check_adapter(path: Path, max_rank: int) -> None:
    """Refuse what vLLM's PEFTHelper refuses, in its words."""
    config = json.loads((path / "adapter_config.json").read_text())
    if config["r"] > max_rank:
        raise ValueError(f"LoRA rank {config['r']} is greater than max_lora_rank {max_rank}.")
    if config.get("use_dora"):
        raise ValueError("vLLM does not yet support DoRA.")
    if config.get("modules_to_save"):
        raise ValueError("vLLM only supports modules_to_save being either None or classifier")
    if config.get("bias", "none") != "none":
        raise ValueError("Adapter bias is not supported.")
    if not (path / "adapter_model.safetensors").is_file():
        raise ValueError(f"no weights in {path}")


class Served:
    """What a server serves."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.model: str = args.model
        folder = Path(args.tokenizer or args.model)
        if not (Path(args.model) / "config.json").is_file():
            raise ValueError(f"Invalid repository ID or local directory specified: '{args.model}'")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.window = (
            args.max_model_len or json.loads((Path(args.model) / "config.json").read_text())["max_position_embeddings"]
        )
        self.adapters = dict(item.split("=", 1) for item in args.lora_modules)
        if self.adapters and not args.enable_lora:
            raise ValueError("--lora-modules without --enable-lora")
        for path in self.adapters.values():
            check_adapter(Path(path), int(args.max_lora_rank))

    def complete(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Answer a completion whose prompt is tokens."""
        if body.keys() - FIELDS:
            return 400, _error(f"extra fields: {sorted(body.keys() - FIELDS)}", "BadRequestError", 400)
        model, prompt = body["model"], body["prompt"]
        if model != self.model and model not in self.adapters:
            return 404, _error(f"The model `{model}` does not exist.", "NotFoundError", 404)
        assert isinstance(prompt, list)
        assert all(isinstance(token, int) for token in prompt)
        if len(prompt) + body["max_tokens"] > self.window:
            told = f"This model's maximum context length is {self.window} tokens. However, you requested more."
            return 400, _error(told, "BadRequestError", 400)
        said = self.tokenizer.decode(prompt, skip_special_tokens=False)
        ids = self.tokenizer.encode(self.text(model, said), add_special_tokens=False).ids[: body["max_tokens"]]
        reason = "length" if len(ids) == body["max_tokens"] else "stop"
        ids = ids + body["stop_token_ids"][-1:] if reason == "stop" else ids
        choice = {"index": 0, "text": self.tokenizer.decode(ids), "finish_reason": reason, "stop_reason": None}
        choice["token_ids"] = ids if body.get("return_token_ids") else None
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        return 200, {"id": "cmpl-1", "object": "text_completion", "model": model, "choices": [choice], "usage": usage,
                     "system_fingerprint": "vllm-0.32.0-stand-in"}  # fmt: skip

    def text(self, model: str, prompt: str) -> str:
        """What is written behind a prompt: a trace and an answer; behind a begun answer the answer alone."""
        story = re.findall(r"<\|im_start\|>user\n(.*?)<\|im_end\|>", prompt, re.DOTALL)[-1]
        whole = solver(Request("x", (Message("user", story),)))
        trace, _, answer = whole.rpartition("Answer:")
        if prompt.rpartition("<|im_start|>assistant\n")[2].endswith("Answer:"):
            return answer
        return f"Answer:{answer}" if model in self.adapters else f"{trace}Answer:{answer}"


def _error(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def handler(served: Served) -> type[BaseHTTPRequestHandler]:
    """The class that answers a server's requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models = [{"id": name, "object": "model"} for name in (served.model, *served.adapters)]
            pages = {"/health": {}, "/version": {"version": "0.32.0"}, "/v1/models": {"data": models}}
            self.reply(200 if self.path in pages else 404, pages.get(self.path, {}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/v1/completions":
                status, answer = served.complete(body)
            else:
                message = {"role": "assistant", "content": text_for(body)}
                answer = {"model": body["model"], "choices": [{"message": message, "finish_reason": "stop"}],
                          "usage": {"prompt_tokens": 9, "completion_tokens": 9}}  # fmt: skip
                status = 200 if self.path == "/v1/chat/completions" else 404
            with LOCK:
                ANSWERED[0] += 1
                dies = ANSWERED[0] > int(os.environ.get("STAND_IN_DIES_AFTER", "1000000000"))
            if dies:
                print("RuntimeError: EngineCore died unexpectedly", file=sys.stderr, flush=True)
                os._exit(1)
            note(f"{self.path} {body['model']}")
            self.reply(status, answer)

        def reply(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def main(argv: list[str]) -> int:
    """The command line of `vllm`."""
    if argv[0] == "run-batch":
        return run_batch(argv)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16", "float16"], required=True)
    parser.add_argument("--generation-config", choices=["vllm", "auto"], default="auto")
    parser.add_argument("--tokenizer")
    parser.add_argument("--revision")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--max-loras", type=int, default=1)
    parser.add_argument("--max-cpu-loras", type=int)
    parser.add_argument("--max-lora-rank", choices=RANKS, default="16")
    parser.add_argument("--lora-modules", nargs="*", default=[])
    parser.add_argument("--data-parallel-size", type=int, default=1)
    args = parser.parse_args(argv)
    served = Served(args)
    note(f"start {args.model} {sorted(served.adapters)} {args.max_model_len}")
    ThreadingHTTPServer((args.host, args.port), handler(served)).serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
