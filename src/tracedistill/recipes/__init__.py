"""Recipes: one YAML file per study, read strictly into frozen dataclasses; every error is reported at once."""

from tracedistill.recipes.arm import OWN, TUNING, Arm, arm_of_run, run_name
from tracedistill.recipes.checks import Fail
from tracedistill.recipes.inputs import FREE_TEACHERS, BudgetConfig, TaskConfig, TeacherConfig, ToleranceConfig
from tracedistill.recipes.methods import METHODS, beta_of, draws, judged, method_settings
from tracedistill.recipes.reader import load, resolved
from tracedistill.recipes.schema import (
    LOCAL,
    SCRIPTED,
    AttributionConfig,
    EvaluationConfig,
    ReviewConfig,
    StudentConfig,
    Study,
    ValidationConfig,
)
from tracedistill.recipes.selection import arm_of, candidates, choose_on, on_validation
from tracedistill.recipes.training import LauncherConfig, TrainingConfig

__all__ = [
    "FREE_TEACHERS",
    "LOCAL",
    "METHODS",
    "OWN",
    "SCRIPTED",
    "TUNING",
    "Arm",
    "AttributionConfig",
    "BudgetConfig",
    "EvaluationConfig",
    "Fail",
    "LauncherConfig",
    "ReviewConfig",
    "StudentConfig",
    "Study",
    "TaskConfig",
    "TeacherConfig",
    "ToleranceConfig",
    "TrainingConfig",
    "ValidationConfig",
    "arm_of",
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
