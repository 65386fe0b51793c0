"""`tracedistill report`: one page, Markdown, CSV and the table in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_command, add_quiet
from tracedistill.cli.stages import run as make_stage
from tracedistill.errors import InputError
from tracedistill.spinner import waiting

EXAMPLES = (
    "runs/quickstart",
    "runs/quickstart --section attribution",
    "runs/first runs/second --compare correct-trace,answer-only",
    "runs/second --against runs/first",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "write the report of a study or of run folders: a page, Markdown, CSV and a table in the terminal"
    command = add_command(commands, "report", text, EXAMPLES)
    command.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders; or a recipe (.yaml) and key=value overrides of it"
    )
    command.add_argument("--against", metavar="RUN", help="compare each arm with the arm of the same name in this run")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="write to this folder (default: the run's own; several: RUN/compared)"
    )
    command.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="FIRST,SECOND",
        help="test this pair of arms instead of the declared ones",
    )
    command.add_argument(
        "--section", action="append", default=[], metavar="KEY", help="also print this section (all: every one)"
    )
    add_quiet(command)
    command.set_defaults(call=run, overrides=[])


def run(args: argparse.Namespace) -> int:
    """Report on run folders directly, or on a recipe through its pipeline; return the exit code."""
    from tracedistill.stores import fetched, is_url, run_folder

    folders = [fetched(run) for run in args.runs if is_url(run) or "=" not in run or Path(run).exists()]
    recipes = [path for path in folders if path.suffix in (".yaml", ".yml") and not path.is_dir()]
    overrides = [*(run for run in args.runs if run_folder(run) not in folders), *args.overrides]
    if recipes:
        if len(folders) > 1 or args.against or args.out or args.compare:
            raise InputError(
                f"{recipes[0]}: --against, --out, --compare and several runs take run folders, not a recipe"
            )
        args.recipe, args.overrides, args.stage = str(recipes[0]), overrides, "report"
        args.dry_run, args.check_determinism, args.check_engine = False, None, None
        return make_stage(args)
    if overrides:
        raise InputError(f"{overrides[0]}: overrides a recipe key, but a run folder is reported as it is")
    from tracedistill.report.run_folders import report_folders
    from tracedistill.report.terminal import print_report

    with waiting("counting, and writing the page"):
        against = None if args.against is None else fetched(args.against)
        place = report_folders(folders, against, args.out, args.compare)
    if not args.quiet:
        print_report(place, sections=args.section)
    return 0
