"""Terms and lists shared by recipes, stages and forecasts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracedistill.engines.vllm import output_flags

FREE_TEACHERS = ("rules", "gold", "recorded")
"""Kinds of teachers that call no model."""

OWN = "own"
"""The value of an arm's `forced` that uses the student's own trace."""

NOT_CONTENT = (
    "key_env", "concurrency", "requests_per_minute", "tokens_per_minute", "timeout", "mode",
    "vllm_command", "usd_per_million_in", "usd_per_million_in_cached", "usd_per_million_out", "usd_per_hour",
)  # fmt: skip
"""Teacher and student settings that change the cost of answers, not their content."""

NOT_REPORTED = ("run_dir", "tracking", "cores", "compute")
"""Recipe keys that no page of a report depends on."""


def answered_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a teacher or student that its answers depend on."""
    content = {key: value for key, value in config.items() if key not in NOT_CONTENT}
    return content | {"vllm_args": output_flags(content.get("vllm_args", ()))}
