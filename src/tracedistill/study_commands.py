"""The commands on a study's results: `dataset`, `export`, `ask`, `doctor`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from tracedistill.errors import InputError
from tracedistill.shown import say

if TYPE_CHECKING:
    from tracedistill.asking import Conversation, Reply
    from tracedistill.doctor.findings import Finding

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Put the subcommands into the parser; nothing heavy is imported before one is called."""
    _dataset_command(commands)
    _export_command(commands)
    _ask_command(commands)
    _doctor_command(commands)


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")


def _study_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", metavar="RECIPE", help="the study's YAML file; or a run folder, taken as it is")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")


def _push_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--push", metavar="OWNER/NAME", help="then upload the folder to this repository of the hub")
    command.add_argument("--private", action="store_true", help="with --push: nobody else may see it")


def _dataset_command(commands: Commands) -> None:
    text = "every tuned arm's rows as a dataset folder with a card: Parquet and JSON Lines, ready for load_dataset"
    command = _command(commands, "dataset", text)
    _study_arguments(command)
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or an earlier export")
    _push_arguments(command)
    command.set_defaults(call=_dataset)


def _dataset(args: argparse.Namespace) -> int:
    from tracedistill.export.dataset import KIND, export_dataset
    from tracedistill.export.place import check_place
    from tracedistill.opening import open_study

    _check_push(args)
    check_place(args.out, KIND)
    made = export_dataset(open_study(args.study, args.overrides, "assemble"), args.out)
    for arm, splits in made.rows.items():
        say(f"{arm}: {', '.join(f'{rows} rows to {_ROLE[split]}' for split, rows in splits.items())}")
    if made.without_validation:
        say(f"note: no validation split: {made.without_validation}")
    say(f'wrote {args.out}; load_dataset("{args.out}", "{next(iter(made.rows))}"), and read {args.out}/README.md')
    return _push(args, "dataset")


_ROLE = {"train": "train", "validation": "validate"}


def _export_command(commands: Commands) -> None:
    text = "an arm's adapter, or base and adapter merged into one model, as a folder that transformers loads"
    command = _command(commands, "export", text)
    _study_arguments(command)
    command.add_argument("--arm", required=True, metavar="NAME", help="a tuned arm, or one that uses its adapter")
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder, or an earlier export")
    command.add_argument("--seed", type=int, default=0, metavar="K", help="which of the arm's adapters (%(default)s)")
    command.add_argument("--merge", action="store_true", help="one model; checked against the adapter kept apart first")
    command.add_argument("--sample", type=int, metavar="N", help="prompts of that check (evaluation.parity, or 100)")
    command.add_argument("--force", action="store_true", help="write it even if merging changes too many verdicts")
    _push_arguments(command)
    command.set_defaults(call=_export)


def _export(args: argparse.Namespace) -> int:
    from tracedistill.export.model import Choice, export_model
    from tracedistill.opening import open_study
    from tracedistill.pipeline.launched import quiet_libraries

    _check_push(args)
    if args.sample is not None and args.sample < 1:
        raise InputError("--sample wants the number of prompts to check, at least 1")
    for name in ("force", "sample"):
        if getattr(args, name) and not args.merge:
            raise InputError(f"--{name} is about merging; it goes with --merge")
    opened = open_study(args.study, args.overrides)
    quiet_libraries()
    made = export_model(opened, Choice(args.arm, args.seed, args.merge, args.force, args.sample), args.out)
    if made.parity is not None:
        found = made.parity
        say(
            f"merged against apart: {found['verdicts_changed']} of {found['n']} verdicts and {found['texts_changed']} "
            f"texts change, drift {found['largest_logit_drift']:.2g} nats at most"
            f"{'; beyond the tolerance, written all the same' if found['forced'] else ''}"
        )
    what = {"merged": "one merged model", "adapter": "the adapter", "full": "the tuned model (nothing to merge)"}
    say(f"wrote {what[made.what]} to {args.out}; read {args.out}/README.md")
    return _push(args, "model")


def _check_push(args: argparse.Namespace) -> None:
    """Whether --push can be meant, before minutes of work."""
    from tracedistill.export.hub import check_repo_id

    if args.push is not None:
        check_repo_id(args.push)
    elif args.private:
        raise InputError("--private goes with --push OWNER/NAME")


