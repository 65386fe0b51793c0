"""Arguments that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TypeAlias

from tracedistill.errors import InputError
from tracedistill.shown import say

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


def add_study_arguments(command: argparse.ArgumentParser) -> None:
    """Add the recipe or run folder of a study."""
    command.add_argument("study", metavar="RECIPE", help="the study's YAML file, or a run folder to read as it is")
    command.add_argument("overrides", nargs="*", metavar="key=value", help="override recipe keys")


def add_push_arguments(command: argparse.ArgumentParser) -> None:
    """Add the upload to the hub."""
    command.add_argument("--push", metavar="OWNER/NAME", help="upload the folder to this hub repository")
    command.add_argument("--private", action="store_true", help="with --push: make the repository private")


def check_push(args: argparse.Namespace) -> None:
    """Raise InputError if --push cannot work, before minutes of work."""
    from tracedistill.tools.export.hub import check_repo_id

    if args.push is not None:
        check_repo_id(args.push)
    elif args.private:
        raise InputError("--private needs --push OWNER/NAME")


def upload(args: argparse.Namespace, kind: str) -> int:
    """Upload the result if --push is given; return the exit code."""
    from tracedistill.tools.export.hub import push

    if args.push is not None:
        say(f"pushed: {push(args.out, args.push, 'dataset' if kind == 'dataset' else 'model', private=args.private)}")
    return 0


def changes_recipe(word: str) -> bool:
    """Return whether a word is a key=value override, and not part of a question such as `x=3, what is 2x?`."""
    from dataclasses import fields

    from tracedistill.recipes import Study

    key = re.match(r"(\w+)(?:\.[\w@-]+)*=", word)
    return key is not None and key[1] in {item.name for item in fields(Study)}
