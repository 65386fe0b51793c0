"""The number of cores that this process may use, by affinity (taskset, Slurm) and a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Linux's folder of control groups, which limit a container."""


def usable_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    A container's quota (`docker run --cpus`) is rounded down: threads of one training wait for each other, so half a
    core would slow down all others.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def _quota() -> float | None:
    """Return a container's limit in cores, from either version of control groups; None: no limit."""
    try:
        quota, period = (CGROUPS / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (CGROUPS / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (CGROUPS / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # `max`: no limit
        return None
    return cores if cores > 0 else None
