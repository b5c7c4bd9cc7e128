"""The exception that the commands print in one line, without a traceback."""


class UserError(Exception):
    """An error in the user's configuration, files or environment.

    The message is one line: it names the key or the file, and says what would be right. The
    commands print it and exit with `status`.
    """

    status = 2
