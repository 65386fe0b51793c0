"""Every command shows examples, and every example is a command line that its parser takes."""

from __future__ import annotations

import argparse
import shlex

import pytest

from tracedistill.cli import build_parser


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction))
    return dict(action.choices)


@pytest.mark.parametrize("name", commands())
def test_help_has_examples_that_are_parsed(name: str) -> None:
    shown = commands()[name].format_help()
    _, _, examples = shown.partition("examples:\n")
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines, name
    for line in lines:
        program, *words = shlex.split(line.partition(" < ")[0])
        assert program == "tracedistill"
        assert words[0] == name
        args, rest = build_parser().parse_known_args(words)
        assert [word for word in rest if word.startswith("-")] == [], line
        assert args.call is not None
