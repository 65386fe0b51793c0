"""One self-contained HTML page: no network, one script for filtering, all text escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tracedistill.output import visible
from tracedistill.report.arms_table import PAGE_COLUMNS, VOTED, labels_of
from tracedistill.report.attempt_browser import ShownProblem
from tracedistill.report.format import cell_text, p_relation, p_value, percent, points
from tracedistill.report.plots import laid_out
from tracedistill.report.records import ArmFigures, Comparison, Kind, Report

KINDS: tuple[Kind, ...] = ("in context", "tuned", "served", "imported")
"""Groups of the arms table, in order."""
FEW = 0.05
"""Share of attempts with a trace below which no mosaic is drawn."""
FIRST = ("ways",)
"""Sections above the arms table: the main result of a study of several methods."""
RESEARCH = ("association", "forced", "attribution", "grid", "context", "differences", "extras")
"""Sections of research interest: folded unless one of their cells is flagged."""
LONG = 40
"""Rows from which a section's table is folded."""


def page(
    report: Report, shown: Sequence[ShownProblem], manifests: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """Render the page as text. `shown`: attempts to read; `manifests`: by node."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("tracedistill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # autoescaping covers everything printed: names, golds and model output
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        p_value=p_value,
        p_relation=p_relation,
        gigabytes=_gigabytes,
        thousands=_thousands,
        cell=lambda cell: cell_text(cell, "–"),
        laid_out=laid_out,
        address=lambda path: quote(path, safe="/"),
    )
    script = environment.get_template("filter.js").render()
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        shown=shown,
        kinds=KINDS,
        columns=PAGE_COLUMNS,
        voted=VOTED,
        long=LONG,
        research=RESEARCH,
        first=FIRST,
        forest=_forest(report.comparisons, labels_of(report)),
        mosaics=[
            _mosaic(arm)
            for arm in report.arms
            if arm.attempts - arm.trace_none - arm.trace_not_judged >= FEW * arm.attempts
        ],
        made=_made(manifests or {}),
        script=Markup(script),  # noqa: S704 - our own file
        # a nonce: the page runs this script and no other, whatever a model wrote
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
    )


def _made(manifests: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one line per node of the run: seconds, and the content hash of its first output."""
    lines = []
    for node, manifest in manifests.items():
        name, facts = next(iter(manifest.get("outputs", {}).items()), ("", {"sha256": ""}))
        lines.append({"node": node, "seconds": manifest["seconds"], "output": name, "sha256": facts["sha256"][:16]})
    return lines


def _forest(comparisons: Sequence[Comparison], labels: Mapping[str, str]) -> dict[str, Any]:
    """Lay out the forest plot in percent of its width; the axis covers every interval and zero."""
    if not comparisons:
        return {"rows": [], "ticks": []}
    widest = max(0.05, *(max(abs(entry.low), abs(entry.high)) for entry in comparisons))
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5) if widest / step <= 3)
    reach = step * (int(widest / step) + 1)

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    ticks = [round(step * number, 4) for number in range(-int(reach / step), int(reach / step) + 1)]
    rows = [
        {
            "entry": entry,
            "names": f"{labels[entry.first]} − {labels[entry.second]}",
            "x": place(entry.difference),
            "left": place(entry.low),
            "width": round(place(entry.high) - place(entry.low), 2),
        }
        for entry in comparisons
    ]
    return {
        "rows": rows,
        "tests": ", ".join(dict.fromkeys(entry.test for entry in comparisons)),
        "ticks": [{"x": place(tick), "label": f"{100 * tick:+.0f}" if tick else "0"} for tick in ticks],
    }


def _mosaic(arm: ArmFigures) -> dict[str, Any]:
    """Lay out the mosaic. Widths: trace right or not. Heights: answer right or not, within each."""
    both, trace_only, answer_only, neither = arm.joint
    ok, wrong = both + trace_only, answer_only + neither
    n = max(1, ok + wrong)
    return {
        "arm": arm,
        "ok_width": round(100 * ok / n, 2),
        "ok_height": round(100 * both / ok, 2) if ok else 0,
        "wrong_width": round(100 * wrong / n, 2),
        "wrong_height": round(100 * answer_only / wrong, 2) if wrong else 0,
    }


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB"


def _thousands(number: float) -> str:
    return f"{number:,.0f}".replace(",", "\u202f")
