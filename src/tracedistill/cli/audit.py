"""`tracedistill audit`: check a task's gold with the task's own judges."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_command
from tracedistill.output import say
from tracedistill.spinner import waiting

EXAMPLES = (
    "gsm8k svamp --data-dir data",
    "babi --out gold-audit.md",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "check every gold answer and trace with the task's own judges; list failures"
    command = add_command(commands, "audit", text, EXAMPLES)
    command.add_argument("task", nargs="+", type=_task_name, help="names of tasks")
    command.add_argument(
        "--data-dir",
        type=Path,
        help="read the data from this folder with one folder per task (default: hub or generator)",
    )
    command.add_argument("--out", type=Path, metavar="PAGE.md", help="write the page here (default: print it)")
    command.set_defaults(call=run)


def _task_name(word: str) -> str:
    if "=" in word:
        raise argparse.ArgumentTypeError(
            f"'{word}' is not a task; this command reads no recipe, so key=value has no effect"
        )
    return word


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.files import atomic
    from tracedistill.tools.audit import audit_page, audit_task

    with waiting(f"judging the gold of {', '.join(args.task)}"):
        audits = [audit for name in args.task for audit in audit_task(name, args.data_dir)]
    command = f"tracedistill audit {' '.join(args.task)}{' --data-dir DIR' if args.data_dir else ''}"
    page = f"# Gold checked by its own judges\n\nMade by `{command}`. Do not edit by hand.\n\n{audit_page(audits)}"
    if args.out is None:
        say(page)
        return 0
    with atomic(args.out) as stream:
        stream.write(page)
    for audit in audits:
        say(f"{audit.task}, {audit.split}: {len(audit.listed)} of {audit.n} listed; also in train: {audit.in_train}")
    return 0
