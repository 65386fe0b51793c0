"""Recipes: one YAML file per study, read strictly into frozen dataclasses; every error is reported at once."""

from tracedistill.recipes.arm import TUNING, Arm, arm_of_run, run_name
from tracedistill.recipes.choosing import arm_asked, candidates, choose_on, on_validation
from tracedistill.recipes.inputs import BudgetConfig, TaskConfig, TeacherConfig, ToleranceConfig
from tracedistill.recipes.methods import METHODS, beta_of, draws, judged, method_settings
from tracedistill.recipes.reader import load, resolved
from tracedistill.recipes.schema import (
    LOCAL,
    AttributionConfig,
    EvaluationConfig,
    ReviewConfig,
    StudentConfig,
    Study,
    ValidationConfig,
)
from tracedistill.recipes.training import LauncherConfig, TrainingConfig

__all__ = [
    "LOCAL",
    "METHODS",
    "TUNING",
    "Arm",
    "AttributionConfig",
    "BudgetConfig",
    "EvaluationConfig",
    "LauncherConfig",
    "ReviewConfig",
    "StudentConfig",
    "Study",
    "TaskConfig",
    "TeacherConfig",
    "ToleranceConfig",
    "TrainingConfig",
    "ValidationConfig",
    "arm_asked",
    "arm_of_run",
    "beta_of",
    "candidates",
    "choose_on",
    "draws",
    "judged",
    "load",
    "method_settings",
    "on_validation",
    "resolved",
    "run_name",
]
