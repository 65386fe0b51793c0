"""Task `msmarco`: a web query, up to ten passages, an answer written by a person (MS MARCO v1.1, research use).

A row of `<data_dir>/msmarco/sample.jsonl.gz`, shortened:

    {"query_id": 22977, "query": "did us postal rates change", "query_type": "NUMERIC", "answers": ["Yes"],
     "passages": [{"text": "Beginning early next year, the Postal Service ...", "selected": 0},
                  {"text": "WASHINGTON — The United States Postal Service today announced ...", "selected": 1}]}

The trace names the query type and cites the passage that shares most words with an answer (the rule of arXiv
2505.13792, which needs the gold). `selected` marks the annotator's passage, which is reported separately:

    The type of the query is: NUMERIC.
    I need to use the following passage to answer the question: ['WASHINGTON — The United States ...']

Answers are judged by normalised exact match with any listed answer; ROUGE-L and BLEU-1 are reported too. "No Answer
Present." is judged as an answer of its own. A row without answers is ungradable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import AnswerVerdicts, Problem, Step, Trace, Verdict
from tracedistill.tasks._base import Policy, Source
from tracedistill.tasks._retrieval import Grammar, normalise_fact
from tracedistill.tasks._retrieval_task import RetrievalTask, judge_class_retrieval
from tracedistill.tasks._task_rows import TaskRow, check_split, task_rows

HUB_ID = "microsoft/ms_marco"
CLASSES = ("DESCRIPTION", "NUMERIC", "ENTITY", "LOCATION", "PERSON")
NO_ANSWER = "No Answer Present."

_WORD = re.compile(r"\w+")
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_SAYS_NONE = re.compile(r"no answer(?: is)?(?: present| available| found| given)?|(?:the )?question cannot be answered")

GRAMMAR = Grammar(
    class_line="The type of the query is: {}.",
    facts_line="I need to use the following passage to answer the question: {}",
    class_cue=re.compile(
        r"(?:type of (?:the )?(?:query|question)|(?:query|question) type)\b[ \t*]*(?:is\b)?[ \t]*:?", re.IGNORECASE
    ),
    facts_cue=re.compile(
        r"(?:supporting (?:text|passages?)[ \t*]*:\**|(?:I (?:will |need to |must )?)?use the following[^:\n]{0,80}:)",
        re.IGNORECASE,
    ),
    classes=CLASSES,
)


class MsMarco(RetrievalTask):
    """MS MARCO question answering: class step = query type, retrieval step = the best-overlap passage."""

    name = "msmarco"
    splits = ("sample", "train", "validation", "test")
    classes = CLASSES
    grammar = GRAMMAR
    plan = (
        "Determine what kind of query this is.",
        "Find the passages that the answer rests on: {} in all.",
        "Answer the query from these passages.",
    )
    answer_hint = (
        f"Give the final answer on the last line as `Answer: <answer>`; `Answer: {NO_ANSWER}` if there is none."
    )

    # ---- problems

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield the queries of a split: `sample` from a file, the others from files of that name or the hub (v1.1)."""
        check_split(self.name, split, self.splits)
        if split == "sample" and source.data_dir is None and source.path is None:
            raise InputError("task msmarco: split 'sample' is a file's: give data_dir with msmarco/sample.jsonl(.gz)")
        for row in task_rows(source, self.name, split, HUB_ID, split, config="v1.1"):
            yield self._problem(row, split)

    def _problem(self, row: TaskRow, split: str) -> Problem:
        passages, selected = _passages(row)
        answers = tuple(answer for answer in row.texts("answers") if answer.strip())
        category = row.label("query_type", CLASSES)
        best = () if not answers or _none(answers) else best_overlap(passages, answers)
        steps = GRAMMAR.steps(category, best)
        return Problem(
            problem_id=f"msmarco-{split}-{row.value('query_id')}",
            task=self.name,
            split=split,
            question=row.text("query"),
            answers=answers,
            context=passages,
            category=category,
            gold_steps=steps if answers else steps[:1],
            meta={"selected": list(selected)},
        )

    def render_problem(self, problem: Problem) -> str:
        """Write the numbered passages, then the query."""
        numbered = [f"[{number}] {passage}" for number, passage in enumerate(problem.context, start=1)]
        return "\n".join((*numbered, f"Question: {problem.question}"))

    def render_answer(self, problem: Problem) -> str:
        """Return the first listed answer."""
        return problem.answers[0] if problem.answers else ""

    # ---- traces

    def decompose(self, problem: Problem) -> Trace | None:
        """Return query type and best-overlap passage, which need the gold; None for a row without answers."""
        return super().decompose(problem) if problem.answers else None

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:
        """Judge the type and exactly the best-overlap passage; figure `selected`: the annotator's passage is cited."""
        verdict = judge_class_retrieval(problem, steps)
        used = {normalise_fact(problem.context[index]) for index in problem.meta.get("selected", [])}
        cited = {normalise_fact(fact) for step in steps for fact in step.facts}
        return replace(verdict, figures={**verdict.figures, "selected": float(bool(used & cited))}) if used else verdict

    # ---- answers

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge by normalised exact match with any listed answer; figures `em`, `rouge_l`, `bleu_1` (0 to 1).

        Both policies are the same: the study published no usable metric for this task. `derived` and `candidate` are
        always missing: traces reach no value, and answers are free text.
        """
        derived = Verdict("missing", reason="traces of passages reach no value in the body")
        candidate = Verdict("missing", reason="answers are free text")
        if not problem.answers:
            return AnswerVerdicts(Verdict("ungradable", reason="no answer is listed"), derived, candidate)
        return AnswerVerdicts(self._statement(problem, stated(text)), derived, candidate)

    def _statement(self, problem: Problem, part: str) -> Verdict:
        if not part:
            return Verdict("missing", reason="no answer is stated", figures={"em": 0.0, "rouge_l": 0.0, "bleu_1": 0.0})
        none_stated = _SAYS_NONE.fullmatch(normalise(part)) is not None
        if _none(problem.answers):
            reason = "" if none_stated else "an answer, although none is present"
            figures = {"em": float(none_stated)}
            return Verdict(
                "correct" if none_stated else "incorrect", extracted=part[:500], reason=reason, figures=figures
            )
        same = normalise(part) in {normalise(answer) for answer in problem.answers}
        figures = {
            "em": float(same),
            "rouge_l": rouge_l(part, problem.answers),
            "bleu_1": bleu_1([part], [problem.answers]),
        }
        reason = "" if same else "says that there is no answer" if none_stated else "is none of the listed answers"
        return Verdict("correct" if same else "incorrect", extracted=part[:500], reason=reason, figures=figures)

    def summarise(
        self,
        problems: list[Problem],
        texts: list[str],
        policy: Policy = "default",  # noqa: ARG002
    ) -> dict[str, float]:
        """Return counts, em, rouge_l (mean) and bleu_1 (corpus) in percent of rows with an answer, and no_answer."""
        parts = [(problem, stated(text)) for problem, text in zip(problems, texts, strict=True)]
        listed = [(part, problem.answers) for problem, part in parts if problem.answers and not _none(problem.answers)]
        none = [part for problem, part in parts if _none(problem.answers)]
        figures = {
            "n_answer": float(len(listed)),
            "n_no_answer": float(len(none)),
            "n_ungradable": float(len(parts) - len(listed) - len(none)),
        }
        if listed:
            hits = sum(normalise(part) in {normalise(answer) for answer in answers} for part, answers in listed)
            figures["em"] = 100.0 * hits / len(listed)
            figures["rouge_l"] = 100.0 * sum(rouge_l(part, answers) for part, answers in listed) / len(listed)
            figures["bleu_1"] = 100.0 * bleu_1([part for part, _ in listed], [answers for _, answers in listed])
        if none:
            right = sum(_SAYS_NONE.fullmatch(normalise(part)) is not None for part in none)
            figures["no_answer"] = 100.0 * right / len(none)
        return figures

    def audit(self, problem: Problem) -> list[str]:
        """Add rows without answers or without a selected passage, and rows whose best overlap is another passage."""
        if not problem.answers:
            return ["no answer is listed: ungradable"]
        errors = super().audit(problem)
        used = {normalise_fact(problem.context[index]) for index in problem.meta.get("selected", [])}
        cited = {normalise_fact(fact) for step in problem.gold_steps for fact in step.facts}
        if not used and cited:
            errors.append("no passage is marked as the annotator's")
        elif cited and not used & cited:
            errors.append("the best-overlap passage is not the annotator's")
        return errors


def stated(text: str) -> str:
    """Return an output's stated answer, or the whole text if nothing is marked and it contains no trace."""
    parts = formats.parse_completion(text)
    if parts.answer is not None:
        return parts.answer
    return "" if parts.trace is None or GRAMMAR.parse(parts.trace).steps else parts.trace


