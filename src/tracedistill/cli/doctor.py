"""`tracedistill doctor`: check this machine, and what recipes need of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tracedistill.cli.arguments import Commands, add_command, changes_recipe
from tracedistill.errors import InputError
from tracedistill.output import say
from tracedistill.spinner import waiting

if TYPE_CHECKING:
    from tracedistill.tools.doctor.findings import CheckResult


EXAMPLES = (
    "",
    "study.yaml training.batch_size=4",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "show what this machine has and what recipes need; exit code 1 if something will not run"
    command = add_command(commands, "doctor", text, EXAMPLES)
    command.add_argument(
        "words", nargs="*", metavar="RECIPE", help="studies' YAML files, and key=value overrides of their keys"
    )
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.forecast.calibration import this_machine
    from tracedistill.tools.doctor.machine import findings_of, look
    from tracedistill.tools.doctor.requirements import needs_of

    overrides = tuple(word for word in args.words if changes_recipe(word))
    recipes = [Path(word) for word in args.words if word not in overrides]
    if overrides and not recipes:
        raise InputError(f"{overrides[0]}: overrides a recipe key, but no recipe is given")
    with waiting("looking at this machine"):
        machine = look()
    bad = _say(findings_of(machine))
    for recipe in recipes:
        say(f"\n{recipe}")
        bad += _say(needs_of(recipe, overrides, machine, this_machine))
    if recipes:
        say("\nMemory and time are estimates; `tracedistill run RECIPE --dry-run` shows them arm by arm.")
    if bad:
        say(f"{bad} of the lines above will not run here")
    return 1 if bad else 0


def _say(findings: Iterator[CheckResult]) -> int:
    """Print findings as they arrive; return the number of problems."""
    bad = 0
    for finding in findings:
        bad += finding.state == "bad"
        say(f"{_MARKS[finding.state]:5}{finding.name:22} {finding.text}", flush=True)
    return bad


_MARKS = {"ok": "ok", "note": "note", "bad": "BAD"}
