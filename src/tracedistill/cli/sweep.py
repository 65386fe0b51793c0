"""`tracedistill sweep`: train every arm at several settings, and choose on the validation split."""

from __future__ import annotations

import argparse

from tracedistill.cli.arguments import Commands, add_command, add_quiet

EXAMPLES = (
    "study.yaml training.learning_rate=1e-3,2e-3",
    "study.yaml training.learning_rate=1e-3,2e-3 training.lora_r=8,16 --yes",
    "study.yaml arms.grpo.learning_rate=1e-4,3e-4 arms.on-policy.learning_rate=3e-4,1e-3",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "tune every arm at each of several training settings; choose by the validation split, never the test set"
    command = add_command(commands, "sweep", text, EXAMPLES)
    command.add_argument("recipe", help="the study's YAML file")
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value[,value...]",
        help="training.<key>=a,b,... and arms.<arm>.<key>=a,b,... sweep these values; others override the recipe",
    )
    command.add_argument("--yes", action="store_true", help="skip the limit on the number of trainings")
    add_quiet(command)
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.pipeline.sweep import sweep
    from tracedistill.report.sweeps import print_sweep

    swept = sweep(args.recipe, args.overrides, yes=args.yes, quiet=args.quiet)
    if not args.quiet:
        print_sweep(swept)
    return 0
