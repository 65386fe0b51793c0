"""How an arm was made: its recipe, manifests and files, also in a view of several runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import parse_completion
from tracedistill.files import read_json, read_jsonl
from tracedistill.recipes import arm_of_run
from tracedistill.records import Example, Trace, split_node_name
from tracedistill.report.runs import ArmFacts, RunView


@dataclass(frozen=True, slots=True)
class ArmText:
    """One text that an arm was tuned on, is shown, or has forced on it."""

    problem_id: str
    trace: str | None
    """None if the row has only an answer."""
    answer: str | None
    """Target answer of the row; None for plans and forced traces."""
    prompt: str | None
    """Prompt of the row; None for plans and forced traces."""
    completion: str | None = None
    """Whole target text of the row; None for plans and forced traces."""


def manifests_of_arm(view: RunView, stage: str, name: str) -> list[Mapping[str, Any]]:
    """Return the manifests of an arm at a stage (train, generate), one per seed."""
    nodes = {split_node_name(node): manifest for node, manifest in view.manifests.items()}
    return [manifest for (kind, run), manifest in nodes.items() if kind == stage and arm_of_run(run) == name]


def recipe_of(view: RunView, arm: ArmFacts) -> Mapping[str, Any]:
    """Return the recipe of the arm; empty for imported arms."""
    if view.recipe is not None:
        return view.recipe if arm.kind != "imported" else {}
    for manifest in manifests_of_arm(view, "generate", arm.name):
        recipe: Mapping[str, Any] = manifest.get("recipe", {})
        return recipe
    return {}


def adapter_of(view: RunView, arm: ArmFacts) -> ArmFacts | None:
    """Return the arm whose adapter this arm uses: itself, another one, or None."""
    if arm.tune is not None:
        return arm
    return next((other for other in view.arms if arm.adapter is not None and other.name == arm.adapter), None)


def named_arm(view: RunView, arm: ArmFacts, name: str | None) -> ArmFacts | None:
    """Return the arm of the same run with this recipe name; None if there is none."""
    if name is None:
        return None
    return next(
        (arm_facts for arm_facts in view.arms if arm_facts.own == name and arm_facts.folder == arm.folder), None
    )


def mix_of(arm: ArmFacts) -> Mapping[str, float]:
    """Return what an arm mixes in. In a grid, names refer to arms of the same student and teacher."""
    mix: Mapping[str, float] = arm.settings.get("mix") or {}
    return {name.partition("@")[0] if "@" in arm.own else name: share for name, share in mix.items()}


def lenders_of(view: RunView, tuned: ArmFacts) -> list[tuple[ArmFacts, float]]:
    """Return (arm, share of the rows) of the arms whose rows a tuned arm trains on: itself and mixed-in ones."""
    mix: Mapping[str, float] = tuned.settings.get("mix") or {}
    lenders = [(tuned, 1 - sum(mix.values()))]
    return lenders + [(arm, mix[arm.own]) for arm in view.arms if arm.folder == tuned.folder and arm.own in mix]


def facts_of(view: RunView, arm: ArmFacts, part: str) -> Mapping[str, Any]:
    """Return an arm's entry in assembly.json under `arms`, `plans` or `forced`; empty if there is none."""
    every: Mapping[str, Any] = (view.assembly or {}).get(part) or {}
    facts: Mapping[str, Any] = every.get(arm.name) or {}
    return facts


def rows_of(arm: ArmFacts) -> Iterator[ArmText]:
    """Yield the rows that an arm's adapter was tuned on, in order; none if the file is missing."""
    path = arm.folder / "sft" / f"{arm.own}.jsonl"
    if arm.tune is None or not path.exists():
        return
    dropped: set[str] = set()
    checked = arm.folder / "sft" / f"{arm.student}.preflight.json"
    if checked.exists():
        dropped = set(read_json(checked)["dropped"])
    for row in read_jsonl(path, Example):
        if row.problem_id not in dropped:
            parts = parse_completion(row.completion)
            prompt = "\n".join(f"{message.role}: {message.content}" for message in row.prompt)
            yield ArmText(row.problem_id, parts.trace, parts.answer, prompt, row.completion)


def plans_of(arm: ArmFacts) -> Iterator[ArmText]:
    """Yield the plans that an arm shows."""
    return _traces_in(arm.plans)


def forced_of(arm: ArmFacts) -> Iterator[ArmText]:
    """Yield the prefilled traces, except `own` ones, which are part of its generations."""
    return iter(()) if arm.forced is None else _traces_in(arm.folder / "forced" / f"{arm.own}.jsonl")


def _traces_in(path: Path) -> Iterator[ArmText]:
    for trace in read_jsonl(path, Trace) if path.exists() else ():
        yield ArmText(trace.problem_id, trace.text, None, None)
