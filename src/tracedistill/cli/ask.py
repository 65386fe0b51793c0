"""`tracedistill ask`: a chat with an arm."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracedistill.cli.arguments import Commands, add_command, changes_recipe
from tracedistill.errors import InputError
from tracedistill.output import say
from tracedistill.spinner import waiting

if TYPE_CHECKING:
    from tracedistill.tools.conversation import Conversation, Reply


EXAMPLES = (
    'study.yaml --arm correct-trace "How many pens are left?"',
    "runs/quickstart --arm answer-only --problem babi-test-3",
    "study.yaml --arm few-shot --context story.txt --json < questions.txt",
)


def add(commands: Commands) -> None:
    """Add the subcommand."""
    text = "chat with an arm: its student answers your questions, rendered as in the study"
    note = (
        "Without QUESTION, read one question a line from stdin (interactive in a terminal); an empty line starts a\n"
        "new conversation, Ctrl-D ends."
    )
    command = add_command(commands, "ask", text, EXAMPLES, note)
    command.add_argument("study", metavar="RECIPE", help="the study's YAML file, or a run folder to read as it is")
    command.add_argument(
        "words", nargs="*", metavar="QUESTION", help="the question, and key=value overrides of the recipe"
    )
    command.add_argument("--arm", required=True, metavar="NAME", help="the arm to chat with, tuned or in context")
    command.add_argument(
        "--seed", type=int, default=0, metavar="K", help="use the arm's adapter of this seed (%(default)s)"
    )
    command.add_argument(
        "--context", metavar="FILE", help="read story lines, facts or passages from FILE, one a line (-: stdin)"
    )
    command.add_argument(
        "--choice", action="append", default=[], metavar="TEXT", help="add a choice of a multiple-choice question"
    )
    command.add_argument("--plan", metavar="FILE", help="show this plan, if the arm shows one (-: stdin)")
    command.add_argument("--problem", metavar="ID", help="pose this problem of the study and judge the answer")
    command.add_argument("--plain", action="store_true", help="send the text as it is, without the arm's prompt")
    command.add_argument("--json", action="store_true", help="print one JSON object per answer")
    command.set_defaults(call=run)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand; return its exit code."""
    from tracedistill.pipeline.worker import quiet_libraries
    from tracedistill.tools.conversation import Conversation, Question, context_of
    from tracedistill.tools.open_study import open_study

    overrides = [word for word in args.words if changes_recipe(word)]
    question = " ".join(word for word in args.words if word not in overrides)
    if args.problem and (question or args.context or args.choice):
        raise InputError("--problem poses a problem of the study; leave out QUESTION, --context and --choice")
    if "-" in (args.context, args.plan) and not (question or args.problem):
        raise InputError("stdin is used for the context or plan, so give the question on the command line")
    context = context_of(_read(args.context)) if args.context else ()
    plan = _read(args.plan).strip() if args.plan else None
    quiet_libraries()
    with waiting("loading the student"):
        talk = Conversation(open_study(args.study, overrides), args.arm, args.seed, args.plain, plan)
    say(f"arm {args.arm}: {talk.how}", file=sys.stderr)
    if args.problem:
        _print_reply(talk.ask_known(args.problem), args.json)
    elif question:
        _print_reply(talk.ask(Question(question, context, tuple(args.choice))), args.json)
    else:
        _converse(talk, context, args.choice, args.json)
    return 0


def _converse(talk: Conversation, context: tuple[str, ...], choices: Sequence[str], as_json: bool) -> None:
    """Answer questions from the terminal, or from the lines of stdin."""
    from tracedistill.tools.conversation import Question

    person = sys.stdin.isatty()
    for line in _lines(person):
        if not line.strip():
            talk.forget()
            continue
        try:
            _print_reply(talk.ask(Question(line.strip(), context, tuple(choices))), as_json)
        except InputError as error:
            if not person:
                raise
            say(f"tracedistill: {error}", file=sys.stderr)


def _lines(person: bool) -> Iterator[str]:
    if not person:
        yield from sys.stdin
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            say()
            return


def _print_reply(reply: Reply, as_json: bool) -> None:
    from tracedistill.files import dumps, to_json

    if as_json:
        say(dumps(to_json(reply, defaults=True)), flush=True)
        return
    if reply.plan is not None:
        say(f"[plan shown]\n{reply.plan}\n")
    say(reply.text)
    say()
    if reply.trace and reply.trace != reply.text.strip():
        say(f"[trace] {' | '.join(reply.trace.splitlines())}")
    say(f"[answer] {'none found' if reply.answer is None else reply.answer}")
    if reply.verdict is not None:
        why = f" ({reply.verdict.reason})" if reply.verdict.reason else ""
        say(f"[gold] {reply.gold}: {reply.verdict.outcome}{why}")
    if reply.finish == "length":
        say(f"[cut off] after {reply.tokens} tokens, the arm's max_tokens")
    sys.stdout.flush()


def _read(name: str) -> str:
    """Read a file's text; `-`: stdin."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read: {error}") from error
