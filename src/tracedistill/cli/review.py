"""`tracedistill review`: read, correct and approve traces."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from tracedistill.cli.arguments import Commands, add_command
from tracedistill.errors import InputError
from tracedistill.spinner import waiting

EXAMPLES = (
    "study.yaml",
    "study.yaml --reviewer ana --sample 50",
    "traces.jsonl --task gsm8k --data-dir data",
    "study.yaml --export sheet.csv",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "read, correct and approve traces in the browser, before they are used"
    command = add_command(commands, "review", text, EXAMPLES)
    command.add_argument("target", type=Path, help="the study's YAML file, or traces (.jsonl, .csv, .parquet)")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="override recipe keys")
    command.add_argument("--task", help="judge a file of traces by this task: a name, or package.module:Class")
    command.add_argument(
        "--data-dir", type=Path, help="read that task's data from this folder, which has one folder per task"
    )
    command.add_argument("--reviewer", metavar="NAME", help="name the reviewer (default: the login name)")
    command.add_argument("--port", type=int, default=0, help="listen on this loopback port (default: any free one)")
    command.add_argument("--no-browser", action="store_true", help="print the address instead of opening a browser")
    command.add_argument("--teacher", default="", help="begin with this teacher's traces")
    command.add_argument(
        "--sample", type=int, metavar="N", help="begin with N traces of each teacher (default: the recipe's)"
    )
    command.add_argument("--seed", type=int, help="draw samples with this seed (default: the recipe's, else 0)")
    command.add_argument("--export", type=Path, metavar="SHEET.csv", help="write a spreadsheet and stop")
    command.add_argument("--overwrite", action="store_true", help="with --export: replace a sheet that exists")
    command.add_argument(
        "--import", type=Path, metavar="SHEET.csv", dest="sheet", help="read a spreadsheet back and stop"
    )
    command.add_argument("--agreement", action="store_true", help="print the reviewers' agreement and stop")
    command.add_argument("--rate", type=Path, metavar="PLAN.yaml", help="rate traces of several kinds on Likert scales")
    command.add_argument(
        "--read", type=int, default=0, metavar="N", help="show N failed attempts, to say whose error each was"
    )
    command.add_argument("--arm", help="with --read: show this arm only")
    command.add_argument(
        "--labels", type=Path, metavar="FILE", help="compare with the program's attribution in FILE: problem_id, label"
    )
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.review.commands import Options, ReviewTarget, review

    for name in ("port", "sample", "seed", "read"):
        if (getattr(args, name) or 0) < 0:
            raise InputError(f"--{name} must not be negative")
    target: Path = args.target
    sample, seed, teacher = args.sample or 0, args.seed or 0, args.teacher
    held: AbstractContextManager[None] = nullcontext()
    if target.suffix in (".yaml", ".yml"):
        from tracedistill import pipeline

        loaded = pipeline.load(target, args.overrides)
        with waiting("problems, traces and their verdicts"):
            pipeline.run(loaded, "validate", quiet=True, wait=True)  # reviewers start together
        folder, study = loaded.study.folder, loaded.study
        teachers = [name for name in study.teachers if (folder / "validation" / f"{name}.jsonl").is_file()]
        store = folder / "review" / "review.sqlite"
        rule = study.validation
        # the page begins with the sample that the recipe requires
        sample = study.review.sample if args.sample is None else args.sample
        seed = study.seed if args.seed is None else args.seed
        if not teacher and len(study.review.teachers) == 1:
            (teacher,) = study.review.teachers
        target_of = ReviewTarget(study.task.name, store, folder, teachers, keep=rule.keep, leaks=rule.leaks)
        held = pipeline.in_store(loaded)
    elif args.task is None or args.overrides:
        raise InputError("a file of traces needs --task NAME and takes no key=value; a study's file ends in .yaml")
    else:
        target_of = ReviewTarget(args.task, target.with_name(f"{target.name}.review.sqlite"), file=target)
    options = Options(
        reviewer=args.reviewer, port=args.port, browser=not args.no_browser, sample=sample, seed=seed,
        teacher=teacher, out=args.export, sheet=args.sheet, agreement=args.agreement, rate=args.rate,
        read=args.read, arm=args.arm, labels=args.labels, data_dir=args.data_dir,
        overwrite=args.overwrite, inputs=tuple(path for path in (target, args.labels, args.rate) if path is not None),
    )  # fmt: skip
    with held:
        return review(target_of, options)
