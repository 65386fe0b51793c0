"""The graph of stages: what is complete, what changed, what to run.

from tracedistill import pipeline
study = pipeline.load("recipes/quickstart/study.yaml", ["training.max_steps=5"])
pipeline.run(study)                      # every stage; or pipeline.run(study, stage="validate")
pipeline.report_of(study).arms        # the table
"""

from __future__ import annotations

from tracedistill.pipeline.dry_run import dry_run, silent_forecast
from tracedistill.pipeline.graph import STAGES
from tracedistill.pipeline.hardware import accelerate_config
from tracedistill.pipeline.load import LoadedStudy, load
from tracedistill.pipeline.run import audit_judge, check_determinism, check_engine, in_store, report_of, run, status

__all__ = [
    "STAGES",
    "LoadedStudy",
    "accelerate_config",
    "audit_judge",
    "check_determinism",
    "check_engine",
    "dry_run",
    "in_store",
    "load",
    "report_of",
    "run",
    "silent_forecast",
    "status",
]
