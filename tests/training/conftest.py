"""Known warnings of other packages, by their text."""

from __future__ import annotations

import pytest

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


@pytest.fixture
def padded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers pad as they do for a model whose attention is not computed row by row."""
    monkeypatch.setattr("tracedistill.training.trainer.leave_out_padding", lambda model: "as the test wants it")
