"""Model judge: any engine judges plans and steps that rules leave `undecided`; its evidence is checked.

    {"quote": "Divide the 12 pens by 4", "reason": "the problem multiplies", "verdict": "incorrect"}

A verdict counts only if its quote occurs in the judged text; otherwise it is void, and the plan stays undecided. A
model never overrules a rule: `combine` keeps the rule's verdict and records the disagreement. Measure a judge on
labelled rows (`judge_audit.audit_judge`) before you trust it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tracedistill.chat.prompts import judge_turn
from tracedistill.engines import Engine, Generation, Request, Sampling
from tracedistill.records import Message, StepOutcome, StepVerdict, Verdict, VerdictOutcome

JUDGE_SAMPLING = Sampling(max_tokens=512)
"""Greedy, with room for a quote and a sentence."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "quote": {"type": "string"},
        "reason": {"type": "string"},
        "verdict": {"type": "string", "enum": ["correct", "incorrect", "undecided"]},
    },
    "required": ["quote", "reason", "verdict"],
    "additionalProperties": False,
}
"""Schema of a judge's answer, for engines with structured output; the reason precedes the verdict."""


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """One plan, or one step of it, to be judged."""

    item_id: str
    """Unique in one call."""
    problem: str
    """The problem as a student reads it."""
    plan: str
    """The plan as text."""
    reference: str = ""
    """A reference solution shown to the judge, if given; the verdict is then `oracle`."""
    step: str = ""
    """The step to judge, verbatim from the plan; empty: the whole plan."""

    @property
    def judged(self) -> str:
        """Text that a quote must come from."""
        return self.step or self.plan


@dataclass(frozen=True, slots=True)
class ModelVerdict:
    """The model's verdict on an item."""

    item_id: str
    """Id of the judged item."""
    outcome: StepOutcome
    """correct, incorrect, or undecided (also if the verdict is void)."""
    quote: str = ""
    """The evidence, a quote from the item; empty if the verdict is void."""
    reason: str = ""
    """The judge's sentence."""
    void: str = ""
    """Why the verdict is void; empty if it counts."""
    said: str = ""
    """The judge's text, for the record; at most 2,000 characters."""


@dataclass(frozen=True, slots=True)
class CombinedVerdict:
    """The verdicts of rule and model, both kept."""

    outcome: VerdictOutcome
    """The rule's verdict if it decided, else the model's."""
    decided_by: Literal["rule", "model", "nobody"]
    """Source of the outcome."""
    disagree: bool
    """Whether both decided, and differently."""
    reason: str
    """One-sentence reason; names the disagreement."""
    rule: Verdict | StepVerdict
    """The rule's verdict, unchanged."""
    model: ModelVerdict | None
    """The model's verdict; None if it was not called."""


def judge_items(
    items: Iterable[JudgeItem], engine: Engine, *, sampling: Sampling = JUDGE_SAMPLING, seed: int = 0
) -> Iterator[ModelVerdict]:
    """Yield verdicts in the order of the engine's answers, exactly one per item.

    Failures, cut-off answers and unparsable answers are void verdicts, never errors. Raises ValueError if two items
    share an id.
    """
    waiting: dict[str, JudgeItem] = {}
    for item in items:
        if item.item_id in waiting:
            raise ValueError(f"two items have the id {item.item_id}")
        waiting[item.item_id] = item
    requests = [judge_request(item, sampling=sampling, seed=seed) for item in waiting.values()]
    for generation in engine.generate(requests) if requests else ():
        judged = waiting.pop(generation.request_id, None)
        if judged is not None:
            yield read_verdict(judged, generation)
    for left in waiting.values():
        yield ModelVerdict(left.item_id, "undecided", void="the engine returned nothing")


def judge_request(
    item: JudgeItem, *, swapped: bool = False, sampling: Sampling = JUDGE_SAMPLING, seed: int = 0
) -> Request:
    """Build the request for one item; `swapped` shows the plan before the problem."""
    blocks = [("PROBLEM", item.problem)]
    if item.reference:
        blocks.append(("REFERENCE SOLUTION", item.reference))
    plan = [("PLAN", item.plan)]
    if item.step:
        plan.append(("STEP TO CHECK", item.step))
    prompt = "judge-step" if item.step else "judge-plan"
    material = fence([*plan, *blocks] if swapped else [*blocks, *plan])
    return Request(item.item_id, (Message("user", judge_turn(prompt, material)),), sampling, seed, schema=SCHEMA)


