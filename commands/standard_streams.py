"""Standard output and standard error that cannot be written, or not in every character."""

import errno
import io
import os
import select
import sys
from typing import NoReturn

from errors import UserError, os_reason

BROKEN_PIPE = 128 + 13  # exit status of a process that SIGPIPE ends, in shells


def protect() -> None:
    """Makes `print` safe: no stream is absent, and no character is an error.

    - A stream that the caller has closed is the null device.
    - A character that the stream's encoding lacks is escaped.
    - The first write to standard output that fails ends the command, as `SystemExit`: quietly with
      status 141 if the reader has gone, as in `| head`, else with one line. Later output, that of
      the interpreter's exit included, is discarded.
    - Standard error that cannot be written is discarded.
    """
    _open_missing_descriptors()
    sys.stdout = _protected(sys.stdout, sys.__stdout__, ends=True)
    sys.stderr = _protected(sys.stderr, sys.__stderr__, ends=False)


def outlive_output() -> None:
    """Continues without standard output when it cannot be written; `flush` reports that."""
    protect()
    if isinstance(sys.stdout, _Stream):
        sys.stdout.descriptor.ends = False


def flush() -> None:
    """Writes what is left in the buffers.

    Raises:
        SystemExit: standard output cannot be written; see `protect`. Errors before
            `outlive_output` were raised when they occurred.
    """
    outlive_output()
    sys.stderr.flush()
    sys.stdout.flush()
    if isinstance(sys.stdout, _Stream) and sys.stdout.descriptor.failure is not None:
        _end(sys.stdout.descriptor.failure)


class _Descriptor(io.FileIO):
    """A descriptor that is replaced by the null device when writing to it fails."""

    def __init__(self, number: int, ends: bool):
        super().__init__(number, "w", closefd=False)
        self.ends = ends
        self.failure: OSError | None = None

    def write(self, data) -> int:
        try:
            rest = memoryview(data).cast("B")
            while len(rest):
                written = super().write(rest)
                if written is None:  # a full pipe that does not block
                    select.select([], [self], [])
                else:
                    rest = rest[written:]
        except OSError as error:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            if self.ends:
                _end(error)
            self.failure = error
        return memoryview(data).nbytes


class _Stream(io.TextIOWrapper):
    def __init__(self, before: io.TextIOWrapper, ends: bool):
        self.descriptor = _Descriptor(before.fileno(), ends)
        unbuffered = before.write_through  # python -u
        super().__init__(
            self.descriptor if unbuffered else io.BufferedWriter(self.descriptor),
            before.encoding,
            "backslashreplace",
            line_buffering=before.line_buffering,
            write_through=unbuffered,
        )


def _protected(stream, original, ends: bool):
    """Returns the stream to use. A substitute for the process's own stays, as in tests."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8", errors="backslashreplace")
    if stream is original and isinstance(stream, io.TextIOWrapper):
        raw = getattr(stream.buffer, "raw", stream.buffer)
        if isinstance(raw, io.FileIO):  # and no console of Windows
            stream.flush()
            return _Stream(stream, ends)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _open_missing_descriptors() -> None:
    """Else the next file that is opened would receive what C++ code prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)


def _end(error: OSError) -> NoReturn:
    if error.errno == errno.EPIPE:
        raise SystemExit(BROKEN_PIPE)
    raise SystemExit(UserError(f"standard output: writing failed ({os_reason(error)})"))
