"""Only one process trains in a run's folder."""

import contextlib
import datetime
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

import files
from data.locks import locked
from errors import UserError, os_reason

FILE_NAME = "run.lock"  # in the run's folder, while it is trained

logger = logging.getLogger(__name__)


class RunInProgress(UserError):
    """Another process trains in the folder."""


@contextlib.contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Holds the lock of a run's folder.

    The operating system releases it when the process ends, even if it is killed. The file then
    remains, and does not keep the next process out. On a file system without locks, one line warns
    that nothing keeps other processes out.

    Raises:
        RunInProgress: another process holds the lock; the message says which one, and since when.
        UserError: the folder cannot be written.
    """
    path = folder / FILE_NAME
    with contextlib.ExitStack() as stack:
        holder = _holder(path)
        try:
            stack.enter_context(locked(path, blocking=False))
        except filelock.Timeout as error:
            with files.explain_write_errors(path):
                path.touch()  # filelock waits where /proc and the like accept no files
            raise RunInProgress(
                f"{folder}: in use by {holder}; wait until it ends, or give another hydra.run.dir"
            ) from error
        except OSError as error:
            with files.explain_write_errors(path):
                path.touch()
            logger.warning(
                "warning: %s: no file locks there (%s); do not start this run twice",
                folder,
                os_reason(error),
            )
        else:
            with files.explain_write_errors(path):
                path.write_text(_this_process(), encoding="utf-8")
        yield


def in_progress(folder: Path) -> list[Path]:
    """Returns the runs in or below a folder in which a process trains."""
    running = []
    for path in sorted(folder.rglob(FILE_NAME)):
        try:
            with locked(path, blocking=False):  # also deletes the file of a killed process
                pass
        except filelock.Timeout:
            running.append(path.parent)
        except OSError:  # no locks, or a folder of somebody else
            continue
    return running


def _this_process() -> str:
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now}"


def _holder(path: Path) -> str:
    """Who wrote the lock file, as far as it is known."""
    try:
        return path.read_text("utf-8", "replace").strip() or "another process"
    except OSError:
        return "another process"
