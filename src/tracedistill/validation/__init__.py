"""Judge traces before they are used, by the task's own judges, which also score students.

traces         one record per trace: steps, answer, plan, leak, and whether the recipe's rule accepts it
rejection      counts of rejected traces, by difficulty and length
leaks          whether a plan gives away the solution
contamination  training problems that occur among evaluation problems
model_judge    a model that judges what rules leave undecided; judge_verdicts: combined verdicts; judge_audit: accuracy
labels         labelled rows for that audit
"""

from tracedistill.validation.rejection import RejectionReport, RejectionTally
from tracedistill.validation.traces import Keep, Validation, validate, with_judged

__all__ = ["Keep", "RejectionReport", "RejectionTally", "Validation", "validate", "with_judged"]
