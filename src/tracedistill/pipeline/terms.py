"""Words and lists that recipes, stages and forecasts share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracedistill.engines.vllm import shaping

FREE_TEACHERS = ("rules", "gold", "recorded")
"""Kinds of teachers that call no model."""

OWN = "own"
"""The value of an arm's `forced` that takes the trace which the student wrote itself."""

NOT_CONTENT = (
    "key_env", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "mode",
    "vllm_command", "usd_per_million_in", "usd_per_million_in_cached", "usd_per_million_out", "usd_per_hour",
)  # fmt: skip
"""Settings of a teacher or student that change what its answers cost, not what they say."""

NOT_REPORTED = ("run_dir", "tracking", "cores", "compute")
"""Keys of a recipe that no page of a report depends on."""


def answered_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a teacher or student that its answers depend on."""
    content = {key: value for key, value in config.items() if key not in NOT_CONTENT}
    return content | {"vllm_args": shaping(content.get("vllm_args", ()))}
