"""Contamination: training problems that occur among the evaluation problems, whole, slightly reworded, or in part.

    train  A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?
    eval   a robe takes 2 bolts of blue fiber, and half that much white fiber; how many bolts in total does it take
    ->     normalised: the same words; with `3 bolts` for `2 bolts`: similar, other numbers

Compared are question, context and choices (`tasks.overlap.normal_text`), never answers. What is kept in memory comes
from the evaluation problems alone: their texts, hashes of their n-grams (long texts) and of their rarest word pairs
(short ones). Training problems pass by one at a time, so their number does not matter.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Literal

from tracedistill.records import Problem
from tracedistill.tasks._overlap import normal_text

ContaminationTier = Literal["exact", "normalised", "overlap", "similar"]
"""exact: the same characters; normalised: the same but for case, punctuation and spaces; overlap: common n-grams (a
share of a long text's, nearly all of a short one's); similar: short texts whose words and word pairs are nearly the
same."""


@dataclass(frozen=True, slots=True)
class Contamination:
    """A training problem and an evaluation problem that are too similar."""

    train_id: str
    """Id of the training problem."""
    eval_id: str
    """Id of the evaluation problem."""
    tier: ContaminationTier
    """The strongest tier that applies."""
    share: float
    """Share of the evaluation problem's n-grams found in the training problem; for `similar` the Jaccard index."""
    evidence: str
    """Longest common run of words, quoted from the normalised evaluation problem."""
    same_numbers: bool
    """Whether both contain the same numbers; if not, it may be another problem from the same template."""


@dataclass(frozen=True, slots=True)
class ContaminationReport:
    """Overlap of training and evaluation problems."""

    n_train: int
    """Training problems compared."""
    n_eval: int
    """Evaluation problems compared."""
    pairs: tuple[Contamination, ...]
    """Pairs found, at most `max_pairs`, in the order of training problems, then evaluation problems."""
    left_off: int
    """Pairs beyond `max_pairs`: counted, not kept."""
    by_tier: dict[ContaminationTier, int]
    """Pairs of each tier, including those left off."""
    train_ids: frozenset[str]
    """Training problems in a pair, to be dropped."""
    eval_ids: frozenset[str]
    """Evaluation problems in a pair."""
    templates: int
    """n-grams and word pairs skipped because more than `common` evaluation problems share them."""


class EvaluationIndex:
    """An index of evaluation problems for comparison with any number of training problems.

    `n`: words of an n-gram (13 is usual). `min_share`: share of an evaluation problem's n-grams that makes a pair.
    `similar`: Jaccard index of words and word pairs that makes a pair of short texts (fewer than 2 n words); also the
    share of a short text's n-grams, if any, that a longer one must contain. `common`: n-grams that more evaluation
    problems share are a template, not evidence. Raises ValueError out of range.
    """

    def __init__(
        self, problems: Iterable[Problem], *, n: int = 13, min_share: float = 0.3, similar: float = 0.8,
        common: int = 20,
    ) -> None:  # fmt: skip
        if n < 2 or not 0 < min_share <= 1 or not 0 < similar <= 1 or common < 1:
            raise ValueError(
                f"n {n} (>= 2), min_share {min_share} and similar {similar} (0..1), common {common} (>= 1)"
            )
        self.n, self.min_share, self.similar = n, min_share, similar
        self.ids: list[str] = []
        self._raw: list[int] = []
        self._texts: list[str] = []
        self._whole: dict[str, list[int]] = defaultdict(list)
        for problem in problems:
            self._whole[text := normal_text(problem)].append(len(self.ids))
            self.ids.append(problem.problem_id)
            self._texts.append(text)
            self._raw.append(hash(_raw(problem)))
        words = [text.split() for text in self._texts]
        self._grams: dict[int, list[int]] = defaultdict(list)
        self._needed: list[tuple[int, float]] = []  # n-grams of each problem, and the number that makes a pair
        for at, text_words in enumerate(words):
            grams = set(_grams(text_words, n))
            self._needed.append((len(grams), (min_share if self._is_long(text_words) else similar) * len(grams)))
            for gram in grams:
                self._grams[gram].append(at)
        crowded = [gram for gram, places in self._grams.items() if len(places) > common]
        for gram in crowded:
            del self._grams[gram]
        self.templates = len(crowded)
        shingles = {at: frozenset(_shingles(text)) for at, text in enumerate(words) if text and not self._is_long(text)}
        self._rarity = Counter(shingle for some in shingles.values() for shingle in some)
        self._rare: dict[int, list[int]] = defaultdict(list)
        for at, some in shingles.items():
            for shingle in self._prefix(some):
                self._rare[shingle].append(at)
        self._shingles = shingles

    def compare(self, problem: Problem) -> list[Contamination]:
        """Compare one training problem.

        Return its pairs in the order of the evaluation problems, each with its strongest tier.
        """
        text = normal_text(problem)
        same = self._whole.get(text, ())
        raw = hash(_raw(problem)) if same else 0
        overlaps = {
            at: self._pair(problem, at, "exact" if raw == self._raw[at] else "normalised", 1.0, text) for at in same
        }
        words = text.split()
        for tier, at, value in self._near(words):
            if at not in overlaps:
                overlaps[at] = self._pair(problem, at, tier, value, text)
        return [overlaps[at] for at in sorted(overlaps)]

    def _near(self, words: list[str]) -> Iterator[tuple[ContaminationTier, int, float]]:
        if len(words) >= self.n:
            hits: Counter[int] = Counter()
            for gram in set(_grams(words, self.n)):
                if places := self._grams.get(gram):
                    hits.update(places)
            for at, count in hits.items():
                total, needed = self._needed[at]
                if count >= needed:
                    yield "overlap", at, count / total
        if words and self._shingles and len(words) < 4 * self.n:
            mine = frozenset(_shingles(words))
            candidates = {at for shingle in self._prefix(mine) for at in self._rare.get(shingle, ())}
            for at in candidates:
                theirs = self._shingles[at]
                both = len(mine & theirs)
                if both and both >= self.similar * (len(mine) + len(theirs) - both):
                    yield "similar", at, both / (len(mine) + len(theirs) - both)

    def _is_long(self, words: Sequence[str]) -> bool:
        return len(words) >= 2 * self.n

    def _prefix(self, shingles: frozenset[int]) -> list[int]:
        """Return the rarest shingles.

        Two sets of Jaccard index >= `similar` share one of them (prefix filter, exact).
        """
        kept = len(shingles) - ceil(self.similar * len(shingles) - 1e-9) + 1
        return sorted(shingles, key=lambda shingle: (self._rarity[shingle], shingle))[:kept]

    def _pair(self, problem: Problem, at: int, tier: ContaminationTier, value: float, text: str) -> Contamination:
        other = self._texts[at]
        same_numbers = Counter(_DIGITS.findall(text)) == Counter(_DIGITS.findall(other))
        evidence = other if tier in ("exact", "normalised") else _longest_run(other.split(), text.split())
        return Contamination(problem.problem_id, self.ids[at], tier, value, evidence[:300], same_numbers)


