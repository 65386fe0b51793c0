"""What a prompt asks for is read off its words, never off its name."""

from __future__ import annotations

import pytest

from tracedistill.chat.prompts import PROMPTS, asks_for_trace, needs_plan, shows_plan

ASKS = {
    "{problem}\nThink step-by-step.": True,
    "{problem}\nLet's think step by step, then answer.": True,
    "{problem}\nExplain your reasoning.": True,
    "{problem}\nShow your work.": True,
    "{problem}\nReason before you answer.": True,
    "{problem}\n{hint}": False,
    "{problem}\nAnswer with the number alone.": False,
    "{problem}\nAnswer without any explanation.": False,
    "{problem}\nDo not explain your reasoning; give the answer only.": False,
    "{problem}\nDon't think step by step.": False,
}


@pytest.mark.parametrize("text", ASKS)
def test_a_prompt_asks_for_a_trace_by_its_words(text: str) -> None:
    assert asks_for_trace(text) == ASKS[text]


def test_built_in_prompts_ask_for_what_their_names_say() -> None:
    asking = {name for name, text in PROMPTS.items() if asks_for_trace(text) and not needs_plan(text)}
    assert asking == {"chain-of-thought", "chain-of-thought-without-hint"}
    shown = {name for name in PROMPTS if shows_plan(name, {})}
    assert shown == {name for name in PROMPTS if name.startswith("trace-of-thought")}
    assert shows_plan("mine", {"mine": "{problem}\n{steps}"})
    assert not shows_plan("mine", {})
