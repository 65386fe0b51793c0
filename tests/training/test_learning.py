"""An arm trained by each method from rows to folder: what is written, what is refused, how a killed one goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import build, ending
from tracedistill.chat.rendering import end_id
from tracedistill.engines.tokenizers import tokenizer_of
from tracedistill.errors import InputError
from tracedistill.recipes import Arm, StudentConfig, TrainingConfig
from tracedistill.records import Example, Message
from tracedistill.training.arm import train_arm
from tracedistill.training.learning import LearningSpec, weights_of
from tracedistill.training.methods.draws import Drawn, draw_completions, first_accepted, nearest_failed
from tracedistill.training.methods.verdicts import JudgedCompletion, by_tokens
from tracedistill.training.models import check_vocabulary
from tracedistill.training.rounds import IMITATED, train_in_rounds
from tracedistill.training.saving import pair_lengths
from tracedistill.training.work import work_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
SETTINGS = TrainingConfig(learning_rate=1e-2, batch_size=4, lora_r=4, lora_alpha=8, max_steps=2, save_steps=1)
ROWS = [
    Example(f"p{n}", "a", (Message("user", f"Where is Mary? {n}"),), f"Question type: counting.\nAnswer: {n}")
    for n in range(8)
]
SHOWN = [replace(row, prompt=(Message("user", f"Mary is at {row.problem_id}. Where?"),), completion="") for row in ROWS]
WRONG = [replace(row, completion="Question type: none.\nAnswer: nobody") for row in ROWS]
WEIGHTS = "adapter_model.safetensors"
GRPO = Arm(tune="correct", method="grpo", num_generations=4, max_tokens=6)


def even(ids: Sequence[str], texts: Sequence[str], ended: Sequence[bool]) -> list[JudgedCompletion]:
    """A judge that accepts texts with an even number of characters, and of every second problem alone."""
    assert len(ids) == len(texts) == len(ended)
    return [JudgedCompletion(float(len(text) % 2 == 0 and int(key[1:]) % 2 == 0), None, 1.0)
            for key, text in zip(ids, texts, strict=True)]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def stopping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student whose completions end."""
    return ending(build(tmp_path_factory.mktemp("stopping")))


def tune(folder: Path, output: Path, learning: LearningSpec, train: Any = train_arm, **changes: Any) -> dict[str, Any]:
    train(
        name=output.name, rows=ROWS, student=StudentConfig(str(folder), dtype="float32"),
        training=replace(SETTINGS, **changes), seed=0, output=output, learning=learning,
    )  # fmt: skip
    facts: dict[str, Any] = json.loads((output / "training.json").read_text())
    return facts


LEARNINGS = {
    "grpo": LearningSpec(GRPO, judge=even),
    "grpo held to its start": LearningSpec(replace(GRPO, beta=0.1), judge=even),
    "on-policy": LearningSpec(Arm(tune="none", method="on-policy", num_generations=2, max_tokens=6), shown=SHOWN),
    "dpo": LearningSpec(Arm(tune="correct", method="dpo", rejected="incorrect"), rejected=WRONG),
    "dpo with its own failures": LearningSpec(
        Arm(tune="correct", method="dpo", rejected="own", num_generations=2, max_tokens=6), judge=even
    ),
}


@pytest.mark.parametrize("name", LEARNINGS)
def test_every_method_leaves_an_adapter_with_what_it_cost(name: str, folder: Path, tmp_path: Path) -> None:
    facts = tune(folder, tmp_path / "arm", LEARNINGS[name])
    assert facts["steps"] == 2
    work = facts["work"]
    assert (work["drawn"] > 0) == (name.startswith(("grpo", "on-policy")))
    assert (work["scored"] > 0) == (name != "grpo")
    assert work["trained"] > 0
    assert work["flops"] > 4 * work["trained"]
    assert {each.name for each in (tmp_path / "arm").iterdir()} == {WEIGHTS, "adapter_config.json", "training.json"}
    assert {each.name for each in tmp_path.iterdir()} == {"arm"}  # nothing is left of checkpoints


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grpo held to its start", "on-policy", "dpo"])
def test_a_training_that_starts_from_an_adapter_is_held_against_it(name: str, folder: Path, tmp_path: Path) -> None:
    tune(folder, tmp_path / "first", LearningSpec(Arm()), learning_rate=5e-2)
    start = tmp_path / "first"
    facts = tune(folder, tmp_path / "second", replace(LEARNINGS[name], start=start), learning_rate=1e-7, max_steps=1)
    before, after = (load_file(tmp_path / each / WEIGHTS) for each in ("first", "second"))
    assert before.keys() == after.keys()
    assert all(torch.allclose(before[key], after[key], atol=1e-5) for key in before)
    assert any(float(each.abs().max()) > 1e-3 for key, each in after.items() if "lora_B" in key)
    # the reference is the start itself: at its first step nothing sets them apart
    first = facts["log"][0]
    for key in ("kl", "rewards/margins"):
        assert first.get(key, 0.0) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.slow
