"""Writes files so that they are whole or absent, and explains why writing failed."""

import contextlib
import csv
import glob
import io
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import UserError, os_reason

ABANDONED_SECONDS = 3600  # no file takes as long to write
RESUME = "start the run again with the same hydra.run.dir: it resumes from its last checkpoint"


@contextlib.contextmanager
def explain_write_errors(path: Path, advice: str = RESUME) -> Iterator[None]:
    """Turns an OSError of writing `path` into advice.

    Args:
        path: the file or folder.
        advice: what to do when there is room. Default: resume the run, whose file it is.

    Raises:
        UserError: it names the file and the cause, and says what to do.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: writing failed ({os_reason(error)}); make room on the disk, or make the "
            f"folder writable, and {advice}"
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path, advice: str = RESUME) -> Iterator[Path]:
    """Yields a temporary path, and renames it to `path` at the end.

    The caller writes a file or a new folder there. If anything is raised, it is deleted, and `path`
    stays unchanged. Several processes may write the same file at once: the last one wins. The
    folders above `path` are created.

    The temporary path is "unfinished-NAME", in a folder "unfinished-NAME-..." of its own. Folders
    that killed processes left are deleted after `ABANDONED_SECONDS`, when `path` is written again.

    Raises:
        UserError: the caller or this function raised an OSError; see `explain_write_errors`.
    """
    with explain_write_errors(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in path.parent.glob(f"unfinished-{glob.escape(path.name)}-*"):
            with contextlib.suppress(OSError):  # such as when another process deletes it too
                if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(folder)
        with _unfinished(path) as unfinished:
            yield unfinished
            if unfinished.is_file():
                with unfinished.open("rb+") as file:
                    os.fsync(file.fileno())  # else a power cut could leave an empty file
            os.replace(unfinished, path)


@contextlib.contextmanager
def _unfinished(path: Path) -> Iterator[Path]:
    """Yields the temporary path of `atomic_path`, and deletes its folder at the end."""
    with tempfile.TemporaryDirectory(
        prefix=f"unfinished-{path.name}-", dir=path.parent, ignore_cleanup_errors=True
    ) as temporary:
        yield Path(temporary, f"unfinished-{path.name}")


def require_writable(path: Path, advice: str) -> None:
    """Checks that `atomic_path` can write `path`, which stays unchanged.

    Call it before long work whose result is written there. The folders above `path` are created.

    Raises:
        UserError: see `explain_write_errors`.
    """
    with explain_write_errors(path, advice):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _unfinished(path) as unfinished:
            unfinished.touch()


def write_text(path: Path, text: str, advice: str = RESUME) -> None:
    """Writes a UTF-8 file whole or not at all.

    Characters that UTF-8 lacks (lone surrogates) are escaped. Line ends stay as they are.

    Raises:
        UserError: see `explain_write_errors`.
    """
    with atomic_path(path, advice) as unfinished:
        unfinished.write_text(text, "utf-8", "backslashreplace", newline="")


def write_csv(path: Path, header: list[str], lines: list[list], advice: str = RESUME) -> None:
    """Writes a table whole or not at all.

    Raises:
        UserError: see `explain_write_errors`.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *lines])
    write_text(path, text.getvalue(), advice)


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def require_room(path: Path, size: int) -> None:
    """Checks that a new file at `path` can have `size` bytes.

    Call it before a library writes that cannot end cleanly on a full disk.

    Raises:
        OSError: the disk, or what the user may take of it, is too small.
    """
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        path.unlink()
