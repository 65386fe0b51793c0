"""The page of a study that was run again: codes of verdicts, sentences, and the page made again of its own lines."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def replication(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import replication
    import replication_rows
    import replication_tables

    return replication, replication_rows, replication_tables


def attempt(answer="correct", trace="correct", kind=1.0, facts=1.0, finish="stop", copied=None, **others):
    figures = {} if trace in ("none", "unparsed") else {"class": kind, "facts_exact": facts}
    return {
        "problem_id": "p0",
        "answer": {"outcome": answer},
        "trace": {"outcome": trace, "figures": figures},
        "finish": finish,
        "answer_in_trace": copied,
        **others,
    }


CODES = {
    "both right, copied": (attempt(copied=True), "cb.v"),
    "class alone": (attempt("incorrect", "incorrect", 1.0, 0.0), "ik.."),
    "facts alone": (attempt("incorrect", "incorrect", 0.0, 1.0), "if.."),
    "neither, cut off": (attempt("missing", "incorrect", 0.0, 0.0, finish="length"), "mwx."),
    "unparsed": (attempt("ungradable", "unparsed"), "uu.."),
    "calculations": ({**attempt(), "trace": {"outcome": "incorrect", "figures": {}}}, "cw.."),
    "no plan": (attempt("missing", "none", finish="no-plan"), "mnp."),
    "an answer alone": (attempt(trace="none"), "cn.."),
}


@pytest.mark.parametrize("name", CODES)
def test_a_code_holds_every_verdict(replication, name):
    made, code = CODES[name]
    assert replication[1].code_of(made) == code


def test_a_run_folder_becomes_lines_by_problem_and_seed(replication, tmp_path):
    _, rows, _ = replication
    problems = [{"problem_id": name, "category": "kind"} for name in ("p1", "p0", "untouched")]
    (tmp_path / "attempts").mkdir()
    (tmp_path / "problems.jsonl").write_text("".join(json.dumps(one) + "\n" for one in problems))
    attempts = [attempt(seed=1, answer="incorrect"), attempt(seed=0), attempt(seed=0, problem_id="p1")]
    (tmp_path / "attempts" / "correct.jsonl").write_text("".join(json.dumps(one) + "\n" for one in attempts))
    lines = rows.read_run(tmp_path)
    assert [(line.id, line.arms) for line in lines] == [
        ("p1", {"correct": ("cb..",)}),
        ("p0", {"correct": ("cb..", "ib..")}),
    ]
    rows.write_lines(tmp_path / "lines.jsonl", lines)
    assert rows.read_lines(tmp_path / "lines.jsonl") == lines


def lines_of(rows, n=100, **shares):
    """Lines of these arms with so many right answers of n, by seed."""
    return [
        rows.Line(
            f"p{place}",
            "kind",
            {arm: tuple("cn.." if place < right else "in.." for right in seeds) for arm, seeds in shares.items()},
        )
        for place in range(n)
    ]


SAID = {
    "clear": ({"correct": (90, 88, 91), "answer_only": (40, 43, 41)}, "answers more problems right than", "3 seeds"),
    "clear, one seed": ({"correct": (40,), "answer_only": (90,)}, "answers fewer problems right", "one seed each"),
    "none": ({"correct": (50, 60, 41), "answer_only": (52, 44, 57)}, "no difference is shown", "is not excluded"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_sentence_says_what_the_interval_carries(replication, name):
    _, rows, tables = replication
    shares, *words = SAID[name]
    found = tables.compared(lines_of(rows, **shares), [("correct", "answer_only", "?"), ("correct", "missing", "?")])
    assert len(found) == 1
    said = tables.sentence(found[0], found[0].p)
    assert all(word in said for word in words), said


def test_tables_count_every_attempt(replication):
    _, rows, tables = replication
    lines = [
        rows.Line("p0", "kind", {"correct": ("cb.v", "iw..")}),
        rows.Line("p1", "kind", {"correct": ("ib..", "mux.")}),
    ]
    assert "| correct | 2 | 4 | 25.0 " in tables.arms_table(lines, ["correct"])
    assert "| 50.0 | 50.0 | 50.0 | 1 | 1 | 1 | 0 |" in tables.arms_table(lines, ["correct"])
    assert "| correct | 1 | 1 | 0 | 2 | 50.0 (n 2) | 0.0 (n 2) |" in tables.joint_table(lines, ["correct"])
    assert "| kind | 2 | 25.0 |" in tables.categories_table(lines, ["correct"])


PAGES = [path.with_suffix("") for path in sorted((ROOT / "docs").glob("replication-*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_is_made_of_its_lines(replication, page, tmp_path, monkeypatch):
    """Every figure on it is counted from the verdicts beside it."""
    text = page.with_suffix(".md").read_text(encoding="utf-8")
    command = text.partition("Made by `python benchmarks/")[2].partition("`")[0].split()
    words = [str(tmp_path / "page.md") if word == f"docs/{page.name}.md" else word for word in command[1:]]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("sys.argv", ["", *words])
    __import__(command[0].removesuffix(".py")).main()
    again = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert again.replace(str(tmp_path / "page.md"), f"docs/{page.name}.md") == text
