"""Writes files so that they are whole or absent, and explains why writing failed."""

import contextlib
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from errors import UserError

ABANDONED_SECONDS = 3600  # no file takes as long to write


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of writing `path`, a file of a run, into advice.

    Raises:
        UserError: it names the file and the cause, and says how to resume the run.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: writing failed ({error.strerror or error}); make room on the disk, or make "
            "the folder writable, and start the run again with the same hydra.run.dir: it resumes "
            "from its last checkpoint"
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path, and renames it to `path` at the end.

    The caller writes a file or a new folder there. If anything is raised, it is deleted, and `path`
    stays unchanged. Several processes may write the same file at once: the last one wins.

    The temporary path is "unfinished-NAME", in a folder "unfinished-NAME-..." of its own. Folders
    that killed processes left are deleted after `ABANDONED_SECONDS`, when `path` is written again.
    """
    for folder in path.parent.glob(f"unfinished-{glob.escape(path.name)}-*"):
        with contextlib.suppress(OSError):  # such as when another process deletes it too
            if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(
        prefix=f"unfinished-{path.name}-", dir=path.parent, ignore_cleanup_errors=True
    ) as temporary:
        unfinished = Path(temporary, f"unfinished-{path.name}")
        yield unfinished
        if unfinished.is_file():
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())  # else a power cut could leave an empty file
        os.replace(unfinished, path)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with atomic_path(path) as unfinished:
        unfinished.write_text(text)
