"""Known warnings of other packages, by their text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

THIRD_PARTY = (
    "ignore:`gradient_checkpointing` is deprecated:FutureWarning",  # TRL's own default
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",  # read by PEFT
    "ignore:'pin_memory' argument is set as true:UserWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "training" in item.path.parts:
            for text in THIRD_PARTY:
                item.add_marker(pytest.mark.filterwarnings(text))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A tiny model gains nothing from threads, and on a busy machine they wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def padded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers pad as they do for a model whose attention is not computed row by row."""
    monkeypatch.setattr("tracedistill.training.trainer.leave_out_padding", lambda model: "as the test wants it")
