"""The stages as subcommands: teach, validate, assemble, train, evaluate, and run."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracedistill.cli.arguments import Commands, add_quiet, add_recipe_command
from tracedistill.errors import InputError
from tracedistill.output import say

if TYPE_CHECKING:
    from tracedistill.pipeline import LoadedStudy

STAGES = {
    "run": "make everything that is missing or has changed, up to the report",
    "teach": "draw the problems and make the teachers' traces",
    "validate": "judge the traces against gold",
    "assemble": "write one SFT dataset per tuned arm, and the plans of each arm that shows them",
    "train": "tune one LoRA adapter per tuned arm, by accelerate launch",
    "evaluate": "generate and judge every arm's attempts",
}
"""Subcommand -> its help; `run` makes the stage `report`."""
EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "recipes/quickstart/study.yaml",
        "study.yaml --dry-run",
        "study.yaml training.learning_rate=1e-3 run_dir=runs/second",
    ),
    "teach": ("study.yaml --dry-run", "study.yaml"),
    "validate": ("study.yaml", "study.yaml validation.keep=answer"),
    "assemble": ("study.yaml",),
    "train": ("study.yaml", "study.yaml --dry-run --device h100", "study.yaml training.accelerate_config=fsdp2"),
    "evaluate": ("study.yaml", "study.yaml --check-determinism 50"),
}
"""Subcommand -> arguments in its examples."""


def add(commands: Commands) -> None:
    """Add the subcommands."""
    for name, text in STAGES.items():
        command = add_recipe_command(commands, name, text, EXAMPLES[name])
        add_quiet(command)
        command.add_argument("--cores", metavar="N", help="processes for rows on this machine (default: one a core)")
        text = "where to work on rows, call teachers and evaluate: local, ray or ray:HOST:PORT"
        command.add_argument("--on", metavar="WHERE", help=text)
        if name in ("teach", "train", "run"):
            text = "forecast rows, steps, memory, time and a model teacher's calls and cost; then stop"
            command.add_argument("--dry-run", action="store_true", help=text)
            command.add_argument(
                "--device",
                metavar="NAME",
                help="with --dry-run: forecast for this GPU (h100, ...) instead of this machine",
            )
        if name == "evaluate":
            command.add_argument(
                "--check-determinism", type=int, metavar="N",
                help="report how many of the first N texts and verdicts change with the batch size",
            )  # fmt: skip
            command.add_argument(
                "--check-engine", type=int, metavar="N",
                help="report how many of the first N texts and verdicts of vLLM's differ from transformers'",
            )  # fmt: skip
        command.set_defaults(
            call=run, stage=name, dry_run=False, device=None, check_determinism=None, check_engine=None
        )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill import pipeline
    from tracedistill.report.terminal import print_report

    started = time.monotonic()
    loaded = pipeline.load(args.recipe, [*args.overrides, *_compute_of(args)])
    if args.dry_run:
        return 2 if pipeline.dry_run(loaded, args.device).refused else 0
    if getattr(args, "device", None) is not None:
        raise InputError("--device only affects --dry-run; a run uses the available hardware")
    if args.check_determinism is not None:
        return _check_determinism(loaded, args.check_determinism, quiet=args.quiet)
    if args.check_engine is not None:
        return _check_engine(loaded, args.check_engine, quiet=args.quiet)
    made = pipeline.run(loaded, "report" if args.stage == "run" else args.stage, quiet=args.quiet)
    if args.quiet:
        return 0
    if args.stage in ("run", "report"):
        print_report(loaded.study.folder, sections=getattr(args, "section", ()))
    seconds, place = time.monotonic() - started, loaded.study.store or loaded.study.folder
    if made:
        say(f"{args.stage}: made {', '.join(made)} in {seconds:.0f} s, in {place}")
    else:
        say(f"{args.stage}: nothing to do, everything in {place} is complete and unchanged")
    return 0


def _compute_of(args: argparse.Namespace) -> list[str]:
    """Return the compute options as recipe overrides."""
    given = {"cores": getattr(args, "cores", None), "compute": getattr(args, "on", None)}
    return [f"{key}={value}" for key, value in given.items() if value is not None]


def _check_determinism(loaded: LoadedStudy, n: int, *, quiet: bool) -> int:
    from tracedistill import pipeline

    if n < 1:
        raise InputError("--check-determinism must be at least 1")
    measured = pipeline.check_determinism(loaded, n, quiet=quiet)
    rows = [
        (arm, line["batch_size"], line["n"], line["texts_changed"], line["verdicts_changed"])
        for arm, lines in measured.items()
        for line in lines
    ]
    heads = ("arm", "batch size", "n", "texts changed", "verdicts changed")
    _print_table(f"compared with the study's batch size of {loaded.study.evaluation.batch_size}", heads, rows)
    say(f"written to {loaded.study.folder / 'determinism.json'}")
    return 0


def _check_engine(loaded: LoadedStudy, n: int, *, quiet: bool) -> int:
    from tracedistill import pipeline

    if n < 1:
        raise InputError("--check-engine must be at least 1")
    measured = pipeline.check_engine(loaded, n, quiet=quiet)
    rows = [(arm, line.n, line.texts_changed, line.verdicts_changed) for arm, line in measured.items()]
    _print_table("vLLM against transformers", ("arm", "n", "texts that differ", "verdicts that differ"), rows)
    say(f"written to {loaded.study.folder / 'engine_check.json'}, and shown by the next report")
    return 0


def _print_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from tracedistill.output import narrow_table, wide_console

    wide_console().print(narrow_table(title, heads, rows))
