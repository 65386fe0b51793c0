"""Every prompt text, by name. Fields in braces: {problem} (context and question), {steps}, {hint} (answer format)."""

from __future__ import annotations

PROMPTS: dict[str, str] = {
    "standard": "{problem}\n{hint}",
    "chain-of-thought": "{problem}\nThink step-by-step.\n{hint}",
    # solved training problems come before it as turns of the chat
    "few-shot": "{problem}\n{hint}",
    # solution prompt of arXiv 2504.20946, Table 1
    "trace-of-thought": (
        "We are given the following problem: {problem}\nUse the following steps to solve the problem:\n{steps}\n{hint}"
    ),
    # solution prompt as found in the study's published outputs
    "trace-of-thought-published": (
        "First, carefully review this problem:\n{problem}\n"
        "Then, solve the problem using the provided steps as a plan, thinking step-by-step.\n{steps}\n{hint}"
    ),
}
"""How a student is asked: prompting method -> text of the user's turn."""


def needs_plan(prompt: str) -> bool:
    """Whether this prompting method shows a teacher's steps."""
    return "{steps}" in PROMPTS[prompt]


def user_turn(prompt: str, problem: str, hint: str, steps: str = "") -> str:
    """The user's turn; braces inside problem and steps are text, never fields."""
    parts = {"{problem}": problem, "{steps}": steps, "{hint}": hint}
    out, rest = "", PROMPTS[prompt]
    while rest:
        places = [(rest.find(field), field) for field in parts if field in rest]
        if not places:
            return out + rest
        at, field = min(places)
        out += rest[:at] + parts[field]
        rest = rest[at + len(field) :]
    return out