def _push(args: argparse.Namespace, kind: str) -> int:
    from tracedistill.export.hub import push

    if args.push is not None:
        say(f"pushed: {push(args.out, args.push, 'dataset' if kind == 'dataset' else 'model', private=args.private)}")
    return 0


def _ask_command(commands: Commands) -> None:
    text = "talk to an arm: a question is rendered as the study does, and asked of its student, tuned or not"
    command = _command(commands, "ask", text)
    command.epilog = (
        "Without a question: one from each line of the input, or from you; an empty line begins a new conversation, "
        "Ctrl-D ends."
    )
    command.add_argument("study", metavar="RECIPE", help="the study's YAML file; or a run folder, taken as it is")
    command.add_argument(
        "words", nargs="*", metavar="QUESTION", help="the question; and key=value changes to the recipe"
    )
    command.add_argument("--arm", required=True, metavar="NAME", help="tuned or in context")
    command.add_argument("--seed", type=int, default=0, metavar="K", help="which of the arm's adapters (%(default)s)")
    command.add_argument("--context", metavar="FILE", help="story lines, facts or passages, one a line (-: the input)")
    command.add_argument("--choice", action="append", default=[], metavar="TEXT", help="of a multiple-choice question")
    command.add_argument("--plan", metavar="FILE", help="the plan to show, where the arm shows one (-: the input)")
    command.add_argument("--problem", metavar="ID", help="ask this problem of the study, and judge the answer")
    command.add_argument("--plain", action="store_true", help="send the text as it is, without the arm's prompt")
    command.add_argument("--json", action="store_true", help="one line of JSON per answer")
    command.set_defaults(call=_ask)


def _ask(args: argparse.Namespace) -> int:
    from tracedistill.asking import Conversation, Question, context_of
    from tracedistill.opening import open_study
    from tracedistill.pipeline.launched import quiet_libraries

    overrides = [word for word in args.words if _changes_recipe(word)]
    question = " ".join(word for word in args.words if word not in overrides)
    if args.problem and (question or args.context or args.choice):
        raise InputError("--problem asks a problem of the study: no question, --context or --choice beside it")
    if "-" in (args.context, args.plan) and not (question or args.problem):
        raise InputError("the input holds the context or plan, so the question must stand on the command line")
    context = context_of(_read(args.context)) if args.context else ()
    plan = _read(args.plan).strip() if args.plan else None
    quiet_libraries()
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
    """A conversation with whoever sits there, or with the lines of a file."""
    from tracedistill.asking import Question

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
    """A file's text; `-`: the input's."""
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: cannot be read: {error}") from error


def _changes_recipe(word: str) -> bool:
    """Whether a word is key=value for a recipe, and not part of a question such as `x=3, what is 2x?`."""
    from dataclasses import fields

    from tracedistill.recipes import Study

    found = re.match(r"(\w+)(?:\.[\w@-]+)*=", word)
    return found is not None and found[1] in {each.name for each in fields(Study)}


def _doctor_command(commands: Commands) -> None:
    text = "what this machine has, and what recipes would need of it; exit code 1 where something will not run"
    command = _command(commands, "doctor", text)
    command.add_argument(
        "words", nargs="*", metavar="RECIPE", help="studies' YAML files; and key=value changes to them"
    )
    command.set_defaults(call=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from tracedistill.doctor.machine import findings_of, look
    from tracedistill.doctor.needs import needs_of
    from tracedistill.forecast.calibration import this_machine

    overrides = tuple(word for word in args.words if _changes_recipe(word))
    recipes = [Path(word) for word in args.words if word not in overrides]
    if overrides and not recipes:
        raise InputError(f"{overrides[0]}: changes a recipe, and none is given")
    machine = look()
    bad = _say(findings_of(machine))
    for recipe in recipes:
        say(f"\n{recipe}")
        bad += _say(needs_of(recipe, overrides, machine, this_machine))
    if recipes:
        say("\nMemory and time are estimates; `tracedistill run RECIPE --dry-run` shows them arm by arm.")
    if bad:
        say(f"will not run here as it stands: {bad} of the lines above")
    return 1 if bad else 0


def _say(findings: Iterator[Finding]) -> int:
    """Print them as they come; how many are bad."""
    bad = 0
    for found in findings:
        bad += found.state == "bad"
        say(f"{_MARKS[found.state]:5}{found.name:22} {found.text}", flush=True)
    return bad


_MARKS = {"ok": "ok", "note": "note", "bad": "BAD"}
