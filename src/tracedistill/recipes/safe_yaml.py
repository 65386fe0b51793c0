"""YAML from files and command lines, with bounded size after expanding aliases."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARS = 4_000_000
"""A longer document is refused; the largest recipe of this project has 6,000 characters."""
MAX_VALUES = 200_000
"""Most values of a document with every alias expanded."""


class YamlError(ValueError):
    """The text is not valid or not safe YAML; the message says why."""


def compose(text: str) -> yaml.Node | None:
    """Return the nodes of a document, None if it is empty. Raises YamlError if it cannot be read or is too large.

    A few lines of anchors and aliases can expand to billions of values, and an alias can contain itself: both are
    detected by counting, before anything is built.
    """
    if len(text) > MAX_CHARS:
        raise YamlError(f"{len(text):,} characters; at most {MAX_CHARS:,} are read")
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise YamlError(str(error) or type(error).__name__) from error
    if node is not None:
        _count(node, {}, set())
    return node


def parse(text: str) -> Any:
    """Return the values of a document. Raises YamlError if it cannot be read or is too large."""
    compose(text)
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2024-13-45 is no date
        raise YamlError(str(error) or type(error).__name__) from error


def _count(node: yaml.Node, known: dict[int, int], open_nodes: set[int]) -> int:
    """Count the values below a node with its aliases expanded, memoised by node."""
    if id(node) in known:
        return known[id(node)]
    if id(node) in open_nodes:
        raise YamlError(f"line {node.start_mark.line + 1}: an alias that contains itself")
    open_nodes.add(id(node))
    total = 1
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    for child in children:
        total += _count(child, known, open_nodes)
        if total > MAX_VALUES:
            raise YamlError(f"more than {MAX_VALUES:,} values once its aliases are written out")
    open_nodes.discard(id(node))
    known[id(node)] = total
    return total
