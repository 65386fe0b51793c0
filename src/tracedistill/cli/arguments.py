"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from tracedistill.errors import InputError
from tracedistill.output import say

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, text: str, examples: Sequence[str], note: str = ""
) -> argparse.ArgumentParser:
    """Add a subcommand with this help text, command lines as examples, and a note before them."""
    epilog = "\n".join(["examples:", *(f"  tracedistill {name} {example}".rstrip() for example in examples)])
    return commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"{note}\n\n{epilog}" if note else epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_recipe_command(commands: Commands, name: str, text: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """Add a subcommand that reads a recipe with overrides."""
    command = add_command(commands, name, text, examples)
    command.add_argument("recipe", help="the study's YAML file")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="override recipe keys")
    return command


def add_quiet(command: argparse.ArgumentParser, text: str = "print errors only") -> None:
    """Add --quiet."""
    command.add_argument("--quiet", action="store_true", help=text)


def add_outputs_command(commands: Commands, name: str, text: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """Add a subcommand that judges a file of any model's outputs."""
    command = add_command(commands, name, text, examples)
    command.add_argument(
        "file", type=Path, help="file with one output per row (.jsonl, .csv, .parquet; also .jsonl.gz, .csv.gz)"
    )
    command.add_argument("--task", required=True, help="name of a task, or package.module:Class")
    command.add_argument(
        "--policy", choices=("default", "published"), default="default", help="judge answers with this metric"
    )
    command.add_argument(
        "--data-dir",
        type=Path,
        help="join rows by problem id with the data in this folder, which has one folder per task",
    )
    return command


def add_columns(command: argparse.ArgumentParser, columns: Iterable[tuple[str, str, str]]) -> None:
    """Add a flag for each column of a file of outputs: (name, default, what it holds)."""
    for name, default, what in columns:
        command.add_argument(f"--{name}-field", default=default, metavar="COLUMN", help=f"{what} ({default})")


def pairs_of(items: Sequence[str], flag: str, example: str) -> dict[str, str]:
    """Return the values of a repeated flag `NAME=VALUE` by name. Raises InputError for anything else."""
    pairs = [item.partition("=") for item in items]
    if not all(equals for _, equals, _ in pairs):
        raise InputError(f"{flag}, for example {flag.partition(' ')[0]} {example}")
    return {name: value for name, _, value in pairs}


def add_export_command(commands: Commands, name: str, text: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """Add a subcommand that writes a study's results to a folder, and uploads it to the hub on request."""
    command = add_command(commands, name, text, examples)
    command.add_argument("study", metavar="RECIPE", help="the study's YAML file, or a run folder to read as it is")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="override recipe keys")
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="write to this folder: a new one, or an earlier export"
    )
    command.add_argument("--push", metavar="OWNER/NAME", help="upload the folder to this hub repository")
    command.add_argument("--private", action="store_true", help="with --push: make the repository private")
    return command


def check_push(args: argparse.Namespace) -> None:
    """Raise InputError if --push cannot work, before minutes of work."""
    from tracedistill.tools.export.hub import check_repo_id

    if args.push is not None:
        check_repo_id(args.push)
    elif args.private:
        raise InputError("--private needs --push OWNER/NAME")


def upload(args: argparse.Namespace, kind: Literal["dataset", "model"]) -> int:
    """Upload the result if --push is given; return the exit code."""
    from tracedistill.tools.export.hub import push

    if args.push is not None:
        say(f"pushed: {push(args.out, args.push, kind, private=args.private)}")
    return 0


def changes_recipe(word: str) -> bool:
    """Return whether a word is a key=value override, and not part of a question such as `x=3, what is 2x?`."""
    from dataclasses import fields

    from tracedistill.recipes import Study

    key = re.match(r"(\w+)(?:\.[\w@-]+)*=", word)
    return key is not None and key[1] in {item.name for item in fields(Study)}
