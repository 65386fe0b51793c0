"""Thinking marks and control tokens that servers leave in a reply's text.

Thinking with a known mark is separated from the text, and control tokens are removed from its ends. A student would
learn others (`leftover`) as text, or its tokenizer would convert them to control ids, so such a trace is not used.
"""

from __future__ import annotations

import re
from collections.abc import Collection

THINKING: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # DeepSeek, Qwen, GLM, and most others
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),  # EXAONE, Gemini's compatible endpoint
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Mistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
    ("<|thinking_start|>", "<|thinking_end|>"),
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<unused94>", "<unused95>"),  # MedGemma
    ("<|channel>thought", "<channel|>"),  # Gemma 4
    ("<|inner_prefix|>", "<|inner_suffix|>"),  # Apertus
)
"""(opening, closing) mark of thinking, in upper or lower case; everything between is separated from the text."""

WRAPPERS: tuple[tuple[str, str], ...] = (
    ("<|begin_of_solution|>", "<|end_of_solution|>"),  # Sky-T1, OpenThinker
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),  # Cohere
    ("<|begin_of_box|>", "<|end_of_box|>"),  # GLM-V
)
"""(opening, closing) mark around the answer, whose content is kept."""

ENDS: tuple[str, ...] = (
    "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>",
    "<|END_OF_TURN_TOKEN|>", "<|end_of_turn|>", "<|endofturn|>", "<|end_of_role|>", "<|EOT|>", "<|eos|>", "<|stop|>",
    "<|user|>", "<|im_start|>", "<end_of_turn>", "<end_of_utterance>", "<eos>", "</s>", "[EOS]",
    "<｜end▁of▁sentence｜>", "<|endofprompt|>", "[|endofturn|]", "<pad>", "<|pad|>",
)  # fmt: skip
"""Control tokens that are removed from the end of a reply."""

STARTS: tuple[str, ...] = (
    "<|im_start|>assistant", "<|start_header_id|>assistant<|end_header_id|>", "<|start|>assistant", "<|assistant|>",
    "<|begin_of_text|>", "<|startoftext|>", "<start_of_turn>model", "<｜begin▁of▁sentence｜>", "<｜Assistant｜>",
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "[|assistant|]", "<bos>", "<s>",
)  # fmt: skip
"""Control tokens that are removed from its beginning."""

_FLAGS = re.IGNORECASE | re.DOTALL
_OPENED = re.compile("|".join(f"({re.escape(opening)})" for opening, _ in THINKING), _FLAGS)
_CLOSED = re.compile("|".join(re.escape(closing) for _, closing in THINKING), _FLAGS)
_CHANNEL = re.compile(r"<\|channel\|>\s*+(\w*+)[^<]{0,80}(?:<\|constrain\|>[^<]{0,80})?<\|message\|>", _FLAGS)
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>", _FLAGS)
_BEGUN = re.compile(rf"(?:\s*+(?:{'|'.join(map(re.escape, STARTS))}))++\s*+")
_BLANKS = re.compile(r"\s*+")
_WORDED = re.compile(
    r"\s*+(?:analysis(?P<harmony>.*?)assistantfinal"  # without its special tokens
    r"|Here(?:'s| is) my thought process:(?P<granite>.*?)Here(?:'s| is) my response:)",
    re.DOTALL,
)
"""Thinking marked by words, which count only in pairs."""

_LEFT = re.compile(
    r"<\|[\w:./▁-]{1,60}+\|>|<｜[^｜<>\s]{1,60}+｜>"  # almost every family's control tokens
    r"|<\|?channel\|?>|\[\|\w{1,40}+\|\]"
    r"|<(?:start|end)_of_(?:turn|utterance|image)>|<(?:bos|eos|pad|unk|mask)>|</?s>|<unused\d{1,4}+>"
    r"|\[/?(?:INST|THINK|SYSTEM_PROMPT|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS)\]"
    r"|</?(?:think|thinking|thought|reasoning|seed:think|tool_call|tool_response)>|◁/?think▷",
    re.IGNORECASE,
)


def split_thinking(text: str) -> tuple[str, str | None]:
    """Split a reply into (text, thinking) at leading marks; strip control tokens. Unclosed thinking is the rest."""
    text = without_controls(text)
    if "<|channel|>" in text:
        return _split_channels(text)
    if worded := _WORDED.match(text):
        return text[worded.end() :].strip(), (worded["harmony"] or worded["granite"] or "").strip()
    thoughts: list[str] = []
    at = 0
    while True:
        blanks = _BLANKS.match(text, at)
        at = blanks.end() if blanks else at
        opened = _OPENED.match(text, at)
        # some templates put the opening mark into the prompt
        closed = _closing(text, opened)
        if opened is None and (closed is None or thoughts):
            break
        start = opened.end() if opened else at
        thoughts.append(text[start : closed.start() if closed else len(text)].strip())
        at = closed.end() if closed else len(text)
    if not thoughts:
        return _unwrapped(text), None
    return _unwrapped(without_controls(text[at:])), "\n\n".join(filter(None, thoughts))


def without_controls(text: str) -> str:
    """Strip control tokens from the ends of a text, and white space only next to them."""
    begun = _BEGUN.match(text)
    start, end = begun.end() if begun else 0, len(text)
    while end > start:
        ended = _before_blanks(text, end)
        token = next((token for token in ENDS if text.endswith(token, start, ended)), "")
        if not token:
            break
        end = _before_blanks(text, ended - len(token))
    return text[start : max(start, end)]


def _before_blanks(text: str, end: int) -> int:
    while end > 0 and text[end - 1].isspace():
        end -= 1
    return end


def leftover(text: str, special: Collection[str] = ()) -> str:
    """Return the first thinking mark, control token or `special` token of a text; empty if it contains none."""
    match = _LEFT.search(text)
    at, mark = (match.start(), match[0]) if match else (len(text), "")
    for token in special:
        place = text.find(token)
        if 0 <= place < at:
            at, mark = place, token
    return mark


def _closing(text: str, opened: re.Match[str] | None) -> re.Match[str] | None:
    """Find the mark that closes the thinking at the start of the text; without an opening mark, the first one."""
    if opened is not None:
        closing = THINKING[(opened.lastindex or 1) - 1][1]
        return re.compile(re.escape(closing), re.IGNORECASE).search(text, opened.end())
    closed = _CLOSED.search(text)
    return closed if closed and not _OPENED.search(text, 0, closed.start()) else None


def _split_channels(text: str) -> tuple[str, str | None]:
    """Split harmony's channels: the final channel is the text, all others are thinking."""
    final: list[str] = []
    thoughts: list[str] = []
    for channel in _CHANNEL.finditer(text):
        end = _MESSAGE_END.search(text, channel.end())
        part = text[channel.end() : end.start() if end else len(text)].strip()
        (final if channel[1].casefold() == "final" else thoughts).append(part)
    if not final and not thoughts:
        return text, None
    return "\n\n".join(final), "\n\n".join(thoughts) or None


def _unwrapped(text: str) -> str:
    for opening, closing in WRAPPERS:
        if text.startswith(opening):
            text = text.removeprefix(opening).strip().removesuffix(closing).strip()
    return text
