from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.conftest import ROOT
from tests.report_kit import comparison
from tests.run_folders import misled, right, some, traced, write_run, wrong
from tracedistill.errors import InputError
from tracedistill.files import to_json
from tracedistill.output import narrow_table, wide_console
from tracedistill.recipes import Arm
from tracedistill.records import Problem
from tracedistill.report import write_view
from tracedistill.report.arms_table import VOTED
from tracedistill.report.attempt_browser import BYTES_SHOWN, browse
from tracedistill.report.csv import csv_text
from tracedistill.report.format import cell_text
from tracedistill.report.html import _forest, visible
from tracedistill.report.markdown import section_lines
from tracedistill.report.reader import record_of
from tracedistill.report.runs import view_of_folder
from tracedistill.report.tables import Section, Table
from tracedistill.report.terminal import print_report, print_section
from tracedistill.tasks import get_task

HOSTILE = "<script>alert(1)</script> </style> \x00 \u202e evil \ud800 <!-- ]]> {{ 7*7 }} \x1b[31m"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def hostile(problem: Problem) -> str:
    return f"{HOSTILE}\nAnswer: {HOSTILE}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two arms that write traces, one that does not, one that means harm."""
    arms = {"plain": some(0.04), "traced": traced, "misled": some(0.06, traced, misled), "hostile": hostile}
    settings = {"traced": Arm(tune="correct"), "misled": Arm(tune="incorrect")}
    write_run(tmp_path, arms, 12, comparisons=[("traced", "misled"), ("traced", "plain")], settings=settings)
    write_view(view_of_folder(tmp_path))
    return tmp_path


# ---- sections, whatever they hold

SECTION = Section(
    "odd",
    "Odd <b>things</b>",
    ("A note with | and <i>.",),
    (
        Table(
            "First", ("name", "n", "share"), (("a|b", 12345, 0.12345), (HOSTILE, None, True)), frozenset({(0, 1)}), "n"
        ),
        Table("", ("only",), ()),
    ),
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"), (0, "0"), (1234567, "1,234,567"), (0.12345, "0.123"), (-0.5, "-0.5"), (12345.6, "12,346"),
        ("as it is", "as it is"), (True, "yes"), ("", ""),
    ],
)  # fmt: skip
def test_cells_for_people(cell: Any, text: str) -> None:
    assert cell_text(cell) == text


def test_a_section_in_markdown() -> None:
    lines = list(section_lines(SECTION))
    assert lines[0] == r"## Odd \<b\>things\</b\>"
    assert "| a\\|b | **12,345** | 0.123 |" in lines
    assert "| name | n | share |" in lines
    assert "<script>" not in "\n".join(lines).replace("\\<", "")
    assert len([line for line in lines if line.startswith("|---")]) == 2


def test_a_section_as_json_is_the_same_section() -> None:
    text = json.dumps(to_json(SECTION, defaults=True))
    assert json.loads(text)["tables"][0]["flagged"] == [[0, 1]]
    assert record_of(Section, json.loads(text), "section") == SECTION


def test_a_section_in_the_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=100, force_terminal=True, color_system="standard", highlight=False)
    print_section(SECTION, console)
    told = stream.getvalue()
    assert re.search(r"\x1b\[1;31m12,345", told), "flagged: red"
    assert "Odd <b>things</b>" in told
    stream.truncate(0)
    print_section(SECTION, console, whole=False)
    assert "12,345" in stream.getvalue(), "flagged tables are told anyway"
    stream.truncate(0)
    print_section(Section("k", "Calm", ("x",), (Table("", ("a",), (("b",),)),)), console, whole=False)
    assert "Calm" not in stream.getvalue()


def test_the_name_of_an_arm_is_never_squeezed_out_of_the_terminal() -> None:
    heads = ("arm", *(f"a long head of number {n}" for n in range(9)))
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    section = Section("k", "Wide", (), (Table("", heads, (("correct-trace", *range(100, 109)),)),))
    print_section(section, console)
    assert "correct-trace" in stream.getvalue()
    assert all(str(number) in stream.getvalue() for number in range(100, 105))


def test_names_that_look_like_emoji_are_names() -> None:
    console = wide_console()
    with console.capture() as told:
        console.print(narrow_table("", ("arm",), [("train:key:seed",)]))
    assert "train:key:seed" in told.get()


def test_control_characters_do_nothing_in_the_terminal() -> None:
    console = wide_console()
    with console.capture() as told:
        console.print(narrow_table("", ("arm", "text"), [("a", ("\x1b[2Jx\u202e", True)), ("\x07", "y")]))
    assert "[U+001B][2Jx[U+202E]" in told.get()
    assert "\x1b" not in told.get()
    assert "\x07" not in told.get()


def test_the_forest_names_every_test_and_every_oracle() -> None:
    rows = [comparison(first="a", second="b"), comparison(first="a", second="c", test="crossed t")]
    forest = _forest(rows, {"a": "a (oracle plan)", "b": "b", "c": "c"})
    assert forest["tests"] == "exact McNemar, crossed t"
    assert {row["names"].partition(" − ")[0] for row in forest["rows"]} == {"a (oracle plan)"}