def fence(blocks: Sequence[tuple[str, str]]) -> str:
    """Wrap named texts in fences that none of them contains, so that no text can close its block."""
    longest = max((len(run) for _, text in blocks for run in re.findall("=+", text)), default=0)
    bar = "=" * max(5, longest + 1)
    return "\n".join(f"{bar} {name}\n{text}\n{bar} END OF {name}" for name, text in blocks)


def read_verdict(item: JudgeItem, generation: Generation) -> ModelVerdict:
    """Parse the verdict of a generation: tolerant of text around the JSON, strict about the quote."""
    text = generation.text[:2000]

    def nothing(why: str, reason: str = "") -> ModelVerdict:
        return ModelVerdict(item.item_id, "undecided", reason=reason, void=why, said=text)

    if generation.finish != "stop":
        return nothing(
            f"the answer ended with {generation.finish}" + (f": {generation.error}" * bool(generation.error))
        )
    verdicts = [answer for answer in json_objects(generation.text) if "verdict" in answer]
    outcomes = {_OUTCOMES.get(_plain(str(answer["verdict"]))) for answer in verdicts}
    if not verdicts or None in outcomes:
        return nothing("no verdict can be read")
    if len(outcomes) > 1:
        return nothing("two verdicts that contradict each other")
    answer = verdicts[-1]
    quote, reason = _text(answer.get("quote")), _text(answer.get("reason"))[:500]
    (outcome,) = outcomes
    if outcome is None or outcome == "undecided":
        return ModelVerdict(item.item_id, "undecided", reason=reason, said=text)
    if len(re.sub(r"\W", "", quote)) < MIN_QUOTE:
        return nothing("no evidence is quoted", reason)
    if not occurs(quote, item.judged):
        return nothing("the quoted evidence does not occur in what was judged", reason)
    return ModelVerdict(item.item_id, outcome, quote, reason, said=text)


MIN_QUOTE = 4
"""Letters and digits below which a quote is no evidence: `the` occurs anywhere."""


def occurs(quote: str, text: str) -> bool:
    """Return whether a quote occurs in a text up to case, markup, spaces, list numbers and a final full stop."""
    wanted = _plain(quote).strip(" .…")
    return bool(wanted) and wanted in _plain(text)


def combine(rule: Verdict | StepVerdict, model: ModelVerdict | None) -> CombinedVerdict:
    """Return the rule's verdict if it decided, else the model's. A disagreement is recorded, never resolved."""
    decided = model is not None and model.outcome != "undecided"
    if rule.outcome != "undecided":
        disagree = model is not None and decided and model.outcome != rule.outcome
        reason = rule.reason
        if disagree and model is not None:
            reason = f"{reason}; a model says {model.outcome}: {model.reason}".lstrip("; ")
        return CombinedVerdict(rule.outcome, "rule", disagree, reason, rule, model)
    if model is None or not decided:
        why = f"; model: {model.void or model.reason or 'undecided'}" if model is not None else ""
        return CombinedVerdict("undecided", "nobody", False, f"{rule.reason}{why}".lstrip("; "), rule, model)
    return CombinedVerdict(model.outcome, "model", False, f"model: {model.reason}", rule, model)


def json_objects(text: str) -> list[dict[str, Any]]:
    """Find all top-level JSON objects of a text, in order; at most 50 braces are tried.

    Thinking before `</think>` is not read.
    """
    text = text.rpartition("</think>")[2][:50_000]
    objects: list[dict[str, Any]] = []
    decoder = json.JSONDecoder(strict=False)
    at, tries = text.find("{"), 0
    while at >= 0 and tries < 50:
        tries += 1
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            objects.append({str(key).casefold(): entry for key, entry in value.items()})
        at = text.find("{", end)
    return objects


_OUTCOMES: Mapping[str, StepOutcome] = {
    "correct": "correct", "right": "correct", "valid": "correct", "sound": "correct",
    "incorrect": "incorrect", "wrong": "incorrect", "invalid": "incorrect", "not correct": "incorrect",
    "undecided": "undecided", "unsure": "undecided", "unclear": "undecided", "unknown": "undecided",
}  # fmt: skip


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _plain(text: str) -> str:
    """Return lower-case, without markup, typographic variants, list numbers at line starts and runs of spaces."""
    text = unicodedata.normalize("NFKC", text).translate(_TYPOGRAPHY)
    text = re.sub(r"(?m)^[\s#>*_•-]*(?:step\s*)?\(?\d{1,3}[.):]\s+", "", text, flags=re.IGNORECASE)
    return " ".join(re.sub(r"[*_`]+", "", text).casefold().split()).strip("\"' ")


_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-"})
