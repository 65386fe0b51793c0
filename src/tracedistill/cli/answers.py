"""`tracedistill answers`: take in the answers to what `tracedistill requests` wrote."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tracedistill.cli.arguments import Commands, add_command, add_quiet, changes_recipe
from tracedistill.cli.requests import print_rest
from tracedistill.errors import InputError
from tracedistill.output import say

if TYPE_CHECKING:
    from tracedistill.pipeline.offline import Received


EXAMPLES = (
    "study.yaml asked/answers",
    "study.yaml asked/answers/teacher.jsonl run_dir=runs/second",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "read the answers to `tracedistill requests`: cached, counted and judged as if the models had been called"
    command = add_command(commands, "answers", text, EXAMPLES)
    command.add_argument("recipe", help="the study's YAML file")
    command.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="files of answers (JSON Lines), folders of them, and key=value to override recipe keys",
    )
    add_quiet(command)
    command.set_defaults(call=run, overrides=())


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill import pipeline
    from tracedistill.pipeline.offline import take_answers

    files = [Path(word) for word in args.files if not changes_recipe(word)]
    if not files:
        raise InputError("give at least one file of answers after the recipe")
    overrides = [*(word for word in args.files if changes_recipe(word)), *args.overrides]
    received = take_answers(pipeline.load(args.recipe, overrides), files, quiet=args.quiet)
    if not args.quiet:
        _print(received, args.recipe)
    return 0


def _print(received: Received, recipe: str) -> None:
    for group, answers in received.groups.items():
        parts = [
            f"{answers.requests} requests",
            f"{answers.cached} answered before",
            f"{answers.taken} answers taken in",
        ]
        parts += [f"{answers.cut_off} of these cut off"] if answers.cut_off else []
        parts += [f"{answers.failed} of these refused or failed"] if answers.failed else []
        parts += [f"${answers.usd:.2f}"] if answers.usd else []
        say(f"{group}: {', '.join(parts)}")
        for cause, count in answers.unusable.most_common(3):
            say(f"{group}: {count} not taken in: {cause}")
        if missing := answers.missing_parts():
            say(f"{group}: no answer to any request of {', '.join(f'{group}.{part}.jsonl' for part in missing)}")
    for count, what in (
        (received.duplicates, "second answers to the same request; the first good one counts"),
        (received.unreadable, "lines that are not answers: not JSON, no custom_id, or cut off"),
        (received.strangers, "answers to no request of this study as its recipe is now"),
    ):
        if count:
            say(f"{count} {what}")
    for stranger in received.examples:
        say(f"  {stranger.custom_id} in {stranger.file}")
    if received.made:
        say(f"made {', '.join(received.made)}")
    print_rest(received.open_work, recipe)
    lacking = sum(answers.lacking.total() for answers in received.groups.values())
    if lacking:
        say(f"{lacking} requests lack an answer; `tracedistill requests {recipe} --out DIR` writes them")
    else:
        say(f"every request has an answer. To continue: tracedistill run {recipe}")
