"""The examples run as a user runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.conftest import ROOT


@pytest.mark.slow
def test_by_hand_does_what_a_run_does(tmp_path: Path) -> None:
    student = tiny.build(tmp_path / "student")
    command = [sys.executable, str(ROOT / "examples" / "by_hand.py"), str(student), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for words in ("72 of 72 traces accepted", "of 80 answers right", "exact McNemar p = "):
        assert words in done.stdout
    for arm in ("answer-only", "correct-trace"):
        assert (tmp_path / "run" / arm / "adapter_model.safetensors").is_file()


def test_by_hand_stays_short_and_linear() -> None:
    code = (ROOT / "examples" / "by_hand.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 110
    assert "def " not in code
