"""One self-contained HTML page: no network, no script needed, all model text escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracedistill.report.findings import arm_label, p_relation, p_value, points
from tracedistill.report.markdown import percent
from tracedistill.report.samples import Shown


def page(report: Mapping[str, Any], shown: Sequence[Shown]) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tracedistill.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        points=points,
        p_value=p_value,
        p_relation=p_relation,
        arm_label=arm_label,
        gigabytes=_gigabytes,
        thousands=_thousands,
    )
    template = environment.get_template("report.html.j2")
    return template.render(
        report=report,
        shown=shown,
        forest=_forest(report["comparisons"]),
        mosaics=[_mosaic(arm) for arm in report["arms"] if arm["writes_traces"]],
    )


def _forest(comparisons: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Places of the forest plot, in percent of its width; the axis holds every interval and zero."""
    if not comparisons:
        return {"rows": [], "ticks": []}
    widest = max(0.05, *(max(abs(entry["low"]), abs(entry["high"])) for entry in comparisons))
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5) if widest / step <= 3)
    reach = step * (int(widest / step) + 1)

    def place(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    ticks = [round(step * number, 4) for number in range(-int(reach / step), int(reach / step) + 1)]
    rows = [
        {
            **entry,
            "x": place(entry["difference"]),
            "left": place(entry["low"]),
            "width": round(place(entry["high"]) - place(entry["low"]), 2),
        }
        for entry in comparisons
    ]
    return {
        "rows": rows,
        "ticks": [{"x": place(tick), "label": f"{100 * tick:+.0f}" if tick else "0"} for tick in ticks],
    }


def _mosaic(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Widths: trace right or not; heights: answer right or not, within each."""
    both, trace_only, answer_only, neither = arm["joint"]
    n = max(1, arm["n"])
    ok, wrong = both + trace_only, answer_only + neither
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
