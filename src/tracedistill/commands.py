"""The subcommands that work on run folders without a recipe: `report` and `import`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.shown import say


def report_command(
    commands: argparse._SubParsersAction,  # type: ignore[type-arg]
    text: str,
    make: Callable[[argparse.Namespace], int],
) -> None:
    """`report RUN...`; `make`: how a recipe's report is made, by its pipeline."""
    command = commands.add_parser("report", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folders; or a recipe (.yaml), then key=value changes to it"
    )
    command.add_argument("--against", type=Path, metavar="RUN", help="compare each arm with the same one of this run")
    command.add_argument(
        "--out", type=Path, metavar="DIR", help="where to (one run: its folder; several: RUN/compared)"
    )
    command.add_argument(
        "--compare", action="append", default=[], metavar="FIRST,SECOND", help="arms to test instead of the declared"
    )
    command.add_argument(
        "--section", action="append", default=[], metavar="KEY", help="print this section too (all: every one)"
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    command.set_defaults(call=lambda args: _report(args, make), overrides=[])


def _report(args: argparse.Namespace, make: Callable[[argparse.Namespace], int]) -> int:
    """Run folders directly; a recipe through its pipeline."""
    folders = [Path(run) for run in args.runs if "=" not in run or Path(run).exists()]
    recipes = [path for path in folders if path.suffix in (".yaml", ".yml") and not path.is_dir()]
    overrides = [*(run for run in args.runs if Path(run) not in folders), *args.overrides]
    if recipes:
        if len(folders) > 1 or args.against or args.out or args.compare:
            raise InputError(f"{recipes[0]}: --against, --out, --compare and several runs want run folders, no recipe")
        args.recipe, args.overrides, args.stage = str(recipes[0]), overrides, "report"
        args.dry_run, args.check_determinism = False, None
        return make(args)
    if overrides:
        raise InputError(f"{overrides[0]}: changes a recipe; a run folder is reported as it is")
    from tracedistill.report.command import report_folders
    from tracedistill.report.terminal import print_report

    place = report_folders(folders, args.against, args.out, args.compare)
    if not args.quiet:
        print_report(place, sections=args.section)
    return 0


def import_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    """`import FILE`."""
    text = "anyone's outputs as an arm of a run folder: judged, and ready for `report`"
    command = commands.add_parser("import", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("file", type=Path, help="outputs, one a row (.jsonl, .csv, .parquet; also .jsonl.gz, .csv.gz)")
    command.add_argument("--task", required=True, help="name of a task, or package.module:Class")
    command.add_argument("--arm", required=True, help="name of the arm")
    command.add_argument("--run-dir", type=Path, metavar="DIR", help="a study's, an earlier import's or a new folder "
                         "(runs/imported-TASK)")  # fmt: skip
    command.add_argument("--policy", choices=("default", "published"), default="default", help="the answer metric")
    command.add_argument("--data-dir", type=Path, help="folder with one folder per task, to join rows by problem id")
    command.add_argument("--where", action="append", default=[], metavar="COLUMN=VALUE", help="only these rows")
    command.add_argument("--student", metavar="NAME", help="whose outputs they are")
    command.add_argument("--replace", action="store_true", help="replace an arm that came from another file")
    for flag, what in (
        ("problem", "the problem's id"), ("gold", "gold in the row"), ("text", "the output"),
        ("tokens-in", "prompt tokens"), ("tokens-out", "generated tokens"), ("seconds", "seconds of one generation"),
        ("finish", "how it ended"), ("sample", "index among a problem's samples"), ("seed", "the adapter's seed"),
    ):  # fmt: skip
        default = "problem_id" if flag == "problem" else flag.replace("-", "_")
        command.add_argument(f"--{flag}-field", default=default, metavar="COLUMN", help=f"{what} ({default})")
    command.set_defaults(call=_import)


def _import(args: argparse.Namespace) -> int:
    from dataclasses import fields

    from tracedistill.importing import ColumnNames, import_outputs

    where = [item.partition("=") for item in args.where]
    if not all(equals for _, equals, _ in where):
        raise InputError("--where wants COLUMN=VALUE, for example --where model=llama")
    run_dir = args.run_dir or Path("runs") / f"imported-{args.task.replace(':', '.')}"
    found = import_outputs(
        args.file,
        args.task,
        args.arm,
        run_dir,
        columns=ColumnNames(**{each.name: getattr(args, f"{each.name}_field") for each in fields(ColumnNames)}),
        where={column: value for column, _, value in where},
        policy=args.policy,
        data_dir=args.data_dir,
        student=args.student,
        over=args.replace,
    )
    say(f"arm {args.arm}: {found.rows} attempts at {found.problems} problems in {run_dir}")
    if found.rows > found.problems:
        say(f"note: several rows of one problem count as several attempts ({found.rows - found.problems} more)")
    if found.empty:
        say(f"note: {found.empty} rows have no text and count as empty attempts")
    if found.refused:
        say(f"note: {found.refused} rows refused, the first: {found.refused_rows[0]}")
    say(f"next: tracedistill report {run_dir}")
    return 0
