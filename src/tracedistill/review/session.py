"""One reviewer's session on a store: items as the page shows them, and its actions, independent of HTTP."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tracedistill.errors import InputError
from tracedistill.records import Problem, Trace
from tracedistill.review import queue
from tracedistill.review.drafts import (
    MAX_LINE,
    MAX_LINES,
    edited_trace,
    gold_lines,
    judge,
    lines_of,
    shown_answer,
    shown_lines,
    veiled,
    with_text,
)
from tracedistill.review.outcomes import decide, disagree
from tracedistill.review.queue import Filter, ReviewProgress
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import Status, TraceReview, change, median_seconds, undo, work_of, works_of
from tracedistill.tasks import Task, get_task
from tracedistill.validation import Keep


@dataclass(frozen=True, slots=True)
class LineMark:
    """Verdict on one line, or on the whole."""

    outcome: str
    """correct, incorrect, undecided, ...; `unread` for a line that is no step of its own."""
    reason: str = ""
    """One-sentence reason; hidden with the gold if it quotes it."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Verdicts on the current lines."""

    marks: tuple[LineMark, ...]
    """One per line."""
    parts: tuple[tuple[str, LineMark], ...]
    """(part, verdict): trace, format, answer, leak."""


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item as the page shows it."""

    trace: Trace
    """The original trace."""
    problem: Problem
    """The problem that it solves."""
    task: str
    work: TraceReview
    """The reviewer's own edits and decision."""
    lines: tuple[str, ...]
    original: tuple[str, ...]
    answer: str | None
    """The current stated answer."""
    judgement: Judgement
    gold: tuple[str, ...] | None
    """The gold as lines; None: not requested."""
    others: int
    """Number of other reviewers with a decision."""
    opinions: Mapping[str, TraceReview]
    """Other reviewer -> decision: shown after the reviewer's own, or to settle a disagreement."""
    differs: bool
    """Whether there is an unsettled disagreement."""


