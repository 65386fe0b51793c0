"""Lengths of rows and prompts in a student's tokens, without its weights or a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import prompt_ids, render_example
from tracedistill.engines import Request
from tracedistill.engines.sizes import local_folder
from tracedistill.errors import InputError
from tracedistill.recipes import StudentConfig
from tracedistill.records import Example, Message

COUNTED = 400
"""Rows or prompts that are tokenised; of more, the others are estimated by their characters."""
PER_TOKEN = 4.0
"""Characters (bytes) per token if the student's tokenizer is not here."""
AROUND = 20
"""Tokens that a chat template adds to a prompt, if it is not here."""


class TokenCounter:
    """Counts one student's tokens."""

    def __init__(self, student: StudentConfig, format: Format) -> None:
        """Count with the student's tokenizer if it is on this machine; nothing is downloaded."""
        self.format = format
        self.sampled = False
        """Whether some lengths were estimated from a sample."""
        self.refused: list[str] = []
        """Why its chat template failed or is missing; from then on characters are counted."""
        try:
            self.tokenizer = _local_tokenizer(student)
        except InputError as error:
            self.tokenizer = None
            self.refused.append(str(error))

    @property
    def said(self) -> str:
        """Describe how lengths were found."""
        if self.tokenizer is None:
            return f"{PER_TOKEN:.0f} characters per token (its tokenizer is not on this machine)"
        return "the tokenizer" + (f", on {COUNTED} rows or prompts of each arm" if self.sampled else "")

    def rows(self, examples: Sequence[Example]) -> list[tuple[int, int]]:
        """Return (tokens, supervised tokens) of each row."""
        characters = [(_characters(row.prompt), byte_length(row.completion)) for row in examples]
        counted: dict[int, tuple[int, int]] = {}
        try:
            for place in self._chosen(len(examples)):
                row = render_example(self.tokenizer, examples[place], self.format)
                counted[place] = (len(row.input_ids), sum(row.completion_mask))
        except InputError as error:
            self._give_up(error)
        if self.tokenizer is None:
            return [
                (round((head + tail) / PER_TOKEN) + AROUND, round(tail / PER_TOKEN) + 1) for head, tail in characters
            ]
        whole = _scale([sum(characters[place]) for place in counted], [length for length, _ in counted.values()])
        learnt = _scale([characters[place][1] for place in counted], [part for _, part in counted.values()])
        return [
            counted.get(place) or (round(whole * (head + tail)), max(1, round(learnt * tail)))
            for place, (head, tail) in enumerate(characters)
        ]

    def prompts(self, requests: Sequence[Request]) -> list[int]:
        """Return the tokens of each prompt, with what is prefilled."""
        characters = [_characters(request.messages) + byte_length(request.prefill) for request in requests]
        counted: dict[int, int] = {}
        try:
            for place in self._chosen(len(requests)):
                request = requests[place]
                counted[place] = len(prompt_ids(self.tokenizer, request.messages, request.prefill, self.format))
        except InputError as error:
            self._give_up(error)
        if self.tokenizer is None:
            return [round(length / PER_TOKEN) + AROUND for length in characters]
        scale = _scale([characters[place] for place in counted], list(counted.values()))
        return [counted.get(place) or round(scale * length) for place, length in enumerate(characters)]

    def shared(self, requests: Sequence[Request]) -> int:
        """Return the length in tokens of these prompts' common prefix."""
        if not requests:
            return 0
        texts = ["\0".join(message.content for message in request.messages) for request in requests]
        least, most = min(texts), max(texts)
        same = next((at for at, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
        # the template's text before the first message is in every prompt, too
        return max(0, round(self._tokens(least[:same])))

    def _tokens(self, text: str) -> float:
        if self.tokenizer is None:
            return byte_length(text) / PER_TOKEN
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _give_up(self, error: InputError) -> None:
        self.refused.append(str(error))
        self.tokenizer = None

    def _chosen(self, count: int) -> list[int]:
        """Choose the texts to count: all, an evenly spread sample, or none without a tokenizer."""
        if self.tokenizer is None:
            return []
        if count <= COUNTED:
            return list(range(count))
        self.sampled = True
        return [place * count // COUNTED for place in range(COUNTED)]


def _local_tokenizer(student: StudentConfig) -> Any:
    """Load the student's tokenizer if it is on this machine."""
    folder = local_folder(student.model, student.revision)
    if folder is None or not ((folder / "tokenizer.json").is_file() or (folder / "tokenizer.model").is_file()):
        return None
    from tracedistill.engines.tokenizers import load_tokenizer

    return load_tokenizer(str(folder), chat_template=student.chat_template)


def _scale(characters: Sequence[int], tokens: Sequence[int]) -> float:
    """Return tokens per character."""
    return sum(tokens) / max(1, sum(characters))


def _characters(messages: Sequence[Message]) -> int:
    return sum(byte_length(message.content) for message in messages)


def byte_length(text: str) -> int:
    """Return the bytes of a text in UTF-8, lone surrogates included."""
    return len(text.encode("utf-8", "surrogatepass"))
