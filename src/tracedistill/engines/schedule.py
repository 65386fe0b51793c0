"""The schedule of a run: batches of requests, determined by the requests alone."""

from __future__ import annotations

from collections.abc import Sequence

from tracedistill.engines import Request


def batches_of(requests: Sequence[Request], size: int) -> list[list[Request]]:
    """Group requests by length, depending on the requests alone, so that an interruption changes nothing."""
    order = sorted(requests, key=lambda item: (sum(len(message.content) for message in item.messages), item.request_id))
    return [order[start : start + size] for start in range(0, len(order), size)]
