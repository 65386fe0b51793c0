"""Audit of a model judge: agreement with labelled rows, and bias by order and length.

Every row is judged three times: as it is, with plan and problem swapped, and with neutral sentences added to the plan.
A sound and an unsound plan, of the same problem if possible, are shown as A and B in both orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import atanh, sqrt, tanh
from statistics import NormalDist, correlation
from typing import Any

from tracedistill.chat.prompts import judge_turn
from tracedistill.engines import Engine, Generation, Request, Sampling
from tracedistill.records import Message
from tracedistill.stats import Interval, Share, cohen_kappa, share
from tracedistill.validation.model_judge import (
    JUDGE_SAMPLING,
    JudgeItem,
    ModelVerdict,
    fence,
    json_objects,
    judge_request,
    read_verdict,
)

PADDING = (
    "Take the time that you need for each of the steps above.",
    "Read every step from beginning to end before you carry it out.",
    "Write clearly, so that others can follow what you did.",
    "Keep the order of the steps as they are written.",
)
"""Neutral sentences without content about any problem."""


@dataclass(frozen=True, slots=True)
class LabelledItem:
    """An item with a known verdict."""

    item: JudgeItem
    correct: bool
    """Whether it is correct, by a person or by construction."""
    problem_id: str = ""
    """Problem id; pairs are made within one problem if possible."""


@dataclass(frozen=True, slots=True)
class PositionBias:
    """Effect of the order of presentation on the judge."""

    flipped: Share
    """Verdicts that change when the plan precedes the problem, out of rows decided in both orders."""
    first_chosen: Share
    """Choices of the plan shown first, out of all choices; one half without bias."""
    inconsistent: Share
    """Pairs whose choice changes with the order, out of pairs with two choices."""
    right: Share
    """Choices of the sound plan, out of all choices."""


@dataclass(frozen=True, slots=True)
class LengthBias:
    """Effect of length on the judge."""

    verdict_r: float | None
    """Correlation of the verdict (1: correct) with the words of the plan; None if one of them never varies."""
    verdict_r_interval: Interval | None
    """Its interval (Fisher's z); None with it, or with fewer than 4 rows."""
    label_r: float | None
    """The same correlation for the labels: the value of an unbiased judge."""
    flipped: Share
    """Verdicts that change when neutral sentences are added, out of rows decided both times."""
    to_correct: int
    """Of these: from incorrect to correct."""
    to_incorrect: int
    """Of these: from correct to incorrect."""


@dataclass(frozen=True, slots=True)
class JudgeAudit:
    """A judge measured against labelled rows."""

    n: int
    """Rows."""
    engine: dict[str, Any]
    """The engine's description."""
    decided: Share
    """Rows with a valid verdict."""
    void: int
    """Rows whose verdict was void, for `void_reasons`."""
    void_reasons: dict[str, int]
    """Reason -> void verdicts."""
    agreement: Share
    """Verdicts that agree with the label, out of the decided rows."""
    agreement_of_all: Share
    """The same out of all rows: undecided counts as no agreement."""
    majority: float
    """Share of the commoner label among the decided rows: the agreement of a constant judge; 0 if none is decided."""
    kappa: float | None
    """Cohen's kappa on the decided rows; None if chance explains all."""
    false_positives: Share
    """Incorrect rows judged correct, out of the decided incorrect rows."""
    false_negatives: Share
    """Correct rows judged incorrect, out of the decided correct rows."""
    position: PositionBias
    length: LengthBias
    wrong_ids: tuple[str, ...]
    """Rows judged against their label, to read."""

    @property
    def beats_majority(self) -> bool:
        """Whether the interval of the agreement lies above a constant judge's."""
        return self.agreement.low > self.majority


def audit_judge(
    rows: Sequence[LabelledItem], engine: Engine, *, max_pairs: int = 200, confidence: float = 0.95,
    sampling: Sampling = JUDGE_SAMPLING, seed: int = 0,
) -> JudgeAudit:  # fmt: skip
    """Measure a judge: three calls per row and two per pair (at most `max_pairs`).

    No rows: shares with value None and intervals 0..1. Raises ValueError if two rows share an id.
    """
    if len({row.item.item_id for row in rows}) < len(rows):
        raise ValueError("two rows have the same item_id")
    pairs = list(_pairs(rows))[:max_pairs]
    requests: list[Request] = []
    for at, row in enumerate(rows):
        padded = padded_item(row.item)
        requests += [
            replace(judge_request(row.item, sampling=sampling, seed=seed), request_id=f"plain/{at}"),
            replace(judge_request(row.item, swapped=True, sampling=sampling, seed=seed), request_id=f"swapped/{at}"),
            replace(judge_request(padded, sampling=sampling, seed=seed), request_id=f"padded/{at}"),
        ]
    for at, (sound, unsound) in enumerate(pairs):
        requests += [
            pair_request(f"sound first/{at}", sound.item, unsound.item, sampling, seed),
            pair_request(f"sound second/{at}", unsound.item, sound.item, sampling, seed),
        ]
    answers = {generation.request_id: generation for generation in engine.generate(requests)} if requests else {}

    def verdicts(how: str) -> list[ModelVerdict]:
        return [_read(row.item, answers.get(f"{how}/{at}")) for at, row in enumerate(rows)]

    plain, swapped, padded_ = verdicts("plain"), verdicts("swapped"), verdicts("padded")
    choices = [
        (_choice(answers.get(f"sound first/{i}")), _choice(answers.get(f"sound second/{i}"))) for i in range(len(pairs))
    ]
    labels = [row.correct for row in rows]
    decided = [
        (v.outcome == "correct", label) for v, label in zip(plain, labels, strict=True) if v.outcome != "undecided"
    ]
    agree = sum(verdict == label for verdict, label in decided)
    right = sum(label for _, label in decided)
    voids = [verdict.void.partition(":")[0] for verdict in plain if verdict.void]
    return JudgeAudit(
        n=len(rows),
        engine=engine.describe(),
        decided=share(len(decided), len(rows), confidence),
        void=len(voids),
        void_reasons={why: voids.count(why) for why in dict.fromkeys(voids)},
        agreement=share(agree, len(decided), confidence),
        agreement_of_all=share(agree, len(rows), confidence),
        majority=max(right, len(decided) - right) / len(decided) if decided else 0.0,
        kappa=cohen_kappa([verdict for verdict, _ in decided], [label for _, label in decided]),
        false_positives=share(sum(v and not label for v, label in decided), len(decided) - right, confidence),
        false_negatives=share(sum(label and not v for v, label in decided), right, confidence),
        position=_position(plain, swapped, choices, confidence),
        length=_length(rows, plain, padded_, confidence),
        wrong_ids=tuple(
            v.item_id for v, label in zip(plain, labels, strict=True)
            if v.outcome != "undecided" and (v.outcome == "correct") != label
        ),
    )  # fmt: skip


def padded_item(item: JudgeItem) -> JudgeItem:
    """Return the item with neutral sentences after the plan, at least as many words as the plan; its step stays."""
    words, added = len(item.plan.split()), list(PADDING)
    while sum(len(sentence.split()) for sentence in added) < words:
        added += PADDING
    return replace(item, plan="\n".join((item.plan, *added)))


def pair_request(request_id: str, first: JudgeItem, second: JudgeItem, sampling: Sampling, seed: int) -> Request:
    """Build a request that shows two plans as A and B, each after its problem (shown once if it is the same)."""
    blocks = [("PROBLEM" if first.problem == second.problem else "PROBLEM OF A", first.problem)]
    blocks.append(("PLAN A", first.plan))
    if first.problem != second.problem:
        blocks.append(("PROBLEM OF B", second.problem))
    blocks.append(("PLAN B", second.plan))
    return Request(
        request_id, (Message("user", judge_turn("judge-pair", fence(blocks))),), sampling, seed, schema=_PAIR
    )


_PAIR = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "choice": {"type": "string", "enum": ["A", "B"]}},
    "required": ["reason", "choice"],
    "additionalProperties": False,
}


