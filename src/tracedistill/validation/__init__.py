"""Traces judged before anything is built on them: by the task's own judges, the same that score students.

validate       one record per trace: steps, answer, plan, leak, and whether the recipe's rule lets it be used
rejection      what the rule drops, by difficulty and by length
leaks          whether a plan gives away the solution
contamination  training problems that occur among evaluation problems
model_judge    a model where rules are undecided; judged: its additions, and counts; judge_audit: its accuracy
labels         labelled rows for that audit
"""

from tracedistill.validation.rejection import RejectionReport, RejectionTally
from tracedistill.validation.traces import Keep, Validation, validate, with_judged

__all__ = ["Keep", "RejectionReport", "RejectionTally", "Validation", "validate", "with_judged"]
