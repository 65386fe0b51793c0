"""The part of an output that holds the answer: in a tag or after the thinking, up to another turn or problem."""

from __future__ import annotations

import re

from tracedistill.answers.cleaning import plain
from tracedistill.answers.marks import RUN_ON, last_mark

READ_CHARS = 60_000
"""Characters at the end of an output that are read. Ordinary outputs are shorter; the reason of a reading from a longer
text says so."""


def is_open(text: str) -> bool:
    """Return whether thinking begins in a text and does not end."""
    return "<think" in text and text.rfind("<think>") > text.rfind("</think>") and "<answer>" not in text


def region(text: str) -> tuple[int, int, str]:
    """Return start and end of the part with the answer, and a note for the reason if the text was too long."""
    floor = max(0, len(text) - READ_CHARS)
    note = f" (in the last {READ_CHARS} characters)" if floor else ""
    if "<" in text:
        low = text[floor:].lower()
        box = low.rfind("<|begin_of_box|>")
        if box >= 0:
            end = low.find("<|end_of_box|>", box)
            return floor + box + 16, len(text) if end < 0 else floor + end, ""
        tag = low.rfind("<answer>")
        if tag >= 0:
            end = low.find("</answer>", tag)
            return floor + tag + 8, len(text) if end < 0 else floor + end, ""
        think = low.rfind("</think>")
        if think >= 0 and low[think + 8 :].strip():
            return floor + think + 8, len(text), ""
        stop = _CHAT.search(text, floor)
        if stop is not None and text[floor : stop.start()].strip():
            return floor, _run_on(text[: stop.start()], floor), note
    return floor, _run_on(text, floor), note


_CHAT = re.compile(
    r"<\|(?:im_end|im_start|eot_id|endoftext|end|end_of_text|user|assistant|eom_id)\|>|</s>"
    r"|<end_of_turn>"
)
"""Special tokens of chat templates after which another turn begins."""


_ASKS = re.compile(r"\s{0,9}(?:[#*]{1,6}\s?)?(?:question|problem|q)\b", re.IGNORECASE)


def _run_on(text: str, floor: int) -> int:
    """Return where a base model continues with a problem of its own after its answer; else the end of the text."""
    if _ASKS.match(text, floor):
        return len(text)
    for match in RUN_ON.finditer(text, floor):
        head = max(floor, match.start() - 400)
        if "\\boxed" in text[head : match.start()] or last_mark(plain(text[head : match.start()]), 0, 400) is not None:
            return match.start()
    return len(text)
