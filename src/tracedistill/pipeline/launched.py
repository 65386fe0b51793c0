"""Entry points of processes started by `accelerate launch`: arguments, work, exit codes.

`python -m tracedistill.pipeline.launched` is the target of student trials; training and evaluation have public targets,
`tracedistill.train` and `tracedistill.evaluate`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.shown import say

Work = Callable[[str, Sequence[str], Sequence[str], Any], object]
"""(recipe, overrides, names of arms, accelerate's process state): the work of each process."""


def run_launched(module: str, description: str, work: Work, argv: Sequence[str] | None) -> int:
    """Parse `RECIPE [--arm NAME] [key=value]`, do the work in this process, and return its exit code."""
    parser = argparse.ArgumentParser(prog=f"accelerate launch -m {module}", description=description)
    parser.add_argument("recipe", help="the study's YAML file")
    parser.add_argument(
        "--arm", action="append", default=[], metavar="NAME", help="work on this arm only (may be repeated)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    args = parser.parse_intermixed_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL's trainers otherwise report each training
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


def train(recipe: str, overrides: Sequence[str], arms: Sequence[str], state: Any) -> None:
    """Train the arms that have no adapter yet."""
    main_process, barrier = state.is_main_process, state.wait_for_everyone
    pipeline.train_in_this_process(pipeline.load(recipe, overrides), arms, main_process=main_process, barrier=barrier)


def evaluate(recipe: str, overrides: Sequence[str], arms: Sequence[str], state: Any) -> None:
    """Generate this process's share of the arms' batches."""
    share, barrier = (state.process_index, state.num_processes), state.wait_for_everyone
    pipeline.attempt_in_this_process(pipeline.load(recipe, overrides), arms, share=share, barrier=barrier)


def try_students(recipe: str, overrides: Sequence[str], students: Sequence[str], state: Any) -> None:
    """Tune each student on a made-up row and prompt it."""
    main_process, barrier = state.is_main_process, state.wait_for_everyone
    pipeline.try_in_this_process(pipeline.load(recipe, overrides), students, main_process=main_process, barrier=barrier)


def quiet_libraries() -> None:
    """Silence the libraries' own progress bars and notes; errors stay."""
    warnings.filterwarnings("ignore")
    for name in ("transformers", "bitsandbytes", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


if __name__ == "__main__":
    sys.exit(
        run_launched("tracedistill.pipeline.launched", "Try a study's students on a synthetic row.", try_students, None)
    )