class ReviewSession:
    """One reviewer's access to one store."""

    def __init__(
        self, store: ReviewStore, reviewer: str, *, keep: Keep = "correct", leaks: str = "keep",
        default: Filter | None = None,
    ) -> None:  # fmt: skip
        self.store = store
        self.reviewer = reviewer
        self.keep: Keep = keep
        self.leaks = leaks
        self.default = default or Filter()
        self.task = functools.lru_cache(maxsize=32)(get_task)

    # ---- looking

    def find(self, trace_id: str) -> int:
        """Return the index of a trace. Raises KeyError if it is unknown."""
        item = self.store.item_of(trace_id)
        if item is None:
            raise KeyError(trace_id)
        return item

    def holds(self, item: int) -> bool:
        """Return whether there is a trace at an index."""
        return self.store.row("SELECT 1 FROM items WHERE id = ?", item) is not None

    def view(self, item: int, unsaved: TraceReview | None = None) -> ItemView:
        """Return an item; `unsaved`: text shown instead of the stored one."""
        trace, name = self.store.trace(item), self.store.task_of(item)
        problem, task = self.store.problem(trace.problem_id), self.task(name)
        works = works_of(self.store, item)
        work = works.get(self.reviewer, TraceReview())
        if unsaved is not None:
            work = replace(work, lines=unsaved.lines, answer=unsaved.answer, comment=unsaved.comment)
        others = {name: other for name, other in works.items() if name != self.reviewer and other.decided}
        return ItemView(
            trace=trace,
            problem=problem,
            task=name,
            work=work,
            lines=shown_lines(trace, work),
            original=lines_of(trace),
            answer=shown_answer(trace, work),
            judgement=self._judge(task, problem, trace, work, item),
            gold=tuple(gold_lines(task, problem)) if work.saw_gold else None,
            others=len(others),
            opinions=others if work.decided or disagree(others) else {},
            differs=disagree(works),
        )

    def progress(self, chosen: Filter) -> tuple[ReviewProgress, float | None]:
        """Return the reviewer's progress in a filter, and the median seconds per decision."""
        return queue.progress(self.store, self.reviewer, chosen), median_seconds(self.store, self.reviewer)

    def next(self, chosen: Filter, item: int, *, back: bool = False) -> int | None:
        """Return the neighbouring index in a filter."""
        return queue.neighbour(self.store, self.reviewer, chosen, item, back=back)

    def _judge(self, task: Task, problem: Problem, trace: Trace, work: TraceReview, item: int) -> Judgement:
        stored = None if work.changed else self.store.verdict(item)
        draft = edited_trace(task, trace, work, self.reviewer)
        verdict = stored or judge(task, problem, draft, self.keep, self.leaks)

        def mark(outcome: str, reason: str) -> LineMark:
            return LineMark(outcome, reason if work.saw_gold else veiled(reason, problem))

        lines = shown_lines(trace, work)
        filled = [at for at, line in enumerate(lines) if line.strip()]
        marks = [LineMark("unread") for _ in lines]
        if len(filled) == len(draft.steps):  # as many steps were parsed as there are lines
            by_step = {step.index: mark(step.outcome, step.reason) for step in verdict.trace.steps}
            for index, at in enumerate(filled):
                marks[at] = by_step.get(index, LineMark("undecided"))
        parts = [("plan" if verdict.plan else "trace", mark(verdict.trace.outcome, verdict.trace.reason))]
        parsed = bool(draft.steps) and verdict.trace.outcome != "unparsed"
        count = f"{len(draft.steps)} steps parsed"
        parts.append(("format", LineMark("correct", count) if parsed else LineMark("unparsed")))
        if draft.answer is not None:
            parts.append(("answer", mark(verdict.answer.outcome, verdict.answer.reason)))
        if verdict.leak is not None:
            outcome = "incorrect" if verdict.leak.genuine else "undecided" if verdict.leak.standing else "correct"
            parts.append(("leak", mark(outcome, verdict.leak.reason)))
        if verdict.judged is not None:
            model = verdict.judged
            outcome = "undecided" if model.disagree else model.outcome
            parts.append(("second checker", LineMark(outcome, f"{model.judge}: {model.reason}")))
        return Judgement(tuple(marks), tuple(parts))

    # ---- actions: each may raise Conflict, and then writes nothing

    def text(self, item: int, version: int, lines: Sequence[str], answer: str | None, comment: str) -> TraceReview:
        """Return the work with this text, unsaved. Raises InputError if the text exceeds the limits."""
        if len(lines) > MAX_LINES or any(len(line) > MAX_LINE for line in (*lines, answer or "", comment)):
            raise InputError(f"at most {MAX_LINES} steps of {MAX_LINE} characters")
        work = replace(work_of(self.store, item, self.reviewer), comment=comment.strip(), version=version)
        return with_text(self.store.trace(item), work, lines, answer)

    def save(self, item: int, text: TraceReview, seconds: float, action: str = "text") -> TraceReview:
        """Save text. Raises Conflict if the version is not the stored one."""

        def new(stored: TraceReview) -> TraceReview:
            return replace(stored, lines=text.lines, answer=text.answer, comment=text.comment)

        return change(self.store, item, self.reviewer, text.version, action, new, seconds)

    def type(self, item: int, text: TraceReview, seconds: float) -> TraceReview:
        """Save text during typing: consecutive changes in one field are one action."""
        before, trace = work_of(self.store, item, self.reviewer), self.store.trace(item)
        old, new = shown_lines(trace, before), shown_lines(trace, text)
        places = [at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
        # several lines at once were not typed; the first of them alone would join another tab's words
        field = f"type {places[0] if places else 'field'}" if len(places) < 2 and len(old) == len(new) else "text"
        return self.save(item, text, seconds, field)

    def arrange(self, item: int, text: TraceReview, what: str, at: int, seconds: float) -> tuple[TraceReview, int]:
        """Insert a line after an index, or delete or move one; return the work and the line to go to."""
        lines = list(shown_lines(self.store.trace(item), text))
        to = at
        if what == "add":
            to = min(max(at + 1, 0), len(lines))
            lines.insert(to, "")
        elif what == "delete" and 0 <= at < len(lines):
            del lines[at]
            to = min(at, len(lines) - 1)
        elif what in ("up", "down"):
            to = at + (-1 if what == "up" else 1)
            if not (0 <= at < len(lines) and 0 <= to < len(lines)):
                return self.save(item, text, seconds), at
            lines[at], lines[to] = lines[to], lines[at]
        if len(lines) > MAX_LINES:
            raise InputError(f"at most {MAX_LINES} steps")
        trace = self.store.trace(item)
        moved = with_text(trace, text, lines, shown_answer(trace, text))
        return self.save(item, moved, seconds, what), to

    def restore(self, item: int, text: TraceReview, seconds: float) -> TraceReview:
        """Restore the maker's own text."""
        return self.save(item, replace(text, lines=None, answer=None), seconds, "restore")

    def approve(self, item: int, text: TraceReview, seconds: float) -> TraceReview:
        """Approve the current lines. Raises InputError for a trace without steps."""
        if text.changed:
            trace = self.store.trace(item)
            lines = [line for line in shown_lines(trace, text) if line.strip()]
            if not lines:
                raise InputError("the trace has no step to approve; reject it, or undo the edits")
            text = with_text(trace, text, lines, shown_answer(trace, text))
        return self._decide(item, text, "approved", seconds)

    def reject(self, item: int, text: TraceReview, seconds: float) -> TraceReview:
        """Reject the trace, keeping a draft."""
        return self._decide(item, text, "rejected", seconds)

    def reopen(self, item: int, text: TraceReview) -> TraceReview:
        """Save the text and revoke the decision, if there is one."""
        saved = self.save(item, text, 0.0)

        def reopened(stored: TraceReview) -> TraceReview:
            return replace(stored, status="open", settles=False)

        return change(self.store, item, self.reviewer, saved.version, "reopen", reopened)

    def _decide(self, item: int, text: TraceReview, status: Status, seconds: float) -> TraceReview:
        # typed text first, as an action of its own: undo revokes the decision, not the words
        saved = self.save(item, text, 0.0)
        return decide(self.store, item, self.reviewer, saved.version, status, seconds)

    def show_gold(self, item: int, text: TraceReview, seconds: float) -> TraceReview:
        """Show the gold, and record that it was seen."""
        saved = self.save(item, text, 0.0)

        def with_gold(stored: TraceReview) -> TraceReview:
            return replace(stored, saw_gold=True)

        return change(self.store, item, self.reviewer, saved.version, "gold", with_gold, seconds)

    def undo(self, item: int, text: TraceReview) -> int | None:
        """Undo the last action; return the index of its item, or None if there is none."""
        self.save(item, text, 0.0)
        return undo(self.store, self.reviewer, item)
