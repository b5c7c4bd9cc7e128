"""Releases of data sets: recognises one by its files, and names the files that it lacks."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from conf.schema import DataConfig
from data.collection import Collection
from data.names import printable
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Release:
    """A data set as its authors released it, or as others copied it.

    Attributes:
        title: its name, for messages.
        lists: files that tell it from other folders, relative to its folder.
        folders: the names of the folder in which its archives unpack.
        source: where to get it.
        read: `read(folder, config, train_required)` reads the release in `folder`; the last
            argument is that of `ImageList.collection`. It raises a `UserError` that names what is
            missing or contradictory.
    """

    title: str
    lists: tuple[str, ...]
    folders: tuple[str, ...]
    source: str
    read: Callable[[Path, DataConfig, bool], Collection]

    def find(self, path: Path) -> Path | None:
        """Returns the folder of the release: `path`, or one of `folders` in it; or `None`.

        It is the one with most of the lists: other data may have a file of the same name.
        """
        counts = {
            folder: sum((folder / name).is_file() for name in self.lists)
            for folder in (path, *(path / name for name in self.folders))
        }
        best = max(counts, key=lambda folder: counts[folder])
        return best if counts[best] else None

    def description(self) -> str:
        """One line: by which files it is recognised, and where to get it."""
        names = dict.fromkeys(Path(name).name for name in self.lists)
        return f"{self.title} ({', '.join(names)}; from {self.source})"


def require(folder: Path, names: Iterable[str], source: str) -> None:
    """Checks that a release has some files.

    Raises:
        UserError: it names the missing ones.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"data.path={printable(folder)}: has no {', '.join(missing)}; restore it from {source}"
        )


def first_file(folder: Path, names: Iterable[str]) -> str | None:
    """Returns the first of the names that is a file, or `None`."""
    return next((name for name in names if (folder / name).is_file()), None)


def first_folder(folder: Path, names: tuple[str, ...]) -> str:
    """Returns the first of the names that is a folder, or else the last name."""
    return next((name for name in names if (folder / name).is_dir()), names[-1])
