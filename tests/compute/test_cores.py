"""Cores that a process may use: affinity and containers' quotas, as rows of a table."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracedistill.compute import cores, usable_cores

QUOTAS: dict[str, tuple[dict[str, str], int]] = {
    "no control groups": ({}, 8),
    "version 2, no limit": ({"cpu.max": "max 100000\n"}, 8),
    "version 2, two cores": ({"cpu.max": "200000 100000\n"}, 2),
    "version 2, two and a half": ({"cpu.max": "250000 100000\n"}, 2),
    "version 2, less than one": ({"cpu.max": "50000 100000\n"}, 1),
    "version 2, more than there are": ({"cpu.max": "6400000 100000\n"}, 8),
    "version 2, damaged": ({"cpu.max": "two cores"}, 8),
    "version 2, empty": ({"cpu.max": ""}, 8),
    "version 2, no period": ({"cpu.max": "100000 0"}, 8),
    "version 1, no limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    "version 1, three cores": ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    "version 1, half of it": ({"cpu/cpu.cfs_quota_us": "300000\n"}, 8),
}
"""What a container's files say -> cores of eight."""


@pytest.mark.parametrize("name", QUOTAS)
def test_a_containers_quota(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, expected = QUOTAS[name]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert usable_cores() == expected


def test_affinity_is_what_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # no Linux
    assert usable_cores() == 64
