"""Processing rows on all cores of this machine or on a Ray cluster.

cores       the number of cores that this process may use
jobs        the work sent to a process, and the interface of what runs it
parts       a file of JSON Lines cut into ranges of rows
processes   processes on this machine
worker      the main loop of such a process
cluster     processes on a Ray cluster
actors      processes of a Ray cluster that keep a model loaded
part_files  finished parts in numbered files, joined in order
lookup      records by id from a file too large for memory

A result is the same bytes wherever it was made: the cuts depend on the file alone, rows are processed one by one, and
results are joined in the order of the rows.
"""

from tracedistill.compute.cluster import RayCluster
from tracedistill.compute.cores import usable_cores
from tracedistill.compute.jobs import Compute, Job
from tracedistill.compute.lookup import lookup
from tracedistill.compute.part_files import PartOutput, sum_parts, write_by_parts
from tracedistill.compute.parts import Part, chunks, cut
from tracedistill.compute.processes import Processes

__all__ = [
    "Compute",
    "Job",
    "Part",
    "PartOutput",
    "Processes",
    "choose_compute",
    "chunks",
    "cut",
    "lookup",
    "sum_parts",
    "usable_cores",
    "write_by_parts",
]


def choose_compute(where: str, cores: int | None) -> Compute:
    """Return what runs jobs by a recipe's `compute` and `cores`; nothing is started or contacted before there is work.

    `where`: `local`, `ray` or `ray:ADDRESS`. `cores`: processes on this machine; None: one per core.
    """
    kind, _, address = where.partition(":")
    if kind == "ray":
        return RayCluster(address or None)
    return Processes(usable_cores() if cores is None else cores)
