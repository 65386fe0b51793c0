"""`tracedistill audit-judge`: measure a model judge against labelled rows."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_quiet, add_recipe_command

EXAMPLES = ("study.yaml --judge checker --labels labelled.jsonl --out audit.json",)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "measure a model judge against labelled rows: agreement, errors, position and length bias"
    command = add_recipe_command(commands, "audit-judge", text, EXAMPLES)
    command.add_argument(
        "--labels",
        type=Path,
        required=True,
        metavar="FILE",
        help="read labelled rows with problem, kind (plan, step), text, label",
    )
    command.add_argument("--judge", required=True, metavar="TEACHER", help="measure this teacher of kind model")
    command.add_argument("--out", type=Path, metavar="AUDIT.json", help="write the figures here")
    add_quiet(command, "print the table only")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill import pipeline
    from tracedistill.files import check_output, to_json, write_json
    from tracedistill.tools.judge_audit_table import print_audit

    if args.out is not None:
        check_output(args.out, args.labels, Path(args.recipe))
    audit = pipeline.audit_judge(pipeline.load(args.recipe, args.overrides), args.judge, args.labels, quiet=args.quiet)
    print_audit(args.judge, audit)
    if args.out is not None:
        write_json(args.out, {"judge": args.judge, **to_json(audit, defaults=True)})
    return 0
