"""The trace grammar of bAbI: a question type, then the supporting facts.

Written compact, for small students:

    Question type: counting.
    Supporting facts: Mary took the milk there. | Mary journeyed to the office.

Read in this form and in the published one (arXiv 2505.13792):

    The category of the question represents what is being asked in that question. The category of the question asked is: counting.
    I need to use the following text to answer the question: ['Mary took the milk there.', 'Mary journeyed to the office.']
"""  # noqa: E501

from __future__ import annotations

import re

from tracedistill.records import Step
from tracedistill.tasks._base import ParsedTrace
from tracedistill.tasks._retrieval import Grammar

PUBLISHED_TYPES: tuple[str, ...] = (
    "single-supporting-fact",
    "two-supporting-facts",
    "two-arg-relations",
    "counting",
    "lists-sets",
    "conjunction",
    "time-reasoning",
    "basic-deduction",
    "basic-induction",
    "positional-reasoning",
    "size-reasoning",
)
"""The 11 types of the published split."""

BABI_TYPES: tuple[str, ...] = (
    "single-supporting-fact",
    "two-supporting-facts",
    "three-supporting-facts",
    "two-arg-relations",
    "three-arg-relations",
    "yes-no-questions",
    "counting",
    "lists-sets",
    "simple-negation",
    "indefinite-knowledge",
    "basic-coreference",
    "conjunction",
    "compound-coreference",
    "time-reasoning",
    "basic-deduction",
    "basic-induction",
    "positional-reasoning",
    "size-reasoning",
    "path-finding",
    "agents-motivations",
)
"""The names of the 20 tasks in order, which are the question types."""

# the published sentence needs its colon ("asked is:"); the short forms do not
_CLASS_CUE = re.compile(
    r"category of the question asked[ \t*]*(?:is\b[ \t*]*)?:"
    r"|(?:question type|type of (?:the )?question|question category)[ \t*]*(?:is\b)?[ \t]*:?",
    re.IGNORECASE,
)
_FACTS_CUE = re.compile(
    r"(?:supporting facts?[ \t*]*:\**|(?:I (?:will |need to |should |must )?)?use the following[^:\n]{0,80}:)",
    re.IGNORECASE,
)

COMPACT = Grammar(
    class_line="Question type: {}.",
    facts_line="Supporting facts: {}",
    class_cue=_CLASS_CUE,
    facts_cue=_FACTS_CUE,
    classes=BABI_TYPES,
    bars=True,
    one_sentence=True,
)
"""The form for small students."""

PUBLISHED = Grammar(
    class_line=(
        "The category of the question represents what is being asked in that question. "
        "The category of the question asked is: {}."
    ),
    facts_line="I need to use the following text to answer the question: {}",
    class_cue=_CLASS_CUE,
    facts_cue=_FACTS_CUE,
    classes=BABI_TYPES,
    one_sentence=True,
)
"""The form of the published study."""


def class_step(label: str) -> Step:
    """Return the class step that names this question type."""
    return COMPACT.class_step(label)


def retrieval_step(facts: tuple[str, ...]) -> Step:
    """Return the retrieval step that cites these facts."""
    return COMPACT.retrieval_step(facts)


def render(steps: tuple[Step, ...], published: bool = False) -> str:
    """Write steps as text, compact or in the published form; `parse` restores them."""
    return (PUBLISHED if published else COMPACT).render(steps)


def parse(text: str) -> ParsedTrace:
    """Parse steps in either form; parsed parts are returned even if `reason` reports others."""
    return COMPACT.parse(text)


def holds_trace(text: str) -> bool:
    """Return whether the text contains a step's cue or a think tag; otherwise it is taken for an answer alone."""
    return COMPACT.holds_trace(text)
