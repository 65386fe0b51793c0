"""Run `tracedistill review` on a study's traces or a file of traces."""

from __future__ import annotations

import csv
import getpass
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tracedistill import output
from tracedistill.errors import InputError
from tracedistill.files import atomic, check_output, read_jsonl
from tracedistill.records import Trace
from tracedistill.review.agreement import agreement_of
from tracedistill.review.queue import Filter
from tracedistill.review.rating import Rating, make_rating, read_plan
from tracedistill.review.session import ReviewSession
from tracedistill.review.sheet import export_sheet, guarded, import_sheet
from tracedistill.review.sources import fill_from_file, fill_from_run, find_problems, problems_of, read_labels
from tracedistill.review.store import ReviewStore
from tracedistill.tasks import get_task
from tracedistill.validation import Keep

if TYPE_CHECKING:
    from tracedistill.review.error_labels import ErrorReading


@dataclass(frozen=True, slots=True)
class Options:
    """Options of `tracedistill review`; its help describes them."""

    reviewer: str | None = None
    port: int = 0
    browser: bool = True
    sample: int = 0
    """Start the queue with a seeded sample of this many traces per teacher; 0: all."""
    seed: int = 0
    teacher: str = ""
    out: Path | None = None
    """Write the queue as a spreadsheet, or the ratings as CSV, and stop."""
    overwrite: bool = False
    """Whether output may replace an existing file, which may hold a person's edits."""
    inputs: tuple[Path, ...] = ()
    """Input files, which must not be overwritten."""
    sheet: Path | None = None
    agreement: bool = False
    rate: Path | None = None
    read: int = 0
    arm: str | None = None
    labels: Path | None = None
    """The program's attribution of failures: columns problem_id (or attempt_id) and label."""
    data_dir: Path | None = None
    """Folder of the task's files, for traces from a file and for ratings."""


@dataclass(frozen=True, slots=True)
class ReviewTarget:
    """The traces under review."""

    task: str
    store: Path
    folder: Path | None = None
    """The run folder, or None."""
    teachers: Sequence[str] = ()
    """Teachers of the run."""
    file: Path | None = None
    """The file of traces, if there is no run."""
    keep: Keep = "correct"
    """The study's acceptance rule."""
    leaks: str = "keep"
    """The study's treatment of plans that leak."""


def review(what: ReviewTarget, options: Options, say: Callable[[str], None] = output.say) -> int:
    """Fill the store, then serve the page or run the requested action; return 0 if done, 2 if rows were refused."""
    reviewer = options.reviewer or getpass.getuser()
    if not reviewer.strip() or len(reviewer) > 60 or not reviewer.isprintable():
        raise InputError("--reviewer must be a name of up to 60 printable characters")
    with ReviewStore(what.store) as store:
        added = _fill(store, what, options)
        if added:
            say(f"{added} traces to review, stored in {what.store}")
        if options.teacher and not store.row("SELECT 1 FROM items WHERE teacher = ?", options.teacher):
            raise InputError(f"--teacher {options.teacher}: no trace of this teacher")
        chosen = Filter(teacher=options.teacher, sample=options.sample, seed=options.seed)
        session = ReviewSession(store, reviewer, keep=what.keep, leaks=what.leaks, default=chosen)
        if options.sheet is not None:
            return _import(session, options.sheet, say)
        if options.agreement:
            _print_agreement(store, say)
            return 0
        rating = None if options.rate is None else _rating(what, options)
        if options.out is not None:
            check_output(options.out, what.store, *options.inputs)
            if options.out.exists() and not options.overwrite:
                raise InputError(
                    f"{options.out}: exists, and may contain edits that were not imported; import it first, choose "
                    "another name, or add --overwrite"
                )
            _export(session, chosen, options.out, rating, say)
            return 0
        from tracedistill.review.server import serve

        reading = _reading(what, options)
        serve(session, port=options.port, browser=options.browser, rating=rating, reading=reading, say=say)
        return 0


