from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import DATA
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.tools.audit import audit_page, audit_task, kind_of

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here (set TRACEDISTILL_DATA)")


@pytest.mark.parametrize("name", ["babi", "acre"])
def test_every_gold_of_the_generators_passes(name: str) -> None:
    audits = audit_task(name, None)
    assert [audit.split for audit in audits][:1] == ["train"]
    assert all(not audit.listed for audit in audits)
    assert all(audit.in_train == 0 for audit in audits)


@needs_data
@pytest.mark.parametrize(
    ("name", "split", "n", "listed", "in_train"),
    [("arc_challenge", "test", 1172, 0, 0), ("svamp", "test", 1000, 1, 0),
     pytest.param("babi", "published_test", 376, 0, 18, marks=pytest.mark.slow),
     ("arc_agi", "evaluation", 419, 0, 1), ("msmarco", "sample", 200, 50, 0), ("cotempqa", "test", 950, 108, 0)],
)  # fmt: skip
def test_golds_pass_or_are_listed(name: str, split: str, n: int, listed: int, in_train: int) -> None:
    (audit,) = [audit for audit in audit_task(name, DATA) if audit.split == split]
    assert (audit.n, len(audit.listed), audit.in_train) == (n, listed, in_train)


def test_the_page_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "acre", "--out", str(tmp_path / "page.md")]) == 0
    assert "acre, test: 0 of 200 listed" in capsys.readouterr().out
    assert "| acre | test | 200 | 0 |" in (tmp_path / "page.md").read_text()
    assert main(["audit", "gsm8k", "--data-dir", str(tmp_path)]) == 2
    assert "no split found" in capsys.readouterr().err
    with pytest.raises(InputError):
        audit_task("nope", None)
    assert audit_page(audit_task("acre", None)).count("\n") == 5


def test_findings_of_one_kind_are_counted_together() -> None:
    assert kind_of("gold trace uses 3, 4.5: not grounded") == kind_of("gold trace uses 12: not grounded")
