"""`tracedistill requests`: write the outstanding requests of a study's models as files of the Batch format."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tracedistill.cli.arguments import Commands, add_quiet, add_recipe_command
from tracedistill.output import say

if TYPE_CHECKING:
    from tracedistill.pipeline.offline import OpenWork, Requested


EXAMPLES = (
    "study.yaml --out asked",
    "study.yaml --out asked --parts 8",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = (
        "write the prompts that teachers and students have not answered yet, as JSON Lines for any engine (Batch API)"
    )
    command = add_recipe_command(commands, "requests", text, EXAMPLES)
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="a new folder, or one of earlier requests"
    )
    command.add_argument(
        "--parts", type=int, default=1, metavar="N", help="files for each model, for N jobs (%(default)s)"
    )
    add_quiet(command)
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill import pipeline
    from tracedistill.pipeline.offline import write_requests

    requested = write_requests(pipeline.load(args.recipe, args.overrides), args.out, args.parts, quiet=args.quiet)
    if not args.quiet:
        _print(requested, args.out, args.recipe)
    return 0


def _print(requested: Requested, out: Path, recipe: str) -> None:
    written = [out / name for group, files in requested.groups.items() for name in files.files(group)]
    for group, files in requested.groups.items():
        head = f"{group} ({files.model}): {files.requests} requests, {files.cached} answered before"
        for cause, count in files.unsendable.most_common(3):
            say(f"{group}: {count} requests cannot be written: {cause}")
        if files.lines:
            most = f", at most {max(files.lines.values())} in one" if len(files.lines) > 1 else ""
            say(f"{head}; {sum(files.lines.values())} in {len(files.lines)} files{most}")
        else:
            say(f"{head}; none to write")
    print_rest(requested.open_work, recipe)
    if not requested.groups and not requested.open_work.waits:
        say("no requests: everything that models answer is complete")
    if written:
        say(f"wrote {out}. Have each file answered, for example:")
        for group, files in requested.groups.items():
            for name in files.files(group)[:1]:
                command = ["vllm", "run-batch", "--model", files.model, *files.flags]
                say(f"  {shlex.join(command)} -i {out / name} -o {out / 'answers' / name}")
        say(f"then take the answers in: tracedistill answers {recipe} {out / 'answers'}")


def print_rest(open_work: OpenWork, recipe: str) -> None:
    """Print what else a study needs before its models can be called."""
    for failure in open_work.failed:
        say(failure)
    for place in open_work.here:
        say(f"{place} runs on this machine, so its requests are not written")
    for first in dict.fromkeys(open_work.waits.values()):
        waiting = ", ".join(name for name, other in open_work.waits.items() if other == first)
        kind = first.partition(":")[0]
        stage = {"parity": "evaluate", "preflight": "train", "generate": "", "teach": "", "validate": ""}.get(
            kind, kind
        )
        say(f"{waiting} waits for {first}" + (f"; to make it: tracedistill {stage} {recipe}" if stage else ""))
