"""Errors whose message is printed to the user."""


class InputError(Exception):
    """A recipe, file, row or folder of the user cannot be used.

    The message names the file, the row or key, and the remedy. The command line prints it without a traceback and exits
    with code 2. Nothing has been overwritten.
    """


class MissingSplitError(InputError):
    """A task has no such split, or its file is missing. Callers that read every split skip it."""


class Paused(Exception):  # noqa: N818 - not an error: the run waits for a person
    """A run waits for a person. The message says for what, and what to do next. The command line exits with code 3."""
