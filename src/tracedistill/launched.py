"""What the targets of `accelerate launch` have in common: their arguments, their processes, how they end."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tracedistill.errors import InputError
from tracedistill.shown import say

Work = Callable[[str, Sequence[str], Sequence[str], Any], object]
"""(recipe, overrides, names of arms, accelerate's state of the processes): what each process does."""


def run_launched(module: str, description: str, work: Work, argv: Sequence[str] | None) -> int:
    """Parse `RECIPE [--arm NAME] [key=value]`, do the work in this process, and return its exit code."""
    parser = argparse.ArgumentParser(prog=f"accelerate launch -m {module}", description=description)
    parser.add_argument("recipe", help="the study's YAML file")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME", help="this arm only (may be repeated)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    args = parser.parse_intermixed_args(argv)
    quiet_libraries()
    from accelerate import PartialState
    from accelerate.utils import is_cuda_available

    try:
        state = PartialState(cpu=not is_cuda_available())
        if state.is_main_process:
            say(f"world_size={state.num_processes}", flush=True)
        work(args.recipe, args.overrides, args.arm, state)
    except InputError as error:
        say(f"tracedistill: {error}", file=sys.stderr)
        return 2
    finally:
        if PartialState._shared_state:
            PartialState().destroy_process_group()
    return 0


def quiet_libraries() -> None:
    """Keep the libraries' own bars and notes off the screen; errors stay."""
    warnings.filterwarnings("ignore")
    for name in ("transformers", "bitsandbytes", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
