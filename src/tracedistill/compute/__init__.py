"""Where rows are worked on: in this process, on all cores of this machine, or on a Ray cluster.

choose     what a recipe asks for
cores      how many this process may use
jobs       what is sent to a process, and what runs it
parts      a file of JSON Lines cut into ranges of rows
processes  all cores of this machine
worker     what such a process does
cluster    the same on Ray
actors     processes of a Ray cluster that keep a model loaded
written    parts written whole by number, and joined in their order
lookup     records by id, out of a file that is not held in memory

A result is the same bytes wherever it was made: parts are cut by the file alone, rows are judged one by one, and
results are taken in the order of the rows.
"""

from tracedistill.compute.choose import choose_compute
from tracedistill.compute.cores import usable_cores
from tracedistill.compute.jobs import Compute, Here, Job
from tracedistill.compute.lookup import lookup
from tracedistill.compute.parts import Part, chunks, cut
from tracedistill.compute.processes import Processes
from tracedistill.compute.written import Made, sum_parts, write_by_parts

__all__ = [
    "Compute",
    "Here",
    "Job",
    "Made",
    "Part",
    "Processes",
    "choose_compute",
    "chunks",
    "cut",
    "lookup",
    "sum_parts",
    "usable_cores",
    "write_by_parts",
]