def _pairs(rows: Sequence[LabelledItem]) -> Iterator[tuple[LabelledItem, LabelledItem]]:
    """Yield pairs of a sound and an unsound plan, each once: of one problem first, then in order.

    Single steps are not paired.
    """
    plans = [row for row in rows if not row.item.step]
    sound, unsound = ([row for row in plans if row.correct is label] for label in (True, False))
    taken: set[str] = set()
    for same in (True, False):
        for item in sound:
            if item.item.item_id in taken:
                continue
            for other in unsound:
                alike = bool(item.problem_id) and item.problem_id == other.problem_id
                if other.item.item_id not in taken and (alike or not same):
                    taken |= {item.item.item_id, other.item.item_id}
                    yield item, other
                    break


def _read(item: JudgeItem, generation: Generation | None) -> ModelVerdict:
    if generation is None:
        return ModelVerdict(item.item_id, "undecided", void="the engine returned nothing")
    return read_verdict(item, generation)


def _choice(generation: Generation | None) -> str:
    """Return A or B; empty unless exactly one is chosen."""
    if generation is None or generation.finish != "stop":
        return ""
    chosen = {
        str(o["choice"]).strip().upper().removeprefix("PLAN ") for o in json_objects(generation.text) if "choice" in o
    }
    return chosen.pop() if len(chosen) == 1 and chosen <= {"A", "B"} else ""


