"""Attribution of errors to teacher or student: pure functions on records.

labels       attribute: teacher, student, both, solved or undecided, from success counts and the plan's verdict
alignment    adherence: plan steps followed, split further, skipped as redundant, ignored
propagation  propagated: wrong numbers of a plan that recur in the output and its answer
summary      summarise: the table of one teacher and one student
cases        failures_to_read, render_cases: a seeded sample of failures for manual reading
"""

from tracedistill.evaluation.attribution.alignment import Adherence, StepFate, adherence
from tracedistill.evaluation.attribution.cases import Case, failures_to_read, render_case, render_cases
from tracedistill.evaluation.attribution.labels import LABELS, Attributed, Label, PlanSamples, attribute
from tracedistill.evaluation.attribution.propagation import Propagation, propagated
from tracedistill.evaluation.attribution.summary import AttributionTable, summarise

__all__ = [
    "LABELS",
    "Adherence",
    "Attributed",
    "AttributionTable",
    "Case",
    "Label",
    "PlanSamples",
    "Propagation",
    "StepFate",
    "adherence",
    "attribute",
    "failures_to_read",
    "propagated",
    "render_case",
    "render_cases",
    "summarise",
]
