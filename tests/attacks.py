"""Strings that make a backtracking matcher work hardest, derived from the patterns themselves.

For every repetition without a bound, a text that reaches it, goes round it many times, and then does not end as the
pattern wants. Overlapping repetitions then try every way of sharing the text out among themselves.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import random
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from re import _constants as c  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import tracedistill

ENDINGS = ("", "!", "\x00", "\n\n", "x", "1")
"""What comes behind the repetition: some of it fits no pattern."""
COMMON = (
    "- ", " ", "a ", "1 ", "1,", "(", "a", "1", "\n", "*", "\\", "{", "= ", "1+", "$", ". ", "-", "the ", "\\frac{",
    "a\n", "1\n", "to go to the left and then ", "So the answer is ", "| 1 ",
)  # fmt: skip
"""Texts that models fall into, whatever the pattern."""


class TookTooLongError(Exception):
    """The processor time given to a piece of work ran out."""


@contextmanager
def processor_seconds(limit: float) -> Iterator[None]:
    """Raise TookTooLongError when the block has used so much processor time: other load does not count."""

    def ran_out(*_: object) -> None:
        raise TookTooLongError

    before = signal.signal(signal.SIGVTALRM, ran_out)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@functools.cache
def patterns() -> dict[str, re.Pattern[str]]:
    """Name -> pattern, for every compiled pattern that a module of the package holds, in containers too."""
    found: dict[str, re.Pattern[str]] = {}
    known: set[re.Pattern[str]] = set()
    for module in pkgutil.walk_packages(tracedistill.__path__, "tracedistill."):
        if module.name.endswith(("__main__", ".worker")):
            continue
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            for number, each in enumerate(_within(value)):
                label = f"{module.name.removeprefix('tracedistill.')}.{name}" + (f"[{number}]" if number else "")
                if each not in known:
                    known.add(each)
                    found[label] = each
    return found


def _within(value: Any, depth: int = 0) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        if isinstance(value.pattern, str):
            yield value
    elif depth < 3 and isinstance(value, dict):
        for each in (*value.keys(), *value.values()):
            yield from _within(each, depth + 1)
    elif depth < 3 and isinstance(value, tuple | list | set | frozenset):
        for each in value:
            yield from _within(each, depth + 1)


def ways(label: str) -> list[str]:
    """How the package applies a pattern: `match` if it only ever begins at the beginning, else `search` too."""
    module, _, name = label.rpartition(".")
    name = name.partition("[")[0]
    used = set[str]()
    for path, calls in _applied().items():
        # a private name is its own module's
        if not name.startswith("_") or path == module:
            used |= calls.get(name, set())
    return ["match"] if used and used <= {"match", "fullmatch"} else ["match", "search"]


@functools.cache
def _applied() -> dict[str, dict[str, set[str]]]:
    """Module -> name of a pattern -> methods that are called on it there."""
    root = Path(tracedistill.__file__).parent
    found: dict[str, dict[str, set[str]]] = {}
    for path in root.rglob("*.py"):
        module = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        calls = r"\b(\w+)\.(match|fullmatch|search|sub|subn|split|findall|finditer)\("
        for name, way in re.findall(calls, path.read_text(encoding="utf-8")):
            found.setdefault(module, {}).setdefault(name, set()).add(way)
    return found


def attacks(pattern: re.Pattern[str], length: int, endings: Sequence[str] = ENDINGS) -> Iterator[str]:
    """Texts of about `length` characters against one pattern."""
    tree = parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG)
    pumps = {(before, body) for before, body in _pumps(list(tree), "") if body}
    for before, body in sorted(pumps):
        times = max(2, (length - len(before)) // len(body))
        for ending in endings:
            yield before + body * times + ending
        yield (before + body * 20) * max(1, length // (len(before) + 20 * len(body)))


def drawn(pattern: re.Pattern[str], draws: int, seed: int = 0) -> Iterator[str]:
    """Yield texts in which a pattern is found, drawn from its alternatives and optional parts."""
    tree = list(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    draw = random.Random(seed)
    for _ in range(draws):
        text = _drawn(tree, draw)
        for written in {text, text.upper(), text.capitalize(), f" {text}", f"It is 12 {text}", f"{text} "}:
            if pattern.search(written):
                yield written


def _drawn(items: Sequence[Any], draw: random.Random) -> str:
    """Return one text that the items may match; what is looked for behind it is written too, half of the time."""
    text = ""
    for op, argument in items:
        if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            least, most, body = argument
            text += "".join(_drawn(list(body), draw) for _ in range(draw.randint(least, min(least + 1, most))))
        elif op is c.SUBPATTERN:
            text += _drawn(list(argument[-1]), draw)
        elif op is c.BRANCH:
            text += _drawn(list(draw.choice(argument[1])), draw)
        elif op is c.ATOMIC_GROUP:
            text += _drawn(list(argument), draw)
        elif op is c.IN:
            literals = [
                chr(each[1]) for each in argument if each[0] is c.LITERAL and _takes((op, argument), chr(each[1]))
            ]
            text += draw.choice(literals) if literals and draw.random() < 0.7 else _sample([(op, argument)])
        elif op is c.ASSERT and argument[0] > 0 and draw.random() < 0.5:
            text += _drawn(list(argument[1]), draw)
        else:
            text += _sample([(op, argument)])
    return text


def common(length: int) -> Iterator[str]:
    """Texts of about `length` characters that models fall into."""
    for body in COMMON:
        yield body * (length // len(body))
        yield body * (length // len(body)) + "!"


def _pumps(items: Sequence[Any], before: str) -> Iterator[tuple[str, str]]:
    """(text that leads to it, one round) of every repetition without a bound worth the name."""
    for op, argument in items:
        if op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            _, most, body = argument
            once = _sample(list(body))
            if most is c.MAXREPEAT or most > 50:
                yield before, once
                for other in _others(list(body)):
                    yield before, other
            for inner_before, inner in _pumps(list(body), ""):
                yield before + inner_before, inner
        elif op is c.SUBPATTERN:
            yield from _pumps(list(argument[-1]), before)
        elif op is c.BRANCH:
            for branch in argument[1]:
                yield from _pumps(list(branch), before)
        elif op in (c.ASSERT, c.ASSERT_NOT):
            yield from _pumps(list(argument[1]), before)
        elif op is c.ATOMIC_GROUP:
            yield from _pumps(list(argument), before)
        elif op is c.GROUPREF_EXISTS:
            for branch in argument[1:]:
                yield from _pumps(list(branch or ()), before)
        before += _sample([(op, argument)])


def _others(items: Sequence[Any]) -> Iterator[str]:
    """Further single characters that a one-character body takes."""
    if len(items) == 1 and items[0][0] in (c.IN, c.ANY, c.NOT_LITERAL, c.CATEGORY):
        yield from (candidate for candidate in " a1-\t,.\n" if _takes(items[0], candidate))


def _takes(item: Any, char: str) -> bool:
    op, argument = item
    if op is c.ANY:
        return char != "\n"
    if op is c.NOT_LITERAL:
        return ord(char) != argument
    if op is c.CATEGORY:
        return _in_category(argument, char)
    if op is c.LITERAL:
        return ord(char) == argument
    if op is c.RANGE:
        return bool(argument[0] <= ord(char) <= argument[1])
    if op is c.IN:
        negated = argument and argument[0][0] is c.NEGATE
        inside = any(_takes(each, char) for each in argument if each[0] is not c.NEGATE)
        return inside != bool(negated)
    return False


def _in_category(category: Any, char: str) -> bool:
    return {
        c.CATEGORY_DIGIT: char.isdigit(), c.CATEGORY_NOT_DIGIT: not char.isdigit(),
        c.CATEGORY_SPACE: char.isspace(), c.CATEGORY_NOT_SPACE: not char.isspace(),
        c.CATEGORY_WORD: char.isalnum() or char == "_", c.CATEGORY_NOT_WORD: not (char.isalnum() or char == "_"),
    }[category]  # fmt: skip


def _sample(items: Sequence[Any]) -> str:
    """A short text that the items match, as far as single items tell."""
    text = ""
    for op, argument in items:
        if op is c.LITERAL:
            text += chr(argument)
        elif op in (c.IN, c.ANY, c.NOT_LITERAL, c.CATEGORY, c.RANGE):
            candidates = " a1-.,\n:*=(A\t$\\{<#?"
            literals = [chr(each[1]) for each in argument if each[0] is c.LITERAL] if op is c.IN else []
            ranges = [chr(each[1][0]) for each in argument if each[0] is c.RANGE] if op is c.IN else []
            text += next((each for each in (*candidates, *literals, *ranges) if _takes((op, argument), each)), "")
        elif op in (c.MAX_REPEAT, c.MIN_REPEAT, c.POSSESSIVE_REPEAT):
            least, most, body = argument
            text += _sample(list(body)) * max(least, min(1, most))
        elif op is c.SUBPATTERN:
            text += _sample(list(argument[-1]))
        elif op is c.BRANCH:
            text += _sample(list(argument[1][0]))
        elif op is c.ATOMIC_GROUP:
            text += _sample(list(argument))
        elif op is c.GROUPREF_EXISTS:
            text += _sample(list(argument[1]))
    return text