@dataclass(frozen=True, slots=True)
class ContaminationJob:
    """Compares training problems with the evaluation problems, in any process.

    Each process builds its own index: string hashes are valid within one process only.
    """

    evaluation: tuple[Problem, ...]

    def open(self) -> Callable[[Sequence[Problem]], list[list[Contamination]]]:
        """Build the index."""
        index = EvaluationIndex(self.evaluation)
        return lambda train: [index.compare(problem) for problem in train]


def find_contamination(
    train: Iterable[Problem],
    evaluation: Iterable[Problem] | EvaluationIndex,
    *,
    max_pairs: int = 100_000,
    compare: Callable[[Iterable[Problem]], Iterable[list[Contamination]]] | None = None,
) -> ContaminationReport:
    """Compare training problems, one at a time, with all evaluation problems.

    Pass an `EvaluationIndex` for other limits than its defaults. A problem is never paired with itself (same id).
    `compare`: yields the pairs of each training problem from elsewhere (several processes); None: here.
    """
    index = evaluation if isinstance(evaluation, EvaluationIndex) else EvaluationIndex(evaluation)
    pairs: list[Contamination] = []
    tiers: Counter[ContaminationTier] = Counter()
    train_ids: set[str] = set()
    eval_ids: set[str] = set()
    seen = 0
    for overlap in map(index.compare, train) if compare is None else compare(train):
        seen += 1
        for pair in overlap:
            if pair.eval_id == pair.train_id:
                continue
            tiers[pair.tier] += 1
            train_ids.add(pair.train_id)
            eval_ids.add(pair.eval_id)
            if len(pairs) < max_pairs:
                pairs.append(pair)
    left_off = tiers.total() - len(pairs)
    return ContaminationReport(
        seen, len(index.ids), tuple(pairs), left_off, dict(tiers), frozenset(train_ids), frozenset(eval_ids),
        index.templates,
    )  # fmt: skip


_DIGITS = re.compile(r"\d[\d,.]*")


def _raw(problem: Problem) -> str:
    return "\n".join((*problem.context, problem.question, *(text for _, text in problem.choices)))


def _grams(words: Sequence[str], n: int) -> Iterator[int]:
    """Hash all runs of n words."""
    hashes = [hash(word) for word in words]
    for start in range(len(words) - n + 1):
        yield hash(tuple(hashes[start : start + n]))


def _shingles(words: Sequence[str]) -> Iterator[int]:
    """Hash words and pairs of neighbours, so that both order and vocabulary count."""
    for word in words:
        yield hash(word)
    for pair in pairwise(words):
        yield hash(pair)


def _longest_run(words: Sequence[str], others: Sequence[str]) -> str:
    """Return the longest run of words of the first text that occurs in the second."""
    from difflib import SequenceMatcher

    best = SequenceMatcher(None, words, others, autojunk=False).find_longest_match()
    return " ".join(words[best.a : best.a + best.size])
