"""Task `openbookqa`: elementary science that needs one fact and some sense (arXiv 1809.02789).

A row of `<data_dir>/other/openbookqa_train.jsonl.gz`:

    {"id": "7-980", "question": "The sun is responsible for", "choices": [["A", "puppies learning new tricks"],
     ["B", "children growing up and getting old"], ["C", "flowers wilting in a vase"],
     ["D", "plants sprouting, blooming and wilting"]], "answer": "D"}
"""

from __future__ import annotations

from tracedistill.tasks._multiple_choice import MultipleChoice


class OpenBookQA(MultipleChoice):
    """OpenBookQA without the book: 4 choices."""

    name = "openbookqa"
    splits = ("train", "validation", "test")
    hub_id = "allenai/openbookqa"
    hub_config = "main"
    question_column = "question_stem"
