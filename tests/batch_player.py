"""Plays `vllm run-batch` (0.32.0, as it was seen to behave), with scripted answers; also as a program.

    python -m tests.batch_player run-batch -i requests.jsonl -o answers.jsonl --model MODEL ...

Strict where the real one is: one line of another endpoint, or that is no request, ends it, and nothing is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.scripts import solver
from tests.teacher_scripts import PLAN
from tracedistill.engines import Request
from tracedistill.records import Message

KNOWN = {
    "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop",
    "response_format", "chat_template_kwargs", "continue_final_message", "add_generation_prompt", "stop_token_ids",
}  # fmt: skip
"""Fields of a chat completion that this program may send."""


def text_for(body: dict[str, Any]) -> str:
    """The answer to a prompt: a plan where one is asked for, else the solution of a bAbI story."""
    last = body["messages"][-1]["content"]
    if "Question: " not in last:
        return PLAN
    if "plan" in last.casefold() or "step" in last.casefold():
        return PLAN
    return solver(Request("x", (Message("user", last),)))


def reply(line: dict[str, Any], models: tuple[str, ...]) -> dict[str, Any]:
    """One line of answers."""
    body, head = line["body"], {"id": f"vllm-{line['custom_id'][:8]}", "custom_id": line["custom_id"]}
    if body["model"] not in models:
        told = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
        return {**head, "response": {"status_code": 404, "request_id": "b", "body": None}, "error": {"error": told}}
    words = text_for(body).split(" ")
    limit = body.get("max_tokens") or body["max_completion_tokens"]
    text, reason = " ".join(words[:limit]), "stop" if len(words) <= limit else "length"
    usage = {"prompt_tokens": sum(len(m["content"].split()) for m in body["messages"]), "completion_tokens": len(words)}
    choice = {"index": 0, "message": {"role": "assistant", "content": text, "reasoning": None}, "finish_reason": reason}
    whole = {"id": "chatcmpl-1", "model": body["model"], "choices": [choice], "usage": usage,
             "system_fingerprint": "vllm-0.32.0-stand-in"}  # fmt: skip
    return {**head, "response": {"status_code": 200, "request_id": "b", "body": whole}, "error": None}


def play(requests: Path, answers: Path, *models: str) -> Path:
    """Answer a file of requests; returns the file of answers."""
    lines = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        assert line.keys() == {"custom_id", "method", "url", "body"}, line
        assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions"), line
        assert line["body"].keys() <= KNOWN, line["body"].keys() - KNOWN
    assert len({line["custom_id"] for line in lines}) == len(lines), "one custom_id twice"
    answers.parent.mkdir(parents=True, exist_ok=True)
    answers.write_text("\n".join(json.dumps(reply(line, models)) for line in lines) + "\n", encoding="utf-8")
    return answers


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("command", choices=["run-batch"])
    parser.add_argument("-i", "--input-file", type=Path, required=True)
    parser.add_argument("-o", "--output-file", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name")
    for flag in ("--dtype", "--max-model-len", "--max-lora-rank", "--chat-template", "--generation-config"):
        parser.add_argument(flag)
    parser.add_argument("--enable-lora", action="store_true")
    parser.add_argument("--lora-modules", nargs="*", default=[])
    args = parser.parse_args(argv)
    adapters = [item.partition("=")[0] for item in args.lora_modules]
    play(args.input_file, args.output_file, args.served_model_name or args.model, *adapters)
    return 0


if __name__ == "__main__":
    sys.exit(main())
