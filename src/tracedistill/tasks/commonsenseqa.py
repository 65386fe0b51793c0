"""Task `commonsenseqa`: questions about one everyday concept (arXiv 1811.00937).

A row of `<data_dir>/other/commonsenseqa_dev.jsonl.gz` (split validation; the test split's answers are not public):

    {"id": "1afa02df02c908a558b4036e80242fac", "concept": "revolving door", "question": "A revolving door is convenient
     for two direction travel, but it also serves as a security measure at a what?", "choices": [["A", "bank"],
     ["B", "library"], ["C", "department store"], ["D", "mall"], ["E", "new york"]], "answer": "A"}
"""

from __future__ import annotations

from tracedistill.tasks._multiple_choice import MultipleChoice


class CommonsenseQA(MultipleChoice):
    """CommonsenseQA: 5 choices."""

    name = "commonsenseqa"
    splits = ("train", "validation")
    hub_id = "tau/commonsense_qa"
    stems = {"validation": "dev"}  # noqa: RUF012 - a ClassVar of the base
