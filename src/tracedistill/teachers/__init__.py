"""Teachers write traces for problems.

rules     the task's own decomposition
recorded  traces from a file
model     an endpoint or a local model, also a student of the study
"""

from tracedistill.teachers.model import Failure, Sources, reads_of, requests_for_teacher, sources_of, trace_of
from tracedistill.teachers.parser import kind_by_majority
from tracedistill.teachers.recorded import read_in_rows, read_recorded, recorded_texts
from tracedistill.teachers.rules import teach_by_rules, teach_gold_plans

__all__ = [
    "Failure",
    "Sources",
    "kind_by_majority",
    "read_in_rows",
    "read_recorded",
    "reads_of",
    "recorded_texts",
    "requests_for_teacher",
    "sources_of",
    "teach_by_rules",
    "teach_gold_plans",
    "trace_of",
]
