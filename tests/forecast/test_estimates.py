"""Estimates against what was measured, and that they move the right way."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from tracedistill.engines.sizes import KNOWN, ModelSize
from tracedistill.forecast import estimates
from tracedistill.forecast.calibration import this_machine
from tracedistill.forecast.estimates import (
    DEVICES,
    GB,
    LENGTH_STEP,
    START_SECONDS,
    Device,
    PromptLengths,
    RowLengths,
    evaluation_need,
    evaluations,
    like,
    longest_fitting,
    padding,
    passes,
    trained_weights,
    training_memory,
    training_need,
)
from tracedistill.recipes import StudentConfig, TrainingConfig

SMOL, LLAMA = KNOWN["smollm2-135m"], KNOWN["llama-3.2-1b"]
TWO_CORES = Device("two cores", "cpu", 5.5e11, 24 * GB)
"""A machine of the speed of the one on which the larger study was measured, set by one of its three adapters."""
H100 = DEVICES["h100"]
ROWS = RowLengths(1600, 800_000, 140_000, 900)
PROMPTS = PromptLengths(200, 18_705, 111, 96, 96)
BF16, FP32 = StudentConfig(model="m", dtype="bfloat16"), StudentConfig(model="m", dtype="float32")
NF4 = StudentConfig(model="m", dtype="bfloat16", quantization="nf4")
PLAIN = TrainingConfig()


@pytest.mark.parametrize(
    ("tokens", "supervised", "longest", "seconds", "gigabytes"),
    [(31_338, 1_353, 113, 38, 2.39), (38_878, 8_893, 144, 45, 3.48), (38_998, 9_013, 153, 46, 3.73)],
)
def test_the_quickstart_as_it_was_measured(
    tokens: int, supervised: int, longest: int, seconds: float, gigabytes: float
) -> None:
    """Three adapters on two quiet cores (docs/LOG.md), to a fifth; batches were padded then, no weight was packed."""
    rows = RowLengths(320, tokens, supervised, longest)
    need = training_need(SMOL, rows, PLAIN, BF16, TWO_CORES)
    assert need.seconds * padding(rows, PLAIN) == pytest.approx(seconds, rel=0.2)
    packed = 2 * 2 * SMOL.linear
    assert need.memory - packed == pytest.approx(gigabytes * GB, rel=0.2)


@pytest.mark.parametrize(
    ("size", "training", "student", "packed"),
    [
        (SMOL, PLAIN, BF16, 4 * SMOL.linear),
        (SMOL, PLAIN, FP32, 8 * SMOL.linear),
        (SMOL, replace(PLAIN, method="full"), BF16, 0),
        (SMOL, PLAIN, NF4, 0),
        (LLAMA, PLAIN, BF16, 0),  # over 1 GiB
    ],
    ids=["bf16", "float32", "full", "4-bit", "large"],
)
def test_packed_weights_count_where_they_are_made(
    monkeypatch: pytest.MonkeyPatch, size: ModelSize, training: TrainingConfig, student: StudentConfig, packed: int
) -> None:
    rows = RowLengths(8, 800, 80, 100)
    memory = training_memory(size, rows, training, student, TWO_CORES)
    monkeypatch.setattr(estimates, "PACKED_BYTES", 0)
    assert memory - training_memory(size, rows, training, student, TWO_CORES) == packed


@pytest.mark.parametrize(
    ("rows", "changes", "steps"),
    [
        (320, {}, 40),
        (321, {}, 41),
        (321, {"epochs": 3.0}, 123),
        (320, {"epochs": 0.5}, 20),
        (320, {"max_steps": 7}, 7),
        (3, {"batch_size": 16}, 1),
    ],
)
def test_steps(rows: int, changes: dict[str, object], steps: int) -> None:
    assert replace(PLAIN, **changes).optimizer_steps(rows) == steps  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "every", "times"), [(40, 0, 0), (40, 20, 2), (41, 20, 3), (5, 20, 1), (40, 1, 40), (0, 20, 0)]
)
def test_evaluations_come_every_so_often_and_behind_the_last_step(steps: int, every: int, times: int) -> None:
    assert evaluations(steps, replace(PLAIN, eval_steps=every)) == times


@pytest.mark.parametrize("device", [TWO_CORES, H100])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_an_evaluation_is_a_pass_forward(device: Device, method: Literal["lora", "full"]) -> None:
    """One evaluation on as many rows as one epoch trains on: between a fifth and half of the epoch's time."""
    training = replace(PLAIN, method=method)
    once = replace(training, eval_steps=training.optimizer_steps(ROWS.rows))
    plain = training_need(SMOL, ROWS, training, BF16, device, ROWS)
    found = training_need(SMOL, ROWS, once, BF16, device, ROWS)
    assert plain == training_need(SMOL, ROWS, training, BF16, device), "without eval_steps nothing is evaluated"
    assert 0.2 < (found.seconds - plain.seconds) / (plain.seconds - START_SECONDS) < 0.5
    assert found.memory == plain.memory
    twice = training_need(SMOL, ROWS, replace(once, eval_steps=once.eval_steps // 2), BF16, device, ROWS)
    assert twice.seconds - plain.seconds == pytest.approx(2 * (found.seconds - plain.seconds))


def test_rows_that_nobody_counted_are_like_the_others() -> None:
    assert like(ROWS, 16) == RowLengths(16, 8_000, 1_400, 900)


def test_steps_say_how_often_a_row_is_seen() -> None:
    assert passes(16, replace(PLAIN, max_steps=4, batch_size=8)) == 2.0
    assert passes(16, replace(PLAIN, epochs=1.5)) == 1.5


@pytest.mark.parametrize(
    ("student", "changes", "cheaper"),
    [
        (NF4, {}, True),
        (FP32, {}, False),
        (BF16, {"activation_checkpointing": True}, True),
        (BF16, {"gradient_accumulation": 8}, True),
        (BF16, {"lora_r": 64}, False),
        (BF16, {"method": "full"}, False),
        (BF16, {"max_length": 512}, True),
    ],
)
def test_what_saves_memory(student: StudentConfig, changes: dict[str, object], cheaper: bool) -> None:
    short = replace(ROWS, longest=64)  # few activations: the weights are what counts
    rows = ROWS if changes else short
    before = training_need(LLAMA, rows, PLAIN, BF16, H100).memory
    after = training_need(LLAMA, rows, replace(PLAIN, **changes), student, H100).memory  # type: ignore[arg-type]
    assert (after < before) is cheaper
    assert after != before


def test_full_tuning_holds_sixteen_bytes_a_weight() -> None:
    full = replace(PLAIN, method="full")
    assert trained_weights(LLAMA, full) == LLAMA.parameters
    assert training_need(LLAMA, ROWS, full, BF16, H100).memory > 16 * LLAMA.parameters
    eight = replace(full, optimizer="adamw_8bit")
    saved = training_need(LLAMA, ROWS, full, BF16, H100).memory - training_need(LLAMA, ROWS, eight, BF16, H100).memory
    assert saved == pytest.approx(6 * LLAMA.parameters)


def test_what_costs_time() -> None:
    def seconds(**changes: object) -> float:
        return training_need(LLAMA, ROWS, replace(PLAIN, **changes), BF16, H100).seconds  # type: ignore[arg-type]

    assert seconds(epochs=2.0) > seconds()
    assert seconds(activation_checkpointing=True) > seconds()
    assert seconds(method="full") > seconds()
    # many tiny micro-batches: the launches of kernels, not the products
    assert seconds(gradient_accumulation=8) > seconds()


def test_a_slower_gpu_takes_longer_and_a_longer_answer_too() -> None:
    slow = training_need(LLAMA, ROWS, PLAIN, BF16, DEVICES["l4"])
    assert slow.seconds > training_need(LLAMA, ROWS, PLAIN, BF16, H100).seconds
    long = evaluation_need(SMOL, PROMPTS, 32, BF16, TWO_CORES, merged=False)
    short = evaluation_need(SMOL, replace(PROMPTS, written=5.0), 32, BF16, TWO_CORES, merged=False)
    assert short.seconds < long.seconds
    assert short.memory == long.memory, "what counts for memory is how long it may become"
    assert 15 < short.seconds + long.seconds < 75, "quickstart's arms took 12 to 23 s each"


def test_merged_weights_stand_twice() -> None:
    apart = evaluation_need(LLAMA, PROMPTS, 32, BF16, H100, merged=False).memory
    assert evaluation_need(LLAMA, PROMPTS, 32, BF16, H100, merged=True).memory - apart == 2 * LLAMA.linear


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_this_machine_is_measured(dtype: str) -> None:
    this_machine.cache_clear()
    device = this_machine(dtype)
    for work in ("train", "read", "write"):
        assert 1e7 < device.rate(work) < 1e17  # type: ignore[arg-type]
    assert device.known
    assert device.memory > GB / 4
    assert device.source
    assert this_machine(dtype) is device
    this_machine.cache_clear()


def test_rows_of_a_batch_are_as_long_as_its_longest() -> None:
    assert padding(ROWS, replace(PLAIN, batch_size=1)) == 1.0
    assert padding(ROWS, replace(PLAIN, packing=True)) == 1.0
    assert 1.0 < padding(ROWS, replace(PLAIN, batch_size=2)) < padding(ROWS, PLAIN) < 900 / 500
    split = replace(PLAIN, batch_size=8, gradient_accumulation=4)
    assert padding(ROWS, split) == padding(ROWS, replace(PLAIN, batch_size=2))


def test_only_imitated_rows_are_not_padded_on_a_cpu() -> None:
    own, other = (training_need(SMOL, ROWS, PLAIN, BF16, TWO_CORES, imitated=how).seconds for how in (True, False))
    assert own < other < own * padding(ROWS, PLAIN)


def test_a_step_of_one_row_on_a_cpu_costs_more_than_its_share_of_eight() -> None:
    """As measured: 0.8 processor seconds for 111 tokens, 3.9 for 888 (docs/speed.md), to a quarter."""
    eight = RowLengths(8, 888, 215, 111)
    one_core = replace(TWO_CORES, train=1.07e11, flops=2.08e11)
    each, together = (
        training_need(SMOL, eight, replace(PLAIN, batch_size=size), BF16, one_core).seconds - START_SECONDS
        for size in (1, 8)
    )
    # an idle core is counted as 0.9 of itself
    assert 0.9 * each / 8 == pytest.approx(0.8, rel=0.25)
    assert 0.9 * together == pytest.approx(3.87, rel=0.25)


def test_what_all_prompts_begin_with_is_read_once() -> None:
    shared = replace(PROMPTS, shared=50)
    plain, saved = (
        evaluation_need(SMOL, each, 32, BF16, TWO_CORES, merged=False).seconds for each in (PROMPTS, shared)
    )
    assert saved < plain
    assert plain - saved == pytest.approx(199 * 50 * 2 * SMOL.linear / TWO_CORES.rate("read"))


def test_rows_that_fit() -> None:
    """What the dry run says of long rows: the longest that fits, and what makes it longer."""

    def longest(shared: int = 1, **changes: object) -> int:
        training = replace(PLAIN, gradient_accumulation=PLAIN.batch_size, **changes)  # type: ignore[arg-type]
        return longest_fitting(LLAMA, ROWS, training, BF16, H100, shared)

    plain = longest()
    assert 0 < plain < (LLAMA.context or 0)
    assert plain % LENGTH_STEP == 0
    each = RowLengths(ROWS.rows, 1, 1, plain)
    training = replace(PLAIN, gradient_accumulation=PLAIN.batch_size, max_length=plain)
    assert training_need(LLAMA, each, training, BF16, H100).memory <= H100.memory
    assert longest(activation_checkpointing=True) > plain
    assert longest(shared=2) > plain
    assert longest(attention="eager") < plain
    assert longest(packing=True) < longest(packing=True, attention="flash_attention_2") == plain
    assert longest_fitting(LLAMA, ROWS, PLAIN, BF16, replace(H100, memory=1.0)) == 0
