"""Numeric types of recipe keys with their bounds, which pydantic checks and the JSON Schema gives to editors."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

PositiveInt: TypeAlias = Annotated[int, Ge(1)]
NonNegativeInt: TypeAlias = Annotated[int, Ge(0)]
PositiveFloat: TypeAlias = Annotated[float, Gt(0)]
NonNegativeFloat: TypeAlias = Annotated[float, Ge(0)]
Share: TypeAlias = Annotated[float, Ge(0), Le(1)]
ShareBelow1: TypeAlias = Annotated[float, Ge(0), Lt(1)]
PositiveShare: TypeAlias = Annotated[float, Gt(0), Le(1)]
StepLimit: TypeAlias = Annotated[int, Ge(-1)]
"""Optimizer steps, or -1 for no limit."""
ChoiceNumber: TypeAlias = Annotated[int, Ge(0), Le(1)]
"""Number of the first choice of a question."""
Port: TypeAlias = Annotated[int, Ge(1), Le(65535)]
