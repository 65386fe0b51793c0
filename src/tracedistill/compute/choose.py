"""Interpret a recipe's `compute` and `cores`."""

from __future__ import annotations

from tracedistill.compute.cluster import RayCluster
from tracedistill.compute.cores import usable_cores
from tracedistill.compute.jobs import Compute
from tracedistill.compute.processes import Processes


def choose_compute(where: str, cores: int | None) -> Compute:
    """Return the compute backend; no process is started, and no cluster contacted, before there is work.

    `where`: `local`, `ray` or `ray:ADDRESS`; `cores`: processes on this machine, None for one per core.
    """
    kind, _, address = where.partition(":")
    if kind == "ray":
        return RayCluster(address or None)
    return Processes(usable_cores() if cores is None else cores)
