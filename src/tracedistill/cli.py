"""The command line: one subcommand per stage, and `run`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracedistill import __version__
from tracedistill.commands import import_command, report_command
from tracedistill.errors import InputError, Paused
from tracedistill.init_command import init_command
from tracedistill.shown import say
from tracedistill.study_commands import add_commands

if TYPE_CHECKING:
    from tracedistill.pipeline import LoadedStudy

STAGES = {
    "run": ("report", "make everything that is missing or has changed, up to the report"),
    "teach": ("teach", "problems and the teachers' traces"),
    "validate": ("validate", "judge the traces against gold"),
    "assemble": ("assemble", "one SFT dataset per tuned arm, one set of plans per arm that shows them"),
    "train": ("train", "one LoRA adapter per tuned arm, by accelerate launch"),
    "evaluate": ("evaluate", "every arm's attempts, generated and judged"),
    "report": ("report", "one page, Markdown, CSV and the table in the terminal, of a study or of run folders"),
}
"""Subcommand -> (stage that it makes, help)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; 0: done, 2: the user can mend it, 3: waits for a person, 130: interrupted."""
    # threads that spin for long while they wait stall every other run on the machine (docs/LOG.md has the times)
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    # argparse gives up on what stands behind an option: words of a question, and key=value
    if hasattr(args, "words"):
        args.words = [*args.words, *(item for item in rest if not item.startswith("--"))]
        rest = [item for item in rest if item.startswith("--")]
    overrides = [item for item in rest if "=" in item and not item.startswith("-")]
    if len(overrides) < len(rest):
        parser.error(f"unknown arguments: {' '.join(item for item in rest if item not in overrides)}")
    if overrides and not hasattr(args, "overrides"):
        parser.error(
            f"unknown arguments: {' '.join(overrides)}; this command reads no recipe that key=value could change"
        )
    if overrides:
        args.overrides = [*args.overrides, *overrides]
    try:
        code = int(args.call(args))
        sys.stdout.flush()  # a reader that went away is noticed here, not behind our back
        return code
    except InputError as error:
        say(f"tracedistill: {error}", file=sys.stderr)
        return 2
    except Paused as pause:
        say(f"paused: {pause}")
        return 3
    except KeyboardInterrupt:
        say("tracedistill: interrupted; the same command goes on where it was", file=sys.stderr)
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
        if name == "report":
            report_command(commands, text, _make)
            continue
        command = _recipe_command(commands, name, text)
        command.add_argument("--quiet", action="store_true", help="say nothing but errors")
        if name in ("teach", "train", "run"):
            text = "rows, steps, memory, time; a model teacher's first prompts, calls and cost; then stop"
            command.add_argument("--dry-run", action="store_true", help=text)
            command.add_argument(
                "--device", metavar="NAME", help="with --dry-run: for this GPU (h100, ...), not for here"
            )
        if name == "evaluate":
            command.add_argument(
                "--check-determinism", type=int, metavar="N", help="texts and verdicts that change with the batch size"
            )
        command.set_defaults(call=_make, stage=name, dry_run=False, device=None, check_determinism=None)
    _sweep_command(commands)
    command = _recipe_command(commands, "status", "what is complete, what is stale and why, what is missing")
    command.set_defaults(call=_status)
    import_command(commands)
    _grade_command(commands)
    init_command(commands)
    _audit_command(commands)
    _audit_judge_command(commands)
    _review_command(commands)
    add_commands(commands)
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
    command.add_argument("file", type=Path, help="outputs, one a row (.jsonl, .csv, .parquet; also .jsonl.gz, .csv.gz)")
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
    command.add_argument("task", nargs="+", type=_task_name, help="names of tasks")
    command.add_argument("--data-dir", type=Path, help="folder with one folder per task; none: hub or generator")
    command.add_argument("--out", type=Path, metavar="PAGE.md", help="the page (else it is printed)")
    command.set_defaults(call=_audit)


def _task_name(word: str) -> str:
    if "=" in word:
        raise argparse.ArgumentTypeError(
            f"'{word}' is no task; this command reads no recipe that key=value could change"
        )
    return word


def _audit(args: argparse.Namespace) -> int:
    from tracedistill.auditing import audit_page, audit_task
    from tracedistill.files import atomic

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
    from tracedistill.files import check_output, to_json, write_json
    from tracedistill.report.judges import print_audit

    if args.out is not None:
        check_output(args.out, args.labels, Path(args.recipe))
    audit = pipeline.audit_judge(pipeline.load(args.recipe, args.overrides), args.judge, args.labels, quiet=args.quiet)
    print_audit(args.judge, audit)
    if args.out is not None:
        write_json(args.out, {"judge": args.judge, **to_json(audit, defaults=True)})
    return 0


def _review_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    text = "read, correct and approve traces in the browser, before they are used"
    command = commands.add_parser("review", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("target", type=Path, help="the study's YAML file, or traces (.jsonl, .csv, .parquet)")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    command.add_argument("--task", help="of a file of traces: name of a task, or package.module:Class")
    command.add_argument("--data-dir", type=Path, help="of a file of traces: folder with one folder per task")
    command.add_argument("--reviewer", metavar="NAME", help="who reviews (the login name)")
    command.add_argument("--port", type=int, default=0, help="port on loopback (any free one)")
    command.add_argument("--no-browser", action="store_true", help="print the address only")
    command.add_argument("--teacher", default="", help="begin with this teacher's traces")
    command.add_argument("--sample", type=int, metavar="N", help="begin with N traces of each teacher (the recipe's)")
    command.add_argument("--seed", type=int, help="seed of samples (the recipe's, else 0)")
    command.add_argument("--export", type=Path, metavar="SHEET.csv", help="write a spreadsheet and stop")
    command.add_argument("--overwrite", action="store_true", help="with --export: replace a sheet that exists")
    command.add_argument("--import", type=Path, metavar="SHEET.csv", dest="sheet", help="read it back and stop")
    command.add_argument("--agreement", action="store_true", help="print how far reviewers agree and stop")
    command.add_argument("--rate", type=Path, metavar="PLAN.yaml", help="rate traces of several kinds on Likert scales")
    command.add_argument("--read", type=int, default=0, metavar="N", help="read N failed attempts: whose error?")
    command.add_argument("--arm", help="with --read: of this arm alone")
    command.add_argument("--labels", type=Path, metavar="FILE", help="the program's attribution: problem_id, label")
    command.set_defaults(call=_review)


def _review(args: argparse.Namespace) -> int:
    from tracedistill.review.commands import Options, Reviewed, review

    for name in ("port", "sample", "seed", "read"):
        if (getattr(args, name) or 0) < 0:
            raise InputError(f"--{name} must not be negative")
    target: Path = args.target
    sample, seed, teacher = args.sample or 0, args.seed or 0, args.teacher
    if target.suffix in (".yaml", ".yml"):
        from tracedistill import pipeline

        loaded = pipeline.load(target, args.overrides)
        pipeline.run(loaded, "validate", quiet=True, wait=True)  # reviewers start together
        folder, study = loaded.study.folder, loaded.study
        teachers = [name for name in study.teachers if (folder / "validation" / f"{name}.jsonl").is_file()]
        store = folder / "review" / "review.sqlite"
        rule = study.validation
        # what the recipe wants reviewed is what the page begins with
        sample = study.review.sample if args.sample is None else args.sample
        seed = study.seed if args.seed is None else args.seed
        if not teacher and len(study.review.teachers) == 1:
            (teacher,) = study.review.teachers
        what = Reviewed(study.task.name, store, folder, teachers, keep=rule.keep, leaks=rule.leaks)
    elif args.task is None or args.overrides:
        raise InputError("a file of traces wants --task NAME, and takes no key=value; a study ends in .yaml")
    else:
        what = Reviewed(args.task, target.with_name(f"{target.name}.review.sqlite"), file=target)
    options = Options(
        reviewer=args.reviewer, port=args.port, browser=not args.no_browser, sample=sample, seed=seed,
        teacher=teacher, out=args.export, sheet=args.sheet, agreement=args.agreement, rate=args.rate,
        read=args.read, arm=args.arm, labels=args.labels, data_dir=args.data_dir,
        overwrite=args.overwrite, inputs=tuple(each for each in (target, args.labels, args.rate) if each is not None),
    )  # fmt: skip
    return review(what, options)


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
        return 2 if pipeline.dry_run(loaded, args.device).refused else 0
    if getattr(args, "device", None) is not None:
        raise InputError("--device says what --dry-run reckons with; a run takes the hardware that is there")
    if args.check_determinism is not None:
        return _check_determinism(loaded, args.check_determinism, quiet=args.quiet)
    made = pipeline.run(loaded, STAGES[args.stage][0], quiet=args.quiet)
    if args.quiet:
        return 0
    if args.stage in ("run", "report"):
        print_report(loaded.study.folder, sections=getattr(args, "section", ()))
    seconds = time.monotonic() - started
    if made:
        say(f"{args.stage}: made {', '.join(made)} in {seconds:.0f} s, in {loaded.study.folder}")
    else:
        say(f"{args.stage}: nothing to do, everything in {loaded.study.folder} is complete and unchanged")
    return 0


def _sweep_command(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    text = "tune every arm at each of several training settings; choose by the validation split, never the test set"
    command = commands.add_parser("sweep", help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument("recipe", help="the study's YAML file")
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value[,value...]",
        help="training.<key> with several values: tried; others: changes",
    )
    command.add_argument("--yes", action="store_true", help="also where it means many trainings")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")
    command.set_defaults(call=_sweep)


def _sweep(args: argparse.Namespace) -> int:
    from tracedistill.pipeline.sweep import print_sweep, sweep

    found = sweep(args.recipe, args.overrides, yes=args.yes, quiet=args.quiet)
    if not args.quiet:
        print_sweep(found)
    return 0


def _check_determinism(loaded: LoadedStudy, n: int, *, quiet: bool) -> int:
    from tracedistill import pipeline
    from tracedistill.shown import narrow_table, wide_console

    if n < 1:
        raise InputError("--check-determinism wants the number of problems to ask, at least 1")
    found = pipeline.check_determinism(loaded, n, quiet=quiet)
    size = loaded.study.evaluation.batch_size
    rows = [
        (arm, line["batch_size"], line["n"], line["texts_changed"], line["verdicts_changed"])
        for arm, lines in found.items()
        for line in lines
    ]
    heads = ("arm", "batch size", "n", "texts changed", "verdicts changed")
    wide_console().print(narrow_table(f"against the study's batch size of {size}", heads, rows))
    say(f"kept in {loaded.study.folder / 'determinism.json'}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from tracedistill import pipeline

    if Path(args.recipe).is_dir():
        from tracedistill.opening import open_study

        study = open_study(args.recipe, args.overrides).study
        loaded = pipeline.LoadedStudy(study, Path(args.recipe) / "study.yaml")
    else:
        loaded = pipeline.load(args.recipe, args.overrides)
    states = pipeline.status(loaded)
    width = max(len(node.name) for node, _ in states)
    for node, state in states:
        say(f"{node.stage:9} {node.name:{width}}  {state.kind}{f': {state.reason}' if state.reason else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
