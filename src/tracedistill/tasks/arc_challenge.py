"""Task `arc_challenge`: the hard questions of the AI2 Reasoning Challenge (arXiv 1803.05457).

A row of `<data_dir>/other/arc_challenge_train.jsonl.gz`:

    {"id": "Mercury_SC_415702", "question": "George wants to warm his hands quickly by rubbing them. Which skin surface
     will produce the most heat?", "choices": [["A", "dry palms"], ["B", "wet palms"], ["C", "palms covered with oil"],
     ["D", "palms covered with lotion"]], "answer": "A"}

45 rows number their choices; they are lettered here.
"""

from __future__ import annotations

from tracedistill.tasks._multiple_choice import MultipleChoice


class ArcChallenge(MultipleChoice):
    """AI2 Reasoning Challenge, challenge set: 3 to 5 choices."""

    name = "arc_challenge"
    splits = ("train", "validation", "test")
    hub_id = "allenai/ai2_arc"
    hub_config = "ARC-Challenge"
