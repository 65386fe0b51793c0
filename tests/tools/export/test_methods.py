"""What a model's card says of an adapter that was not learnt by imitation alone."""

from __future__ import annotations

from typing import Any

import pytest

from tracedistill.recipes import Arm, method_settings
from tracedistill.tools.export.model_card import LORA, SETTINGS, _training

STARTED = "Training started from the adapter of the arm `sft`, which this one contains."


@pytest.mark.parametrize(
    ("arm", "lines"),
    [
        (Arm(tune="correct"), []),
        (
            Arm(tune="correct", method="grpo", from_="sft", reward="both", learning_rate=1e-5),
            ["Trained by `grpo` (reward both, learning_rate 1e-05); the rows gave the prompts.", STARTED],
        ),
        (
            Arm(tune="correct", method="dpo", rejected="incorrect"),
            ["Trained by `dpo` (rejected incorrect); the rows are the completions that were preferred."],
        ),
        (Arm(tune="correct", from_="sft"), [STARTED]),
    ],
)  # fmt: skip
def test_the_card_says_how_it_was_learnt(arm: Any, lines: list[str]) -> None:
    facts = {
        "training": dict.fromkeys((*SETTINGS, *LORA), 1) | {"method": "lora"},
        "arm": {"assembly": {"rows": 3, "traces": 3}},
        "method": method_settings(arm),
        "base": {"dtype": "float32", "quantization": "none"},
        "adapter_seed": 0,
    }
    _, *said, settings = _training(facts)
    assert said == lines
    assert ("completion alone" in settings) == (arm.method == "sft")
