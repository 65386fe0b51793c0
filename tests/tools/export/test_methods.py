"""What a model's card says of an adapter that was not learnt by imitation alone."""

from __future__ import annotations

from typing import Any

import pytest

from tracedistill.recipes import Arm, method_settings
from tracedistill.tools.export.model_card import _loss, _method

STARTED = "Training started from the adapter of the arm `sft`, which this one contains."


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        (Arm(tune="correct"), ""),
        (
            Arm(tune="correct", method="grpo", from_="sft", reward="both", learning_rate=1e-5),
            f"Learnt by `grpo` (reward both, learning_rate 1e-05); the rows gave the prompts. {STARTED}",
        ),
        (
            Arm(tune="correct", method="dpo", rejected="incorrect"),
            "Learnt by `dpo` (rejected incorrect); the rows are the completions that were preferred.",
        ),
        (Arm(tune="correct", from_="sft"), STARTED),
    ],
)  # fmt: skip
def test_the_card_says_how_it_was_learnt(arm: Any, said: str) -> None:
    settings = method_settings(arm)
    assert " ".join(line for line in _method(settings) if line) == said
    assert ("completion alone" in _loss(settings)) == (arm.method == "sft")
