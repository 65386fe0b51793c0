"""The command line, one file per command; here the parser, overrides and exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from tracedistill import __version__
from tracedistill.cli import (
    answers,
    ask,
    audit,
    audit_judge,
    dataset,
    doctor,
    export,
    grade,
    import_,
    init,
    report,
    requests,
    review,
    stages,
    status,
    sweep,
)  # fmt: skip
from tracedistill.errors import InputError, Paused
from tracedistill.output import say

COMMANDS = (
    stages, report, sweep, status, requests, answers, import_, grade, init, audit, audit_judge, review, dataset, export,
    ask, doctor,
)  # fmt: skip
"""In the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand. Exit codes: 0 done, 2 user error, 3 waiting for a review, 130 interrupted."""
    # threads that spin while waiting stall every other run on the machine (docs/LOG.md has the times)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    # argparse rejects what follows an option: words of a question, and key=value
    if hasattr(args, "words"):
        args.words = [*args.words, *(item for item in rest if not item.startswith("--"))]
        rest = [item for item in rest if item.startswith("--")]
    overrides = [item for item in rest if "=" in item and not item.startswith("-")]
    if len(overrides) < len(rest):
        parser.error(f"unknown arguments: {' '.join(item for item in rest if item not in overrides)}")
    if overrides and not hasattr(args, "overrides"):
        parser.error(
            f"unknown arguments: {' '.join(overrides)}; this command reads no recipe, so key=value has no effect"
        )
    if overrides:
        args.overrides = [*args.overrides, *overrides]
    try:
        code = int(args.call(args))
        sys.stdout.flush()  # a closed pipe is noticed here, not at exit
        return code
    except InputError as error:
        say(f"tracedistill: {error}", file=sys.stderr)
        return 2
    except Paused as pause:
        say(f"paused: {pause}")
        return 3
    except KeyboardInterrupt:
        say("tracedistill: interrupted; run the same command again to continue", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # drop what is still buffered, without an error at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def build_parser() -> argparse.ArgumentParser:
    """Build the parser with all subcommands; heavy modules are imported only when one runs."""
    parser = argparse.ArgumentParser(
        prog="tracedistill",
        description="Distil a teacher's traces into a small student, and measure what the trace was worth.",
    )
    parser.add_argument("--version", action="version", version=f"tracedistill {__version__}")
    parser.set_defaults(call=lambda _: _help(parser))
    commands = parser.add_subparsers(metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0
