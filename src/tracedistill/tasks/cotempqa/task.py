"""Task `cotempqa`: what else held at that time (CoTempQA, arXiv 2406.09072; split and traces of arXiv 2505.13792).

A row of `<data_dir>/cotempqa/problems.jsonl.gz`, shortened:

    {"id": "cotempqa-during-468", "category": "during", "triple_element": "S1_R2_O2", "sft_split": "train",
     "facts": ["George Norlin attended University of Chicago in 1900.",
               "George Norlin works for University of Colorado Boulder from 1899 to 1939.", ...],
     "question": "While George Norlin was working for University of Colorado Boulder, which school did George Norlin
                  attend concurrently?",
     "answer": ["University of Chicago"]}

Its trace names the temporal relation and cites the facts that contain a gold answer (the study's own rule):

    The temporal relation between the event in question and the event in context is: during.
    I need to use the following facts to answer the question: ['George Norlin attended University of Chicago in 1900.']

The class step is that sentence or the short form `Temporal relation: during`; a paraphrase of the sentence names no
class. `category` is a column of the source; `audit` compares it with the dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import AnswerVerdicts, Problem, Step, Verdict
from tracedistill.tasks._base import Policy, Source
from tracedistill.tasks._retrieval import Grammar
from tracedistill.tasks._retrieval_task import RetrievalTask
from tracedistill.tasks._task_rows import check_split, task_rows
from tracedistill.tasks.cotempqa.gold import audit_gold, parse_fact
from tracedistill.tasks.cotempqa.metric import (
    AnswerScore,
    answer_part,
    asked_side,
    normalise,
    score_corrected,
    score_published,
)

CLASSES = ("equal", "mix", "overlap", "during")
KINDS = ("S1_R1_O2", "S1_R2_O2", "S2_R1_O1", "S2_R1_O2", "S2_R2_O2")
"""Which of subject, relation and object differ between the question's event and the answer's."""

GRAMMAR = Grammar(
    class_line="The temporal relation between the event in question and the event in context is: {}.",
    facts_line="I need to use the following facts to answer the question: {}",
    # the sentence verbatim (a paraphrase names no class), or `Temporal relation: X` with bold marks or "is"
    class_cue=re.compile(
        r"temporal relation(?: between the event in question and the event in context is:|[ \t*]*(?:is[ \t*]*)?:)",
        re.IGNORECASE,
    ),
    facts_cue=re.compile(
        r"(?:supporting facts?[ \t*]*:\**|(?:I (?:will |need to |should |must )?)?use the following[^:\n]{0,80}:)",
        re.IGNORECASE,
    ),
    classes=CLASSES,
)


class CoTempQA(RetrievalTask):
    """CoTempQA: class step = temporal relation, retrieval step = the facts with an answer; answers are a set."""

    name = "cotempqa"
    splits = ("train", "test")
    classes = CLASSES
    grammar = GRAMMAR
    plan = (
        "Determine how the event in question and the event in context lie in time to each other.",
        "Find the facts that hold at that time: {} in all.",
        "Answer the question from these facts.",
    )
    answers_alone = True
    answer_hint = "Give the final answer on the last line as `Answer: ['...']`, a list of every answer."

    # ---- problems

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield problems of the study's split (`sft_split`) from files only; the hub has no rows of this form."""
        check_split(self.name, split, self.splits)
        if source.data_dir is None and source.path is None:
            raise InputError("task cotempqa is read from files: give data_dir with cotempqa/problems.jsonl(.gz)")
        for row in task_rows(source, self.name, "problems", "", split):
            if row.label("sft_split", self.splits) != split:
                continue
            category, facts, answers = row.label("category", CLASSES), row.texts("facts"), row.texts("answer")
            cited = tuple(fact for fact in facts if any(answer in fact for answer in answers))
            yield Problem(
                problem_id=row.text("id"),
                task=self.name,
                split=split,
                question=row.text("question"),
                answers=answers,
                context=facts,
                category=category,
                gold_steps=GRAMMAR.steps(category, cited),
                difficulty=len(cited),
                meta={"triple_element": row.label("triple_element", KINDS)},
            )

    def render_problem(self, problem: Problem) -> str:
        """Write the facts, a line each, then the question."""
        return "\n".join((*problem.context, f"Question: {problem.question}"))

    def render_answer(self, problem: Problem) -> str:
        """Write the answers as a Python list, as the study does."""
        return repr(list(problem.answers))

    # ---- judges

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:
        """Judge by the study's metric (`published`) or the corrected one; figures `em`, `f1`, `p`, `r` in `answer`.

        `published` is never missing: it takes the whole text for the answer. `derived` compares the entities of the
        cited facts with the golds. `candidate` is always missing, since answers are sets.
        """
        open_set = Verdict("missing", reason="answers are sets of any size")
        if not problem.answers:
            nothing = Verdict("ungradable", reason=f"{problem.problem_id} has no gold answer")
            return AnswerVerdicts(nothing, nothing, open_set)
        kind = str(problem.meta.get("triple_element", ""))
        given = (problem.answers, problem.context, problem.question, kind)
        if policy == "published":
            return AnswerVerdicts(_verdict(score_published(text, *given)), self._derived(problem, text), open_set)
        part, marked = answer_part(text)
        if not part or (not marked and GRAMMAR.parse(part).steps):
            answer = Verdict(
                "missing", reason="no answer is stated", figures=dict.fromkeys(("em", "f1", "p", "r"), 0.0)
            )
        else:
            answer = _verdict(score_corrected(part, *given))
        return AnswerVerdicts(answer, self._derived(problem, text), open_set)

    def _derived(self, problem: Problem, text: str) -> Verdict:
        trace = formats.parse_completion(text).trace
        cited = [fact for step in GRAMMAR.parse(trace or "").steps for fact in step.facts]
        events = [event for event in map(parse_fact, cited) if event]
        if not events:
            return Verdict("missing", reason="no dated fact is cited")
        subject = asked_side(str(problem.meta.get("triple_element", ""))) == "subject"
        cited_names = sorted({normalise(event.subject if subject else event.object) for event in events})
        same = cited_names == sorted({normalise(answer) for answer in problem.answers})
        reason = "" if same else "the cited facts name other entities"
        return Verdict("correct" if same else "incorrect", extracted=", ".join(cited_names), reason=reason)

    # ---- the gold itself, and the field's figures

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether every gold answer occurs verbatim in the cited facts."""
        cited = " ".join(fact for step in steps for fact in step.facts).casefold()
        return bool(problem.answers) and all(answer.casefold() in cited for answer in problem.answers)

    def audit(self, problem: Problem) -> list[str]:
        """Add the errors of the gold that interval arithmetic over the facts finds."""
        cited = tuple(fact for step in problem.gold_steps for fact in step.facts)
        kind = str(problem.meta.get("triple_element", ""))
        errors = audit_gold(problem.question, problem.context, kind, problem.answers, cited, problem.category)
        return super().audit(problem) + errors

    def summarise(self, problems: list[Problem], texts: list[str], policy: Policy = "default") -> dict[str, float]:
        """Return acc, f1, p, r, avg (= mean of acc and f1), category and facts_exact, in percent over all rows."""
        if not problems:
            return {}
        sums = dict.fromkeys(("em", "f1", "p", "r", "class", "facts_exact"), 0.0)
        for problem, text in zip(problems, texts, strict=True):
            parts = formats.parse_completion(text)
            trace = self.judge_output_trace(problem, parts.trace, tagged=parts.tagged)
            answer = self.judge_answer(problem, text, policy).answer
            for name, value in (*answer.figures.items(), *trace.figures.items()):
                if name in sums:
                    sums[name] += value
        mean = {name: 100.0 * value / len(problems) for name, value in sums.items()}
        return {
            "acc": mean["em"],
            "f1": mean["f1"],
            "p": mean["p"],
            "r": mean["r"],
            "avg": (mean["em"] + mean["f1"]) / 2,
            "category": mean["class"],
            "facts_exact": mean["facts_exact"],
        }


def _verdict(score: AnswerScore) -> Verdict:
    figures = {"em": float(score.em), "f1": score.f1, "p": score.precision, "r": score.recall}
    extracted = ", ".join(score.predicted)[:500]
    if score.em:
        return Verdict("correct", extracted=extracted, figures=figures)
    reason = "other answers than the gold set" if score.named else "names no possible answer"
    return Verdict("incorrect", extracted=extracted, reason=reason, figures=figures)
