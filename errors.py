"""The one exception whose message is meant for the user's eyes."""


class UserError(Exception):
    """A mistake of the user's or of their files, told in one line.

    The message names the key or the file, and says what would be right. The commands print it
    without a traceback and exit with status 2.
    """
