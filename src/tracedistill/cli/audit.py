"""`tracedistill audit`: a task's gold checked with the task's own judges."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_command
from tracedistill.shown import say


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "put a task's own gold before the task's own judges; list what does not pass"
    command = add_command(commands, "audit", text)
    command.add_argument("task", nargs="+", type=_task_name, help="names of tasks")
    command.add_argument("--data-dir", type=Path, help="folder with one folder per task; none: hub or generator")
    command.add_argument("--out", type=Path, metavar="PAGE.md", help="the page (else it is printed)")
    command.set_defaults(call=run)


def _task_name(word: str) -> str:
    if "=" in word:
        raise argparse.ArgumentTypeError(
            f"'{word}' is no task; this command reads no recipe that key=value could change"
        )
    return word


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.files import atomic
    from tracedistill.tools.audit import audit_page, audit_task

    audits = [audit for name in args.task for audit in audit_task(name, args.data_dir)]
    command = f"tracedistill audit {' '.join(args.task)}{' --data-dir DIR' if args.data_dir else ''}"
    page = f"# Gold before its own judges\n\nMade by `{command}`. Do not edit by hand.\n\n{audit_page(audits)}"
    if args.out is None:
        say(page)
        return 0
    with atomic(args.out) as stream:
        stream.write(page)
    for audit in audits:
        say(f"{audit.task}, {audit.split}: {len(audit.listed)} of {audit.n} listed; also in train: {audit.in_train}")
    return 0