def normalise(text: str) -> str:
    """Normalise to lower-case words without articles and punctuation, single spaces."""
    return " ".join(_ARTICLE.sub(" ", " ".join(_WORD.findall(text.casefold()))).split())


def best_overlap(passages: tuple[str, ...], answers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first passage that shares most words with an answer; empty if none shares any."""
    answer_words = [_words(answer) for answer in answers]
    shared = [max(len(words & _words(passage)) for words in answer_words) for passage in passages]
    most = max(shared, default=0)
    return (passages[shared.index(most)],) if most else ()


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))


def rouge_l(part: str, answers: tuple[str, ...]) -> float:
    """Compute the best ROUGE-L F1 (rouge_score, no stemming) with a listed answer, 0 to 1."""
    return float(max(_rouge().score(answer, part)["rougeL"].fmeasure for answer in answers))


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # heavy (nltk), and only for this metric

    return RougeScorer(["rougeL"])


def bleu_1(parts: list[str], answers: list[tuple[str, ...]]) -> float:
    """Compute corpus BLEU-1 (sacrebleu, lower case, unigrams, closest-reference brevity penalty), 0 to 1."""
    from sacrebleu.metrics import BLEU  # heavy, and only for this metric

    most = max(len(listed) for listed in answers)
    # sacrebleu needs one stream of references per place in the longest list; None fills shorter lists
    streams = [[listed[index] if index < len(listed) else None for listed in answers] for index in range(most)]
    return float(BLEU(max_ngram_order=1, lowercase=True).corpus_score(parts, streams).score) / 100


def _none(answers: tuple[str, ...]) -> bool:
    return bool(answers) and all(normalise(answer) == normalise(NO_ANSWER) for answer in answers)


def _passages(row: TaskRow) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the texts and the indices of selected ones, from a list of objects or the hub's object of lists."""
    value = row.value("passages")
    try:
        if isinstance(value, dict):
            pairs = list(zip(value["passage_text"], value["is_selected"], strict=True))
        else:
            pairs = [(passage["text"], passage["selected"]) for passage in value]
        texts = tuple(str(text) for text, _ in pairs)
        return texts, tuple(index for index, (_, chosen) in enumerate(pairs) if int(chosen))
    except (KeyError, TypeError, ValueError) as error:
        raise row.error(
            f"column 'passages' must list objects with 'text' and 'selected' (or the hub's "
            f"'passage_text' and 'is_selected'): {error}"
        ) from error
