"""Teachers turn problems into traces: by rules, out of a file, or by a model.

rules     the task's own decomposition
recorded  traces that somebody else has made
model     an endpoint or a local model, a student of the study included
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
