"""Detect whether the texts of a user's file say what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ASKS = re.compile(
    r"[?？]|\A\W*(?:write|give|list|name|explain|summari[sz]e|translate|convert|rewrite|classify|extract|find|compute|"
    r"calculate|describe|create|generate|identify|return|answer|complete|solve|determine|choose|select|edit|add|"
    r"def |from |import )|请|求|计算|多少",
    re.IGNORECASE,
)


def says_what_to_do(questions: Sequence[str]) -> bool:
    """Return whether most texts are questions or instructions."""
    return 2 * sum(bool(_ASKS.search(question)) for question in questions) >= len(questions)