def _position(
    plain: list[ModelVerdict], swapped: list[ModelVerdict], choices: list[tuple[str, str]], confidence: float
) -> PositionBias:
    both = _both(plain, swapped)
    made = [choice for pair in choices for choice in pair if choice]
    right = sum((first == "A") + (second == "B") for first, second in choices)
    whole = [pair for pair in choices if all(pair)]
    return PositionBias(
        flipped=share(sum(a != b for a, b in both), len(both), confidence),
        first_chosen=share(made.count("A"), len(made), confidence),
        inconsistent=share(sum(first == second for first, second in whole), len(whole), confidence),
        right=share(right, len(made), confidence),
    )


def _length(
    rows: Sequence[LabelledItem], plain: list[ModelVerdict], padded: list[ModelVerdict], confidence: float
) -> LengthBias:
    kept = [(row, v) for row, v in zip(rows, plain, strict=True) if v.outcome != "undecided"]
    words = [float(len(row.item.judged.split())) for row, _ in kept]
    r = _correlation(words, [float(v.outcome == "correct") for _, v in kept])
    both = _both(plain, padded)
    return LengthBias(
        verdict_r=r,
        verdict_r_interval=None if r is None or len(kept) < 4 else _fisher(r, len(kept), confidence),
        label_r=_correlation(words, [float(row.correct) for row, _ in kept]),
        flipped=share(sum(a != b for a, b in both), len(both), confidence),
        to_correct=both.count(("incorrect", "correct")),
        to_incorrect=both.count(("correct", "incorrect")),
    )


def _both(first: Iterable[ModelVerdict], second: Iterable[ModelVerdict]) -> list[tuple[str, str]]:
    pairs = [(a.outcome, b.outcome) for a, b in zip(first, second, strict=True)]
    return [(a, b) for a, b in pairs if a != "undecided" and b != "undecided"]


def _correlation(xs: list[float], ys: list[float]) -> float | None:
    return correlation(xs, ys) if len(set(xs)) > 1 and len(set(ys)) > 1 else None


def _fisher(r: float, n: int, confidence: float) -> Interval:
    r = max(-1.0, min(1.0, r))
    if abs(r) > 1 - 1e-12:
        return Interval(r, r)
    width = NormalDist().inv_cdf((1 + confidence) / 2) / sqrt(n - 3)
    return Interval(tanh(atanh(r) - width), tanh(atanh(r) + width))
