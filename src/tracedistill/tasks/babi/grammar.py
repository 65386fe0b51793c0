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

from tracedistill.tasks._retrieval import Grammar

PUBLISHED_TYPES: tuple[str, ...] = (
    "single-supporting-fact", "two-supporting-facts", "two-arg-relations", "counting", "lists-sets", "conjunction",
    "time-reasoning", "basic-deduction", "basic-induction", "positional-reasoning", "size-reasoning",
)  # fmt: skip
"""The 11 types of the published split."""

BABI_TYPES: tuple[str, ...] = (
    "single-supporting-fact", "two-supporting-facts", "three-supporting-facts", "two-arg-relations",
    "three-arg-relations", "yes-no-questions", "counting", "lists-sets", "simple-negation", "indefinite-knowledge",
    "basic-coreference", "conjunction", "compound-coreference", "time-reasoning", "basic-deduction",
    "basic-induction", "positional-reasoning", "size-reasoning", "path-finding", "agents-motivations",
)  # fmt: skip
"""The names of the 20 tasks in order, which are the question types."""

COMPACT = Grammar(
    class_line="Question type: {}.",
    facts_line="Supporting facts: {}",
    class_cue=re.compile(
        r"category of the question asked[ \t*]*(?:is\b[ \t*]*)?:"
        r"|(?:question type|type of (?:the )?question|question category)[ \t*]*(?:is\b)?[ \t]*:?",
        re.IGNORECASE,
    ),
    facts_cue=re.compile(
        r"(?:supporting facts?[ \t*]*:\**|(?:I (?:will |need to |should |must )?)?use the following[^:\n]{0,80}:)",
        re.IGNORECASE,
    ),
    classes=BABI_TYPES,
    bars=True,
    one_sentence=True,
)
"""Writes the form for small students and parses both; the published sentence needs its colon, a short form does not."""
