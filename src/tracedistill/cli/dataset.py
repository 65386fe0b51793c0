"""`tracedistill dataset`: export the rows of tuned arms as a dataset folder."""

from __future__ import annotations

import argparse

from tracedistill.cli.arguments import Commands, add_export_command, check_push, upload
from tracedistill.output import say
from tracedistill.spinner import waiting

EXAMPLES = (
    "study.yaml --out rows",
    "runs/quickstart --out rows --push me/quickstart-rows --private",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "export every tuned arm's rows as a dataset folder for load_dataset: Parquet, JSON Lines and a card"
    command = add_export_command(commands, "dataset", text, EXAMPLES)
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.tools.export.dataset import KIND, export_dataset
    from tracedistill.tools.export.folder import check_place
    from tracedistill.tools.open_study import open_study

    check_push(args)
    check_place(args.out, KIND)
    with waiting(f"writing {args.out}"):
        made = export_dataset(open_study(args.study, args.overrides, "assemble"), args.out)
    for arm, splits in made.rows.items():
        say(f"{arm}: {', '.join(f'{rows} rows for {_ROLE[split]}' for split, rows in splits.items())}")
    if made.without_validation:
        say(f"note: no validation split: {made.without_validation}")
    say(f'wrote {args.out}; load_dataset("{args.out}", "{next(iter(made.rows))}"), and read {args.out}/README.md')
    return upload(args, "dataset")


_ROLE = {"train": "train", "validation": "validate"}
