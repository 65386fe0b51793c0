"""Attention, Liger and warm-up: what a recipe asks for, what a machine has, and what is refused by name."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import build
from tracedistill.errors import InputError
from tracedistill.training import kernels
from tracedistill.training.kernels import attention_of, context_size, use_liger

FLASH2, FLASH3 = "flash_attention_2", "flash_attention_3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


def machine(monkeypatch: pytest.MonkeyPatch, *there: str, capability: int = 9) -> None:
    monkeypatch.setattr(kernels, "is_flash_attn_2_available", lambda: FLASH2 in there)
    monkeypatch.setattr(kernels, "is_flash_attn_3_available", lambda: FLASH3 in there)
    monkeypatch.setattr(kernels, "_capability", lambda: capability)


CHOSEN: dict[str, tuple[Any, tuple[str, ...], dict[str, Any], str | None]] = {
    "a CPU": ("auto", (), {"on_cpu": True, "half": True}, "eager"),
    "a CPU, where a GPU's package lies about": ("auto", (FLASH2,), {"on_cpu": True, "half": True}, "eager"),
    "a GPU without FlashAttention": ("auto", (), {"on_cpu": False, "half": True}, None),
    "FlashAttention 2": ("auto", (FLASH2,), {"on_cpu": False, "half": True}, FLASH2),
    "both": ("auto", (FLASH2, FLASH3), {"on_cpu": False, "half": True}, FLASH3),
    "float32": ("auto", (FLASH2,), {"on_cpu": False, "half": False}, None),
    "as the recipe says": ("sdpa", (FLASH2,), {"on_cpu": True, "half": True}, "sdpa"),
    "eager on a GPU": ("eager", (FLASH2,), {"on_cpu": False, "half": True}, "eager"),
    "named and there": (FLASH2, (FLASH2,), {"on_cpu": False, "half": True}, FLASH2),
}


@pytest.mark.parametrize(("wanted", "there", "how", "chosen"), CHOSEN.values(), ids=CHOSEN)
def test_what_is_chosen(
    monkeypatch: pytest.MonkeyPatch, folder: Path, wanted: Any, there: tuple[str, ...], how: Any, chosen: str | None
) -> None:
    machine(monkeypatch, *there)
    assert attention_of(wanted, str(folder), **how) == chosen


def test_flash_attention_3_wants_a_hopper(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    machine(monkeypatch, FLASH2, FLASH3, capability=8)
    assert attention_of("auto", str(folder), on_cpu=False, half=True) == FLASH2
    with pytest.raises(InputError, match=r"training\.attention: flash_attention_3 cannot be used"):
        attention_of(FLASH3, str(folder), on_cpu=False, half=True)


REFUSED: dict[str, tuple[Any, tuple[str, ...], dict[str, Any], str]] = {
    "no GPU": (FLASH2, (), {"on_cpu": True, "half": True}, "this machine has no GPU. Or set training.attention: auto"),
    "not installed": (FLASH2, (), {"on_cpu": False, "half": True}, "pip install flash-attn"),
    "float32": (FLASH2, (FLASH2,), {"on_cpu": False, "half": False}, "dtype: bfloat16"),
}


@pytest.mark.parametrize(("wanted", "there", "how", "told"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_had_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, folder: Path, wanted: Any, there: tuple[str, ...], how: Any, told: str
) -> None:
    machine(monkeypatch, *there)
    with pytest.raises(InputError, match=told):
        attention_of(wanted, str(folder), **how)


def test_a_model_that_does_not_know_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, FLASH2)
    (tmp_path / "config.json").write_text('{"model_type": "nobody-knows"}')
    assert attention_of("auto", str(tmp_path), on_cpu=False, half=True) is None
    with pytest.raises(InputError, match="the student's model does not know flash_attention_2"):
        attention_of(FLASH2, str(tmp_path), on_cpu=False, half=True)


def test_rows_that_processes_share_are_computed_with_sdpa(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    assert context_size() == 1
    monkeypatch.setenv(kernels.CONTEXT, "4")
    assert context_size() == 4
    assert attention_of("auto", str(folder), on_cpu=False, half=True) == "sdpa"
    with pytest.raises(InputError, match="context parallelism works with sdpa only"):
        attention_of("eager", str(folder), on_cpu=False, half=True)


def test_liger_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not use_liger(None, "off", on_cpu=False)
    assert not use_liger(None, "auto", on_cpu=True)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda _name: None)
    assert not use_liger(None, "auto", on_cpu=False)
    with pytest.raises(InputError, match=r"training.liger: .* pip install liger-kernel"):
        use_liger(None, "on", on_cpu=False)
    with pytest.raises(InputError, match="no GPU"):
        use_liger(None, "on", on_cpu=True)
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda _name: object())
    called: list[Any] = []
    fake = types.ModuleType("transformers.integrations.liger")
    fake.apply_liger_kernel = lambda model, config: called.append((model, config))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers.integrations.liger", fake)
    assert use_liger("model", "auto", on_cpu=False)
    assert called == [("model", {"cross_entropy": False, "fused_linear_cross_entropy": False})]
