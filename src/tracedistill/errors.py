"""The errors that a user is meant to read."""


class InputError(Exception):
    """Something that the user gave (recipe, file, row, folder) cannot be used.

    The message names the file, the row or key, and the remedy. The command line prints it
    without a traceback and exits with code 2; nothing has been overwritten.
    """


class MissingSplitError(InputError):
    """A task has no such split, or its file is missing; callers that read every split skip it."""


class Paused(Exception):  # noqa: N818 - not an error: the run waits for a person
    """A run waits for a person; the message says for what, and what to do next. The command line exits with code 3."""
