"""`tracedistill status`: list what is complete, what is stale and why, what is missing."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_recipe_command
from tracedistill.output import say
from tracedistill.spinner import waiting

EXAMPLES = (
    "study.yaml",
    "runs/quickstart",
    "s3://bucket/quickstart",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "show what is complete, what is stale and why, and what is missing"
    command = add_recipe_command(commands, "status", text, EXAMPLES)
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill import pipeline
    from tracedistill.stores import is_url

    with waiting("checking what is complete"):
        if is_url(args.recipe) or Path(args.recipe).is_dir():
            from tracedistill.tools.open_study import open_study

            study = open_study(args.recipe, args.overrides).study
            loaded = pipeline.LoadedStudy(study, study.folder / "study.yaml")
        else:
            loaded = pipeline.load(args.recipe, args.overrides)
        states = pipeline.status(loaded)
    if place := args.recipe if is_url(args.recipe) else loaded.study.store:
        say(f"{place}, working copy {loaded.study.folder}")
    width = max(len(node.name) for node, _ in states)
    for node, state in states:
        say(f"{node.stage:9} {node.name:{width}}  {state.kind}{f': {state.reason}' if state.reason else ''}")
    return 0
