"""`tracedistill import`: import any outputs as an arm of a run folder."""

from __future__ import annotations

import argparse

from tracedistill.cli.arguments import Commands, add_columns, add_outputs_command, pairs_of
from tracedistill.output import say
from tracedistill.spinner import waiting

EXAMPLES = (
    "outputs.jsonl --task gsm8k --arm baseline",
    "outputs.jsonl --task gsm8k --arm llama --where model=llama --run-dir runs/mine",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "judge outputs of any model and add them to a run folder as an arm, ready for `report`"
    command = add_outputs_command(commands, "import", text, EXAMPLES)
    command.add_argument("--arm", required=True, help="name the arm")
    command.add_argument("--run-dir", metavar="DIR", help="add to this run folder: a study's, an earlier "
                         "import's or a new one (runs/imported-TASK)")  # fmt: skip
    command.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="import only these rows")
    command.add_argument("--student", metavar="NAME", help="name the model that wrote the outputs")
    command.add_argument("--replace", action="store_true", help="replace an arm that came from another file")
    add_columns(command, (
        ("problem", "problem_id", "the problem's id"), ("gold", "gold", "gold in the row"),
        ("text", "text", "the output"), ("tokens-in", "tokens_in", "prompt tokens"),
        ("tokens-out", "tokens_out", "generated tokens"), ("seconds", "seconds", "seconds of one generation"),
        ("finish", "finish", "how it ended"), ("sample", "sample", "index among a problem's samples"),
        ("seed", "seed", "the adapter's seed"),
    ))  # fmt: skip
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from dataclasses import fields

    from tracedistill.stores import changed
    from tracedistill.tools.import_outputs import ColumnNames, import_outputs

    run_dir = args.run_dir or f"runs/imported-{args.task.replace(':', '.')}"
    with waiting(f"judging {args.file}"), changed(run_dir) as folder:
        imported = import_outputs(
            args.file,
            args.task,
            args.arm,
            folder,
            columns=ColumnNames(
                **{column.name: getattr(args, f"{column.name}_field") for column in fields(ColumnNames)}
            ),
            where=pairs_of(args.where, "--where must be COLUMN=VALUE", "model=llama"),
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
