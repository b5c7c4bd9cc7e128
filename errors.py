"""The one exception whose message is meant for the user's eyes."""

TRY_AGAIN = 75  # exit status: started again, the command goes on (sysexits' "temporary failure")


class UserError(Exception):
    """A mistake of the user's or of their files, told in one line.

    The message names the key or the file, and says what would be right. The commands print it
    without a traceback and exit with its status.
    """

    status = 2
