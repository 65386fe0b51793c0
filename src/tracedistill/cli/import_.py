"""`tracedistill import`: import any outputs as an arm of a run folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_command
from tracedistill.errors import InputError
from tracedistill.shown import say
from tracedistill.waiting import waiting

EXAMPLES = (
    "outputs.jsonl --task gsm8k --arm baseline",
    "outputs.jsonl --task gsm8k --arm llama --where model=llama --run-dir runs/mine",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "judge outputs of any model and add them to a run folder as an arm, ready for `report`"
    command = add_command(commands, "import", text, EXAMPLES)
    command.add_argument(
        "file", type=Path, help="file with one output per row (.jsonl, .csv, .parquet; also .jsonl.gz, .csv.gz)"
    )
    command.add_argument("--task", required=True, help="name of a task, or package.module:Class")
    command.add_argument("--arm", required=True, help="name the arm")
    command.add_argument("--run-dir", type=Path, metavar="DIR", help="add to this run folder: a study's, an earlier "
                         "import's or a new one (runs/imported-TASK)")  # fmt: skip
    command.add_argument(
        "--policy", choices=("default", "published"), default="default", help="judge answers with this metric"
    )
    command.add_argument(
        "--data-dir",
        type=Path,
        help="join rows by problem id with the data in this folder, which has one folder per task",
    )
    command.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="import only these rows")
    command.add_argument("--student", metavar="NAME", help="name the model that wrote the outputs")
    command.add_argument("--replace", action="store_true", help="replace an arm that came from another file")
    for flag, what in (
        ("problem", "the problem's id"), ("gold", "gold in the row"), ("text", "the output"),
        ("tokens-in", "prompt tokens"), ("tokens-out", "generated tokens"), ("seconds", "seconds of one generation"),
        ("finish", "how it ended"), ("sample", "index among a problem's samples"), ("seed", "the adapter's seed"),
    ):  # fmt: skip
        default = "problem_id" if flag == "problem" else flag.replace("-", "_")
        command.add_argument(f"--{flag}-field", default=default, metavar="COLUMN", help=f"{what} ({default})")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from dataclasses import fields

    from tracedistill.tools.import_outputs import ColumnNames, import_outputs

    where = [item.partition("=") for item in args.where]
    if not all(equals for _, equals, _ in where):
        raise InputError("--where must be COLUMN=VALUE, for example --where model=llama")
    run_dir = args.run_dir or Path("runs") / f"imported-{args.task.replace(':', '.')}"
    with waiting(f"judging {args.file}"):
        imported = import_outputs(
            args.file,
            args.task,
            args.arm,
            run_dir,
            columns=ColumnNames(
                **{column.name: getattr(args, f"{column.name}_field") for column in fields(ColumnNames)}
            ),
            where={column: value for column, _, value in where},
            policy=args.policy,
            data_dir=args.data_dir,
            student=args.student,
            over=args.replace,
        )
    say(f"arm {args.arm}: {imported.rows} attempts at {imported.problems} problems in {run_dir}")
    again = imported.rows - imported.problems
    if again > 0:
        say(f"note: further rows of the same problem count as further attempts ({again} more)")
    if imported.empty:
        say(f"note: {imported.empty} rows without text count as empty attempts")
    if imported.refused:
        say(f"note: {imported.refused} rows refused, the first: {imported.refused_rows[0]}")
    say(f"next: tracedistill report {run_dir}")
    return 0
