"""Locks between processes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock


@contextlib.contextmanager
def locked(path: Path, blocking: bool = True) -> Iterator[None]:
    """Holds the exclusive lock on `path`, a file that is deleted at the end.

    The operating system releases the lock when the process ends, even if it is killed. The file
    then remains; the next holder deletes it.

    Args:
        path: the file to create and to lock.
        blocking: wait while another process or thread holds the lock. Default: `True`.

    Raises:
        filelock.Timeout: the lock is held, and `blocking` is `False`.
        OSError: the file cannot be created, or its file system has no locks.
    """
    # A soft lock, filelock's substitute on file systems without locks, outlives a killed process.
    # The holder may release the lock in another thread.
    lock = filelock.FileLock(path, fallback_to_soft=False, thread_local=False)
    with lock.acquire(blocking=blocking):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # a process that waits for this file then locks a new one
