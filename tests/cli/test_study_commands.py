from __future__ import annotations

import re
import shlex

import pytest

from tests.conftest import ROOT
from tests.test_layers import LIGHT, loaded_by
from tracedistill.cli import build_parser, main
from tracedistill.cli.arguments import changes_recipe
from tracedistill.cli.ask import _print_reply
from tracedistill.tools.conversation import Reply

COMMANDS = {
    "dataset": ("RECIPE", "--out", "--push", "--private"),
    "export": ("RECIPE", "--arm", "--merge", "--force", "--push"),
    "ask": ("QUESTION", "--arm", "--context", "--plain", "Ctrl-D"),
    "doctor": ("RECIPE",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in COMMANDS[command])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert f"    {command} " in capsys.readouterr().out


def test_their_help_loads_nothing_heavy() -> None:
    code = "from tracedistill.cli import main\ntry:\n    main(['export', '--help'])\nexcept SystemExit:\n    pass"
    assert loaded_by(code) & set(LIGHT) == set()


@pytest.mark.parametrize(
    ("word", "recipe"),
    [("seed=3", True), ("training.learning_rate=2e-3", True), ("arms.plan@rules.max_tokens=9", True),
     ("students.qwen2.5.model=x", True), ("x=3", False), ("What is seed=3?", False), ("x = 3", False), ("=", False),
     ("Where is Mary?", False), ("study.yaml", False)],
)  # fmt: skip
def test_what_changes_a_recipe_and_what_is_a_question(word: str, recipe: bool) -> None:
    assert changes_recipe(word) == recipe


@pytest.mark.parametrize(
    "argv",
    [["dataset", "s.yaml", "--out", "d"], ["export", "s.yaml", "--arm", "a", "--out", "d"],
     ["ask", "s.yaml", "--arm", "a"], ["doctor", "s.yaml"]],
)  # fmt: skip
def test_unknown_options(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--nope"])
    assert ended.value.code == 2
    assert "unknown arguments: --nope" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [["grade", "rows.jsonl", "--task", "gsm8k"], ["init", "rows.jsonl"], ["audit", "gsm8k"],
     ["import", "rows.jsonl", "--task", "gsm8k", "--arm", "a"]],
)  # fmt: skip
def test_key_value_where_no_recipe_is_read(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*argv, "training.epochs=2"])
    assert ended.value.code == 2
    assert "training.epochs=2" in capsys.readouterr().err


def test_every_command_line_of_the_guide() -> None:
    page = (ROOT / "docs" / "using-results.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    lines = [
        line.split("  #")[0] for block in blocks for line in block.splitlines() if line.startswith("tracedistill ")
    ]
    assert {line.split()[1] for line in lines} == set(COMMANDS)
    for line in lines:
        _, rest = build_parser().parse_known_args(shlex.split(line)[1:])
        assert not [word for word in rest if word.startswith("-")], line


def test_what_a_model_says_does_nothing_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    said = "\x1b]0;mine\x07\x1b[2Jtrace\rover\r\nAnswer: \x1b[8mgarden"
    _print_reply(Reply((), said, "\x1b[2J\x85trace", "\x1b[8mgarden", "stop", 3, plan="\x1b[1m1. Go."), as_json=False)
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\r" not in told
    assert "[U+001B][8mgarden" in told
    assert "over\nAnswer:" in told
