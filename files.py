"""Files of a run: whole or absent where that matters, and what is said when the disk is full."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from errors import UserError


@contextlib.contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Tells how to go on where `path` cannot be written.

    Raises:
        UserError: in place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: writing failed ({error.strerror or error}); make room and start the run "
            "again with the same hydra.run.dir, it goes on from the checkpoint before"
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields where to write what `path` shall be, a file or a new folder: "unfinished-NAME".

    It takes the place of `path` at the end, and is removed if anything is raised.
    """
    unfinished = path.with_name(f"unfinished-{path.name}")
    _remove(unfinished)  # of a process that was killed
    try:
        yield unfinished
        if unfinished.is_file():
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
        os.replace(unfinished, path)
    finally:
        _remove(unfinished)


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    with atomic_path(path) as unfinished:
        unfinished.write_text(text)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