def _fill(store: ReviewStore, what: ReviewTarget, options: Options) -> int:
    if what.folder is not None:
        labels = None if options.labels is None else read_labels(options.labels)
        return fill_from_run(store, what.folder, what.task, what.teachers, labels)
    assert what.file is not None, "a run or a file"
    return fill_from_file(store, what.file, what.task, options.data_dir, what.keep)


def _export(
    session: ReviewSession, chosen: Filter, path: Path, rating: Rating | None, say: Callable[[str], None]
) -> None:
    if rating is None:
        count = export_sheet(
            session, Filter(shown="all", teacher=chosen.teacher, sample=chosen.sample, seed=chosen.seed), path
        )
        say(f"wrote {path}: {count} traces; edit trace, answer, status, comment, then --import it")
        return
    from tracedistill.review.rating_summary import rating_rows, summarise

    rows = list(rating_rows(session.store, rating))
    if not rows:
        raise InputError("nothing is rated yet; the same command without --export opens the page")
    with atomic(path) as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: guarded(cell) if isinstance(cell, str) else cell for key, cell in row.items()} for row in rows
        )
    say(f"wrote {path}: {len(rows)} ratings")
    means, differences = summarise(session.store, rating)
    for kind in means:
        mean = "-" if kind.mean.value is None else f"{kind.mean.value:.2f}"
        interval = "" if kind.mean.low is None else f" ({kind.mean.low:.2f} to {kind.mean.high:.2f})"
        say(f"{kind.scale}, {kind.kind}: mean {mean}{interval}, n = {kind.mean.n}")
    for pair in differences:
        gap = pair.difference
        say(
            f"{pair.scale}, {pair.first} - {pair.second}: {gap.estimate:+.2f} ({gap.low:+.2f} to {gap.high:+.2f}), "
            f"{gap.n} questions, Wilcoxon p = {pair.p:.3g}, Holm {pair.p_holm:.3g}"
        )


def _import(session: ReviewSession, path: Path, say: Callable[[str], None]) -> int:
    done = import_sheet(session, path)
    say(f"{path}: {done.changed} traces changed, {done.same} rows equal what is already stored")
    for line in done.refused:
        say(f"not imported: {line}")
    return 2 if done.refused else 0


def _print_agreement(store: ReviewStore, say: Callable[[str], None]) -> None:
    agreement = agreement_of(store)
    if not agreement.pairs:
        say("no trace has been decided by two reviewers")
    for pair in agreement.pairs:
        kappa = "not defined" if pair.kappa is None else f"{pair.kappa:.3f}"
        say(
            f"{pair.first}, {pair.second}: {pair.same.successes} of {pair.same.n} the same "
            f"({100 * (pair.same.value or 0):.1f}%, {100 * pair.same.low:.1f} to {100 * pair.same.high:.1f}%), "
            f"Cohen's kappa {kappa}"
        )
    if agreement.pairs:
        alpha = "not defined" if agreement.alpha is None else f"{agreement.alpha:.3f}"
        say(f"Krippendorff's alpha over {agreement.shared} traces: {alpha}; {agreement.open} disputed and not settled")


def _rating(what: ReviewTarget, options: Options) -> Rating:
    assert options.rate is not None
    plan = read_plan(options.rate)
    traces = {kind: list(read_jsonl(options.rate.parent / file, Trace)) for kind, file in plan.kinds.items()}
    wanted = {trace.problem_id for of_kind in traces.values() for trace in of_kind}
    if what.folder is not None:
        problems = problems_of(what.folder, wanted)
    else:
        problems = find_problems(get_task(what.task), options.data_dir, wanted)
    return make_rating(plan, problems, traces)


def _reading(what: ReviewTarget, options: Options) -> ErrorReading | None:
    if not options.read:
        return None
    if what.folder is None:
        raise InputError("--read needs a study, because it reads the study's attempts")
    from tracedistill.review.error_labels import load_reading

    labels = None if options.labels is None else read_labels(options.labels)
    return load_reading(what.folder, options.read, options.seed, options.arm, labels)
