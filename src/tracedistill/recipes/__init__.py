"""Recipes: one YAML file per study, read strictly into frozen dataclasses; every error is reported at once."""

from tracedistill.recipes.reader import load, resolved
from tracedistill.recipes.schema import (
    Arm,
    BudgetConfig,
    EvaluationConfig,
    StudentConfig,
    Study,
    TaskConfig,
    TeacherConfig,
    TrainingConfig,
    ValidationConfig,
)

__all__ = [
    "Arm",
    "BudgetConfig",
    "EvaluationConfig",
    "StudentConfig",
    "Study",
    "TaskConfig",
    "TeacherConfig",
    "TrainingConfig",
    "ValidationConfig",
    "load",
    "resolved",
]
