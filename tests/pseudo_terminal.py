"""Shows a test what a terminal would show."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def terminal() -> Iterator[list[str]]:
    """Makes standard output and standard error a terminal of unknown size.

    Yields:
        A list that receives the whole output, at most some 4 KB, when the context ends.
    """
    shown: list[str] = []
    master, slave = os.openpty()
    try:
        with (
            open(slave, "w", encoding="ascii") as stream,
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            yield shown
    finally:
        parts = []
        with contextlib.suppress(OSError):  # the end, as nobody writes any more
            while part := os.read(master, 4096):
                parts.append(part)
        os.close(master)
        shown.append(b"".join(parts).decode())
