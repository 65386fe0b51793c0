"""`tracedistill grade`: judge any outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_columns, add_outputs_command
from tracedistill.spinner import waiting

EXAMPLES = (
    "outputs.jsonl --task gsm8k",
    "outputs.jsonl --task file --gold-field answer --text-field output --out verdicts.jsonl",
    "outputs.csv --task math --data-dir data --by model --second math-verify",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "judge outputs of any model in JSON Lines, CSV or Parquet; answer and trace apart"
    command = add_outputs_command(commands, "grade", text, EXAMPLES)
    add_columns(
        command,
        (
            ("problem", "problem_id", "the problem's id"),
            ("gold", "gold", "gold in the row"),
            ("text", "text", "the output"),
        ),
    )
    command.add_argument(
        "--by", default="", metavar="COLUMN[,COLUMN]", help="repeat the summary for each group of rows"
    )
    command.add_argument("--out", type=Path, metavar="VERDICTS.jsonl", help="write one line per row here")
    command.add_argument("--summary", type=Path, metavar="SUMMARY.json", help="write the figures here")
    command.add_argument(
        "--second", choices=("math-verify",), help="also run a second checker, and list where the two disagree"
    )
    command.add_argument("--cores", type=int, metavar="N", help="judge on this many cores (default: all)")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.tools.grade import grade, second_checker
    from tracedistill.tools.grades_table import print_grades

    with waiting(f"judging {args.file}"):
        figures = grade(
            args.file,
            args.task,
            policy=args.policy,
            data_dir=args.data_dir,
            problem_field=args.problem_field,
            gold_field=args.gold_field,
            text_field=args.text_field,
            by=tuple(name for name in args.by.split(",") if name),
            out=args.out,
            summary=args.summary,
            second=second_checker(args.second) if args.second else None,
            cores=args.cores,
        )
    print_grades(figures)
    return 0
