"""`tracedistill export`: export an arm's adapter, or a merged model."""

from __future__ import annotations

import argparse

from tracedistill.cli.arguments import Commands, add_export_command, check_push, upload
from tracedistill.errors import InputError
from tracedistill.output import say
from tracedistill.spinner import waiting

EXAMPLES = (
    "study.yaml --arm correct-trace --out adapter",
    "runs/quickstart --arm correct-trace --merge --out model",
    "study.yaml --arm correct-trace --out adapter --push me/adapter --private",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "export an arm's adapter, or base and adapter merged, as a folder that transformers loads"
    command = add_export_command(commands, "export", text, EXAMPLES)
    command.add_argument(
        "--arm", required=True, metavar="NAME", help="export this tuned arm, or an arm that uses its adapter"
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="K", help="use the arm's adapter of this seed (%(default)s)"
    )
    command.add_argument(
        "--merge",
        action="store_true",
        help="merge base and adapter, after checking the merged model against the separate adapter",
    )
    command.add_argument(
        "--sample", type=int, metavar="N", help="check with N prompts (default: evaluation.parity, or 100)"
    )
    command.add_argument(
        "--force", action="store_true", help="write the merged model even if merging changes too many verdicts"
    )
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.pipeline.worker import quiet_libraries
    from tracedistill.tools.export.model import ExportChoice, export_model
    from tracedistill.tools.open_study import open_study

    check_push(args)
    if args.sample is not None and args.sample < 1:
        raise InputError("--sample must be at least 1")
    for name in ("force", "sample"):
        if getattr(args, name) and not args.merge:
            raise InputError(f"--{name} needs --merge")
    opened = open_study(args.study, args.overrides)
    quiet_libraries()
    with waiting(f"writing {args.out}"):
        made = export_model(opened, ExportChoice(args.arm, args.seed, args.merge, args.force, args.sample), args.out)
    if made.parity is not None:
        parity = made.parity
        say(
            f"merged and separate adapter: {parity['verdicts_changed']} of {parity['n']} verdicts and "
            f"{parity['texts_changed']} "
            f"texts change, drift {parity['largest_logit_drift']:.2g} nats at most"
            f"{'; beyond the tolerance, written because of --force' if parity['forced'] else ''}"
        )
    what = {"merged": "one merged model", "adapter": "the adapter", "full": "the tuned model (nothing to merge)"}
    say(f"wrote {what[made.what]} to {args.out}; read {args.out}/README.md")
    return upload(args, "model")
