"""The errors that a user is meant to read."""


class InputError(Exception):
    """Something that the user gave (recipe, file, row, folder) cannot be used.

    The message names the file, the row or key, and the remedy. The command line prints it
    without a traceback and exits with code 2; nothing has been overwritten.
    """


class MissingSplitError(InputError):
    """A task has no such split, or its file is not there; who reads all splits goes on with the next."""
