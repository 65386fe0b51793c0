"""Panels of objects as text, read back, and drawn at random with a seed.

Panel 3: green metal cylinder, red rubber cube: light off.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tracedistill.tasks.acre.rules import TYPES, Panel, infer

COLOURS = ("gray", "red", "blue", "green", "brown", "cyan", "purple", "yellow")
MATERIALS = ("metal", "rubber")
SHAPES = ("cube", "sphere", "cylinder")
OBJECTS = tuple(f"{colour} {material} {shape}" for colour in COLOURS for material in MATERIALS for shape in SHAPES)
"""The 48 objects of ACRE."""

_SPLIT_OF_DIGIT = {"train": "01234567", "validation": "89ab", "test": "cdef"}
_PANEL = re.compile(r"\APanel \d{1,2}: (?P<objects>[a-z ,]+): light (?P<light>on|off)\.\Z")
_QUESTION = re.compile(r"\AWill the light go on for the (?P<objects>[a-z ]+?)\?\Z")


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Panels and the queried objects."""

    panels: tuple[Panel, ...]
    """Four to six; no two have the same objects."""
    query: tuple[str, ...]
    """One object or two, each of some panel."""


def panel_line(number: int, panel: Panel) -> str:
    """Write one panel as one sentence, numbered from 1."""
    return f"Panel {number}: {', '.join(panel.objects)}: light {'on' if panel.lit else 'off'}."


def question_line(query: tuple[str, ...]) -> str:
    """Write the question; two objects are joined by `and`."""
    return f"Will the light go on for the {' and the '.join(query)}?"


def read_panel(line: str) -> Panel | None:
    """Parse the panel of a line; None if the line is not a panel."""
    parts = _PANEL.match(line.strip())
    return Panel(tuple(parts["objects"].split(", ")), parts["light"] == "on") if parts else None


def read_question(text: str) -> tuple[str, ...]:
    """Return the queried objects; empty for any other question."""
    parts = _QUESTION.match(text.strip())
    return tuple(parts["objects"].split(" and the ")) if parts else ()


def generate(split: str, size: int, seed: int) -> Iterator[Puzzle]:
    """Yield `size` distinct puzzles, inference types drawn evenly; every one has a single smallest proof.

    A puzzle's split follows from the hash of its content (half train, a quarter each of the others), so splits share no
    puzzle, whatever their seeds and sizes.
    """
    rng = random.Random(f"acre {split} {seed}")
    seen: set[str] = set()
    for _ in range(size):
        wanted = rng.choice(TYPES)
        while True:
            puzzle = _draw(rng)
            inference = infer(puzzle.panels, puzzle.query)
            key = _key(puzzle)
            if inference.type == wanted and inference.unique and key not in seen and _split_of(key) == split:
                break
        seen.add(key)
        yield puzzle


def _draw(rng: random.Random) -> Puzzle:
    objects = rng.sample(OBJECTS, rng.randint(4, 6))
    blickets = set(rng.sample(objects, rng.randint(1, 2)))
    shown: list[Panel] = []
    panels = rng.randint(4, 6)
    while len(shown) < panels:
        chosen = tuple(rng.sample(objects, rng.choice((1, 1, 2, 2, 2, 3))))
        if all(set(chosen) != set(panel.objects) for panel in shown):
            shown.append(Panel(chosen, not blickets.isdisjoint(chosen)))
    known = sorted({item for panel in shown for item in panel.objects})
    query = tuple(rng.sample(known, min(len(known), rng.choice((1, 1, 2)))))
    return Puzzle(tuple(shown), query)


def _key(puzzle: Puzzle) -> str:
    """Return content without the order of panels and objects."""
    panels = sorted(f"{sorted(panel.objects)} {panel.lit}" for panel in puzzle.panels)
    return f"{panels} {sorted(puzzle.query)}"


def _split_of(key: str) -> str:
    digit = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=1).hexdigest()[0]
    return next(name for name, digits in _SPLIT_OF_DIGIT.items() if digit in digits)