def test_sections_of_a_run_stand_everywhere(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    page, table = (run / "report.html").read_text(), (run / "report.md").read_text()
    keys = [section["key"] for section in report["sections"]]
    assert {"types", "data", "comparisons"} <= set(keys)
    assert len(set(keys)) == len(keys)
    for section in report["sections"]:
        assert f'<section id="{section["key"]}">' in page
        assert f"## {section['title']}" in table
    stream = io.StringIO()
    print_report(run, Console(file=stream, width=120), sections=["data"])
    assert "Data" in stream.getvalue()
    with pytest.raises(InputError, match="no section 'nothing' in this report; it has: "):
        print_report(run, Console(file=stream), sections=["nothing"])


# ---- attempts to read


def test_steps_are_marked_where_they_stand(run: Path) -> None:
    view = view_of_folder(run)
    shown = browse(view, get_task("babi"))
    reading = next(one for item in shown for one in item.readings if one.arm == 2 and one.trace == "incorrect")
    marked = [(piece.kind, piece.outcome) for piece in reading.pieces if piece.outcome]
    assert marked[0] == ("class", "incorrect")
    assert "".join(piece.text for piece in reading.pieces).endswith(reading.pieces[-1].text)
    assert any(why.startswith("step 1, class: ") for _, why in reading.steps)


def test_all_of_a_text_is_shown_once(run: Path) -> None:
    view = view_of_folder(run)
    problems = view.problems()
    for item in browse(view, get_task("babi")):
        told = {view.arms[one.arm].name: "".join(piece.text for piece in one.pieces) for one in item.readings}
        assert told["traced"] == traced(problems[item.problem_id])
        assert told["hostile"] == hostile(problems[item.problem_id])
    page = (run / "report.html").read_text()
    assert page.count("Where is ") < 60, "rows stand in the page once"


def test_problems_on_which_arms_disagree_come_first_and_the_choice_is_seeded(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": right, "b": some(0.95, right, wrong)}, 200)
    view = view_of_folder(tmp_path)
    few = browse(view, get_task("babi"), budget=40_000)
    assert 4 < len(few) < 60
    assert sum(item.disagree for item in few) in (len(few) // 2, (len(few) + 1) // 2, 10)
    assert [item.problem_id for item in few] == [item.problem_id for item in browse(view, get_task("babi"), 40_000)]
    order = list(view.problems())
    places = [order.index(item.problem_id) for item in few]
    assert places == sorted(places)


@pytest.mark.slow
def test_the_page_keeps_to_its_budget(tmp_path: Path) -> None:
    def chatty(problem: Problem) -> str:
        return "so it goes & <on> " * 500 + right(problem)

    write_run(tmp_path, {f"arm-{number}": chatty for number in range(4)}, 150)
    write_view(view_of_folder(tmp_path))
    size = (tmp_path / "report.html").stat().st_size
    assert BYTES_SHOWN / 3 < size < 3_000_000


# ---- hostile text


def test_what_a_model_wrote_is_text(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script>") == 1
    assert page.count("</style>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &lt;/style&gt; [U+0000] [U+202E] evil [U+D800]" in page
    assert "{{ 7*7 }}" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069]", page)
    table = (run / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in table


def test_names_of_other_peoples_arms_are_text(tmp_path: Path) -> None:
    write_run(tmp_path, {"<b>&x": right, "=1+1": wrong, '"onload="x': right}, 4, comparisons=[("<b>&x", "=1+1")])
    write_view(view_of_folder(tmp_path))
    page = (tmp_path / "report.html").read_text()
    assert "<b>&x" not in page
    assert "&lt;b&gt;&amp;x" in page
    assert 'href="attempts/%3Cb%3E%26x.jsonl"' in page
    assert '"onload="x' not in page
    rows = rows_of(tmp_path / "report.csv")
    assert [row["name"] for row in rows] == ["<b>&x", "'=1+1", '"onload="x']


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\tc", "a\nb\tc"), ("\x00", "[U+0000]"), ("\u202eabc\u2069", "[U+202E]abc[U+2069]"), ("שלום", "שלום")],
)
def test_what_cannot_be_seen_is_made_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


# ---- spreadsheets


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+a", "'+a"), ("-a", "'-a"), ("@a", "'@a"), ("\ta", "'\ta"), ("a=b", "a=b"), (-0.5, "-0.5"),
        (None, ""), (True, "yes"), ("a,b", "a,b"), ("", ""),
    ],
)  # fmt: skip
def test_no_name_becomes_a_formula(value: Any, cell: str) -> None:
    (read,) = csv.DictReader(io.StringIO(csv_text([{"x": value, "y": 1}])))
    assert read == {"x": cell, "y": "1"}


def test_csv_holds_every_figure(run: Path) -> None:
    report = json.loads((run / "report.json").read_text())
    rows = rows_of(run / "report.csv")
    assert [row["name"] for row in rows] == [arm["name"] for arm in report["arms"]]
    for row, arm in zip(rows, report["arms"], strict=True):
        assert [int(row[name]) for name in ("both", "trace_only", "answer_only", "neither")] == arm["joint"]
        assert float(row["accuracy"]) == arm["accuracy"]["raw"]["value"]
        assert (int(row["n"]), int(row["correct"]), int(row["tokens_in"])) == (12, arm["correct"], arm["tokens_in"])
    compared = rows_of(run / "comparisons.csv")
    assert [(row["first"], float(row["difference"])) for row in compared] == [
        (entry["first"], entry["difference"]) for entry in report["comparisons"]
    ]


def test_csv_without_comparisons_has_its_heads(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": right}, 2)
    write_view(view_of_folder(tmp_path))
    (heads,) = (tmp_path / "comparisons.csv").read_text().splitlines()
    assert heads.startswith("first,second,n,difference,low,high,")


# ---- arms that vote, several samples


def test_a_voting_arm_is_counted_by_problems(tmp_path: Path) -> None:
    write_run(tmp_path, {"vote": right, "each": right}, 6, settings={"vote": Arm(vote=True)}, samples=3)
    vote, each = write_view(view_of_folder(tmp_path)).arms
    assert (vote.n, vote.attempts, vote.correct) == (6, 18, 6)
    assert (each.n, each.attempts, each.correct) == (18, 18, 18)
    page = (tmp_path / "report.html").read_text()
    assert "attempt 1 of 3, 3 right" in page
    terminal = Console(record=True, width=200, file=io.StringIO())
    print_report(tmp_path, terminal)
    for shown in (page, (tmp_path / "report.md").read_text(), terminal.export_text()):
        assert "vote of 18 attempts" in shown
        assert VOTED in shown, "which columns count what"
    write_run(tmp_path / "none", {"each": right}, 6, samples=3)
    write_view(view_of_folder(tmp_path / "none"))
    assert VOTED not in (tmp_path / "none" / "report.html").read_text()


# ---- a browser


def browser(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'browser'}", *options, (folder / "report.html").as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def probe(folder: Path, script: str) -> None:
    """Let the page run one more script, which its own policy forbids."""
    page = folder / "report.html"
    text = page.read_text(encoding="utf-8").replace("script-src 'sha256-", "script-src 'unsafe-inline' 'x")
    page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_page_in_a_browser(run: Path) -> None:
    done = browser(run, "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert re.search(r'<output id="found">12 of 12 problems, page 1 of 1</output>', done.stdout)
    assert '<form id="filter">' in done.stdout, "the filter shows where scripts run"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_stands_out_of_the_page(run: Path, width: int) -> None:
    """Wide tables scroll in their own box: the page itself is never wider than the window."""
    probe(run, "document.title = document.documentElement.scrollWidth + ' of ' + innerWidth")
    done = browser(run, f"--window-size={width},900", "--dump-dom")
    (found,) = re.findall(r"<title>(\d+) of (\d+)</title>", done.stdout)
    assert int(found[0]) <= int(found[1])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"arm": "0", "answer": "correct"}, 4),
        ({"arm": "0", "answer": "incorrect"}, 8),
        ({"arm": "1", "trace": "correct"}, 12),
        ({"arm": "2", "trace": "incorrect"}, 6),
        ({"answer": "cut off"}, 0),
        ({"between": "disagree"}, 12),
        ({"left": "0", "right": "1", "between": "right"}, 8),
        ({"left": "0", "right": "1", "between": "left"}, 0),
        ({"left": "1", "right": "0", "between": "left"}, 8),
        ({"words": "no such words"}, 0),
        ({"words": "ALERT(1)"}, 12),
    ],
)
def test_filtering(run: Path, chosen: dict[str, str], found: int) -> None:
    sets = "".join(f"form.elements.namedItem({name!r}).value = {value!r};" for name, value in chosen.items())
    shown = "Array.from(document.querySelectorAll('#problems > details')).filter((one) => !one.hidden).length"
    probe(
        run,
        f"const form = document.getElementById('filter'); {sets} form.dispatchEvent(new Event('input'));"
        f"document.title = document.getElementById('found').textContent + '; ' + {shown}",
    )
    done = browser(run, "--dump-dom")
    assert f"<title>{found} of 12 problems, page 1 of 1; {found}</title>" in done.stdout


# ---- W&B


@pytest.mark.slow
def test_the_tables_as_a_run_offline(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom tracedistill.report.reader import read_report\n"
        "from tracedistill.report.tracking import log_report\nlog_report(read_report(Path(sys.argv[1])), 'small')\n"
    )
    kept = tmp_path / "tracked"
    kept.mkdir()
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(kept), "WANDB_SILENT": "true"}
    command = [sys.executable, "-c", code, str(run)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (offline,) = (kept / "wandb").glob("offline-run-*")
    tables = [json.loads(path.read_text()) for path in offline.rglob("*.table.json")]
    arms = next(table for table in tables if "tokens_out" in table["columns"])
    assert [row[arms["columns"].index("name")] for row in arms["data"]] == ["plain", "traced", "misled", "hostile"]
    assert any("difference" in table["columns"] for table in tables)