def test_equal_trainings_leave_equal_files(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        tune(folder, tmp_path / name, LEARNINGS["grpo"])
    for file in (WEIGHTS, "training.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@pytest.mark.slow
def test_a_curve_has_a_point_before_the_first_step_and_behind_the_last(folder: Path, tmp_path: Path) -> None:
    learning = replace(LEARNINGS["grpo"], attempted=3)
    output = tmp_path / "arm"
    train_arm(
        name="arm", rows=ROWS, student=StudentConfig(str(folder), dtype="float32"),
        training=replace(SETTINGS, eval_steps=2, max_steps=3), seed=0, output=output, learning=learning,
        validation=ROWS[:4],
    )  # fmt: skip
    facts = json.loads((output / "training.json").read_text())
    assert [(point["step"], point["attempts"]) for point in facts["curve"]] == [(0, 3), (2, 3), (3, 3)]
    tune(folder, tmp_path / "without", LEARNINGS["grpo"], max_steps=3)
    assert (output / WEIGHTS).read_bytes() == (tmp_path / "without" / WEIGHTS).read_bytes()


# ---- rounds


def accepting(ids: Sequence[str], texts: Sequence[str], ended: Sequence[bool]) -> list[JudgedCompletion]:
    return [JudgedCompletion(float(key in ("p1", "p2")), 1.0, 1.0) for key in ids]


IMITATION = LearningSpec(Arm(tune="correct", method="self-imitation", num_generations=2, max_tokens=20, rounds=2))


def test_a_student_imitates_what_the_judges_accept(stopping: Path, tmp_path: Path) -> None:
    facts = tune(stopping, tmp_path / "arm", replace(IMITATION, judge=accepting), train_in_rounds)
    rows = [json.loads(line) for line in (tmp_path / "arm" / IMITATED).read_text().splitlines()]
    assert [row["problem_id"] for row in rows] == ["p1", "p2"]
    assert [row["prompt"][0]["content"] for row in rows] == ["Where is Mary? 1", "Where is Mary? 2"]
    assert [(each["drawn"], each["accepted"], each["kept"]) for each in facts["rounds"]] == [(16, 4, 2), (16, 4, 2)]
    assert [each["cut_off"] for each in facts["rounds"]] == [0, 0]
    assert facts["work"]["drawn"] == sum(each["drawn_tokens"] for each in facts["rounds"])
    assert {each.name for each in tmp_path.iterdir()} == {"arm"}


def test_nothing_accepted_is_told_with_a_way_out(folder: Path, tmp_path: Path) -> None:
    nothing = LearningSpec(replace(IMITATION.arm, reward="both"), judge=even)
    with pytest.raises(InputError, match="accept none of the 16 completions drawn"):
        tune(folder, tmp_path / "arm", nothing, train_in_rounds)


@pytest.mark.slow
def test_a_killed_round_goes_on_where_it_was(stopping: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = tune(stopping, tmp_path / "whole", replace(IMITATION, judge=accepting), train_in_rounds)
    from tracedistill.training import rounds

    real, calls = rounds.train_arm, []

    def dying(**given: Any) -> str:
        calls.append(given["output"].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(**given)

    monkeypatch.setattr(rounds, "train_arm", dying)
    with pytest.raises(KeyboardInterrupt):
        tune(stopping, tmp_path / "arm", replace(IMITATION, judge=accepting), train_in_rounds)
    assert (tmp_path / "arm.rounds").is_dir()
    again = tune(stopping, tmp_path / "arm", replace(IMITATION, judge=accepting), train_in_rounds)
    assert calls == ["adapter-1", "arm", "arm"]  # the first round is not made again
    assert again == whole
    assert (tmp_path / "arm" / WEIGHTS).read_bytes() == (tmp_path / "whole" / WEIGHTS).read_bytes()


class Counting:
    """A writer that writes the number of the completion, and can die."""

    def __init__(self, dies_at: int = 1 << 30) -> None:
        self.dies_at = dies_at
        self.written = 0

    def write(self, prompts: Sequence[list[int]], seeds: Sequence[tuple[int, int]]) -> list[list[int]]:
        if self.written >= self.dies_at:
            raise KeyboardInterrupt
        self.written += len(prompts)
        return [[number] * (1 + number % 3) for _, number in seeds]


def drawn(file: Path, writer: Counting) -> list[Any]:
    prompts = {f"p{n}": [n] for n in range(50)}

    def judge(ids: Sequence[str], completions: Sequence[list[int]]) -> list[JudgedCompletion]:
        return [JudgedCompletion(float(each[0] % 2), None, 1.0) for each in completions]

    return draw_completions(lambda: writer, prompts, 3, 7, judge, lambda tokens: str(len(tokens)), file, is_main=True)  # type: ignore[arg-type, return-value]


def test_a_killed_drawing_is_the_undisturbed_one(tmp_path: Path) -> None:
    whole = drawn(tmp_path / "whole.jsonl", Counting())
    with pytest.raises(KeyboardInterrupt):
        drawn(tmp_path / "cut.jsonl", Counting(dies_at=64))
    partial = tmp_path / "cut.jsonl.partial"
    partial.write_bytes(partial.read_bytes()[:-5])  # a line that was not written to its end
    rest = Counting()
    assert drawn(tmp_path / "cut.jsonl", rest) == whole
    assert rest.written == 150 - 63
    assert not partial.exists()


def test_what_is_kept_and_what_is_rejected(tmp_path: Path) -> None:
    found = drawn(tmp_path / "drawn.jsonl", Counting())
    assert {key: one.sample for key, one in list(first_accepted(found, "answer").items())[:2]} == {"p0": 1, "p1": 0}
    rejected = nearest_failed(found, "answer", {"p0": 3, "p1": 9})
    assert {key: (one.sample, len(one.tokens)) for key, one in rejected.items()} == {"p0": (2, 3), "p1": (1, 2)}


def test_what_was_cut_off_is_not_imitated_and_not_rejected_for_it() -> None:
    """A right answer behind which the student ran on: an end that it never wrote would be supervised."""
    cut, whole = (Drawn("p0", n, (n, 9), "Answer: 3", 1.0, 1.0, 0.0, ended=bool(n)) for n in (0, 1))
    assert first_accepted([cut, whole], "both") == {"p0": whole}
    assert first_accepted([cut], "answer") == {}
    assert nearest_failed([cut, whole], "answer", {"p0": 2}) == {}


def test_whether_a_completion_ended_is_known_by_its_tokens(folder: Path) -> None:
    words = tokenizer_of(StudentConfig(str(folder)))
    judge = by_tokens(accepting, words, "plain", max_tokens=3)
    end = end_id(words)
    completions = [[7, end], [7, 8, end], [7, 8, 9], [end]]
    assert [each.ended for each in judge(["p1"] * 4, completions)] == [True, True, False, True]


# ---- what is told


def test_an_adapter_to_start_from_must_be_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="first train the arm that `from` names"):
        tune(folder, tmp_path / "arm", replace(LEARNINGS["grpo"], start=tmp_path / "none"))


def test_prompts_for_the_teacher_must_be_there(folder: Path, tmp_path: Path) -> None:
    few = replace(LEARNINGS["on-policy"], shown=SHOWN[:5])
    with pytest.raises(InputError, match="3 training problems have no prompt for the teacher, such as p5"):
        tune(folder, tmp_path / "arm", few)


def test_no_pair_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pair to learn from"):
        tune(folder, tmp_path / "arm", replace(LEARNINGS["dpo"], rejected=()))


def test_another_vocabulary_is_refused(folder: Path, tmp_path: Path) -> None:
    other = build(tmp_path / "other")
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(str(other))
    words.add_tokens(["<new>"])
    mine = tokenizer_of(StudentConfig(str(folder)))
    with pytest.raises(InputError, match="its vocabulary is not the student's"):
        check_vocabulary("other", words, mine)
    check_vocabulary("other", tokenizer_of(StudentConfig(str(other))), mine)


# ---- figures


def test_lengths_of_pairs_by_hand() -> None:
    pairs = [{"chosen_ids": [1] * 10, "rejected_ids": [1] * size} for size in (9, 10, 11, 12)]
    assert pair_lengths(pairs) == {"n": 4, "chosen_tokens": 10.0, "rejected_tokens": 10.5, "alike": 3}


def test_operations_by_hand() -> None:
    history = [{"drawn_tokens": 10, "prompt_tokens": 20}, {"drawn_tokens": 5, "scored_tokens": 7}, {}]
    found = work_of(history, trained=35, scored=1, weights=100, teacher=1000)
    assert (found.drawn, found.read, found.trained, found.scored) == (15, 20, 35, 8)
    assert found.flops == 2 * 100 * 35 + 4 * 100 * 35 + 2 * 1000 * 8


@pytest.mark.parametrize(
    ("reward", "weights"),
    [("answer", (1.0, 0.0, 0.5)), ("trace", (0.0, 1.0, 0.5)), ("both", (1.0, 0.3, 0.5))],
)
def test_weights_of_a_reward(reward: Any, weights: tuple[float, ...]) -> None:
    arm = Arm(method="grpo", reward=reward, trace_weight=0.3, format_weight=0.5)
    assert tuple(weights_of(arm).values()) == weights
