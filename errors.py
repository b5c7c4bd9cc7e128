"""The exception that the commands print in one line, without a traceback."""

import os


class UserError(Exception):
    """An error in the user's configuration, files or environment.

    The message is one line: it names the key or the file, and says what would be right. The
    commands print it and exit with `status`.
    """

    status = 2


def os_reason(error: OSError) -> str:
    """Returns why an operation failed, without the file's name: "No space left on device"."""
    return os.strerror(error.errno) if error.errno else str(error)
