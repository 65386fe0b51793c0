"""Contamination of training problems against evaluation problems: tiers, short and long texts, speed."""

from __future__ import annotations

import gzip
import json
import random
import time
from itertools import chain, pairwise

import pytest

from tests.tasks.shared_data import DATA, SOURCE, needs_data
from tracedistill.compute import Processes
from tracedistill.records import Problem
from tracedistill.tasks import get_task
from tracedistill.tasks._overlap import duplicates
from tracedistill.validation.contamination import (
    Contamination,
    ContaminationJob,
    EvaluationIndex,
    find_contamination,
)

LONG = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg. How much in "
    "dollars does she make every day at the farmers' market?"
)
SHORT = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts does it take?"


def problem(problem_id: str, question: str, **more: object) -> Problem:
    return Problem(problem_id, "file", "train", question, **more)  # type: ignore[arg-type]


def only(train: str, evaluation: str, **limits: float) -> Contamination | None:
    index = EvaluationIndex([problem("e", evaluation)], **limits)  # type: ignore[arg-type]
    pairs = find_contamination([problem("t", train)], index).pairs
    assert len(pairs) <= 1
    return pairs[0] if pairs else None


@pytest.mark.parametrize(
    ("train", "evaluation", "tier", "same_numbers"),
    [
        (LONG, LONG, "exact", True),
        (SHORT, SHORT, "exact", True),
        ("How many?", "How many?", "exact", True),
        (LONG.upper(), LONG, "normalised", True),
        (LONG.replace(".", " ;").replace("'", "’"), LONG, "normalised", True),
        (SHORT.replace(" ", "  "), SHORT, "normalised", True),
        ("An old riddle goes as follows. " + LONG + " Please explain your answer in full.", LONG, "overlap", True),
        (LONG.replace("16 eggs", "18 eggs"), LONG, "overlap", False),
        (LONG[: len(LONG) * 2 // 3] + " What is the rest?", LONG, "overlap", False),
        ("Read this twice before you answer, please: " + SHORT + " Take your time with it.", SHORT, "overlap", True),
        (SHORT.replace("much", "many"), SHORT, "similar", True),
        (SHORT.replace("2 bolts", "3 bolts"), SHORT, "similar", False),
        ("Does it take many bolts? A robe takes some.", SHORT, None, True),
        ("Tom has 5 pens and loses 3 of them. How many pens are left?", SHORT, None, True),
        (LONG, "How many eggs does she sell at the farmers' market every day?", None, True),
        ("How many pens?", "How many?", None, True),
        ("", SHORT, None, True),
        (SHORT, "", None, True),
    ],
)  # fmt: skip
def test_tiers(train: str, evaluation: str, tier: str | None, same_numbers: bool) -> None:
    pair = only(train, evaluation)
    assert (pair.tier if pair else None) == tier
    if pair:
        assert pair.same_numbers is same_numbers
        assert 0 < pair.share <= 1
        assert pair.evidence


def test_evidence_is_the_longest_shared_run() -> None:
    pair = only("In short: every morning the red fox jumps over one of the lazy dogs, they say.",
                "Who said that every morning the red fox jumps over one of the lazy cats?", similar=0.3)  # fmt: skip
    assert pair is not None
    assert pair.evidence == "every morning the red fox jumps over one of the lazy"


def test_context_and_choices_are_compared_too() -> None:
    one = problem("t", "Where is Mary?", context=("Mary went to the kitchen.",))
    same = problem("e", "Where is Mary?", context=("Mary went to the kitchen.",))
    other = problem("f", "Where is Mary?", context=("Then John took the football to his garden.",))
    report = find_contamination([one], [same, other])
    assert [(pair.eval_id, pair.tier) for pair in report.pairs] == [("e", "exact")]
    lettered = [problem(i, "Which?", choices=(("A", text), ("B", "ice"))) for i, text in (("a", "iron"), ("b", "lead"))]
    assert not find_contamination(lettered[:1], lettered[1:]).pairs


def test_every_evaluation_problem_that_is_met_is_reported() -> None:
    evaluation = [problem("e1", SHORT), problem("e2", SHORT.lower()), problem("e3", LONG)]
    report = find_contamination(
        [problem("t1", SHORT), problem("t2", "nothing of this kind"), problem("t3", LONG)], evaluation
    )
    assert [(p.train_id, p.eval_id, p.tier) for p in report.pairs] == [
        ("t1", "e1", "exact"), ("t1", "e2", "normalised"), ("t3", "e3", "exact"),
    ]  # fmt: skip
    assert (report.n_train, report.n_eval, report.left_off) == (3, 3, 0)
    assert report.by_tier == {"exact": 2, "normalised": 1}
    assert (report.train_ids, report.eval_ids) == ({"t1", "t3"}, {"e1", "e2", "e3"})


def test_a_problem_is_no_pair_with_itself() -> None:
    assert not find_contamination([problem("p", SHORT)], [problem("p", SHORT)]).pairs


def test_pairs_are_bounded_and_counted() -> None:
    report = find_contamination((problem(f"t{i}", SHORT) for i in range(50)), [problem("e", SHORT)], max_pairs=10)
    assert (len(report.pairs), report.left_off, len(report.train_ids)) == (10, 40, 50)


def test_a_template_is_no_evidence() -> None:
    frame = "Here is a story in the usual form, told as such stories are always told to all of the children: "
    tails = [" ".join(f"w{i}x{k}" for k in range(30)) for i in range(31)]
    evaluation = [problem(f"e{i}", frame + tail) for i, tail in enumerate(tails[:30])]
    report = find_contamination([problem("t", frame + tails[30])], EvaluationIndex(evaluation, min_share=0.1))
    assert not report.pairs
    assert report.templates > 0


def test_the_prefix_filter_loses_nothing() -> None:
    """Every pair of short texts at or above the limit is found: compared with all pairs, one by one."""
    rng = random.Random(4)
    words = [f"w{i}" for i in range(12)]

    def text() -> str:
        return " ".join(rng.choice(words) for _ in range(rng.randint(3, 9)))

    evaluation = [problem(f"e{i}", text()) for i in range(60)]
    train = [problem(f"t{i}", text()) for i in range(60)]
    for limit in (0.3, 0.5, 0.8):
        found = {
            (p.train_id, p.eval_id) for p in find_contamination(train, EvaluationIndex(evaluation, similar=limit)).pairs
        }
        wanted = set()
        for one in train:
            for other in evaluation:
                a, b = (_shingles(p.question.split()) for p in (one, other))
                if len(a & b) >= limit * len(a | b):
                    wanted.add((one.problem_id, other.problem_id))
        assert found == wanted


def _shingles(words: list[str]) -> set[object]:
    return {*words, *pairwise(words)}


@pytest.mark.parametrize("limits", [{"n": 1}, {"min_share": 0}, {"similar": 1.5}, {"common": 0}])
def test_limits_out_of_range(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="n "):
        EvaluationIndex([], **limits)  # type: ignore[arg-type]


def test_nothing_to_compare() -> None:
    assert find_contamination([], []).pairs == ()
    assert find_contamination([problem("t", SHORT)], []).n_train == 1


def test_duplicates_by_normalised_question() -> None:
    found = duplicates([problem("a", SHORT), problem("b", SHORT.upper()), problem("c", LONG)])
    assert [repeat.ids for repeat in found] == [("a", "b")]


def test_a_tenth_of_the_largest_case_takes_a_few_seconds() -> None:
    """100,000 x 10,000 took 8 to 15 s on two shared cores; here 10,000 x 5,000."""
    rng = random.Random(0)
    words = [f"w{i}" for i in range(3000)]

    def make(name: str) -> Problem:
        return problem(name, " ".join(rng.choices(words, k=rng.choice((12, 40, 60)))))

    evaluation = [make(f"e{i}") for i in range(5_000)]
    train = [make(f"t{i}") for i in range(10_000)] + [problem("copy", evaluation[7].question)]
    start = time.process_time()
    report = find_contamination(iter(train), evaluation)
    assert [(p.train_id, p.eval_id) for p in report.pairs] == [("copy", "e7")]
    assert time.process_time() - start < 20


@pytest.mark.slow
@needs_data("gsm8k")
def test_gsm8k_train_is_clean_and_a_planted_problem_is_found() -> None:
    task = get_task("gsm8k")
    evaluation = list(task.load("test", SOURCE))
    train = list(task.load("train", SOURCE))[:3000]
    planted = problem("planted", evaluation[100].question.replace(".", " ."))
    report = find_contamination([*train, planted], evaluation)
    assert [(p.train_id, p.eval_id) for p in report.pairs] == [("planted", evaluation[100].problem_id)]


@needs_data("babi")
def test_the_published_babi_split_is_contaminated() -> None:
    """18 of its 376 test questions stand in train, story and all."""
    with gzip.open(DATA / "babi" / "eleven_categories.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    splits: dict[str, list[Problem]] = {"train": [], "test": []}
    for row in rows:
        splits[row["split"]].append(problem(row["id"], row["question"], context=tuple(row["facts"])))
    report = find_contamination(splits["train"], splits["test"])
    assert report.n_eval == 376
    assert len({pair.eval_id for pair in report.pairs if pair.tier == "exact"}) == 18


def test_pairs_found_in_other_processes_are_the_same() -> None:
    """Each has other hashes of strings."""
    train = [problem(f"t{n}", LONG.replace("16", str(n)) if n % 2 else SHORT.replace("2", str(n))) for n in range(40)]
    evaluation = (problem("e0", LONG), problem("e1", SHORT), problem("e2", SHORT.replace("blue", "red")))
    processes = Processes(2, patience=0)
    pieces = list(processes.map(ContaminationJob(evaluation), [train[:15], train[15:30], train[30:]]))
    processes.close()
    found = find_contamination(train, evaluation, compare=lambda _: chain.from_iterable(pieces))
    assert found == find_contamination(train, evaluation)
    assert len(found.pairs) > 40
