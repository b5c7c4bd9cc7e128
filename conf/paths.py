"""Paths as users write them: `~` is the home folder, and relative ones start where they stand."""

import os
from pathlib import Path

from conf.schema import Config
from errors import UserError

# The keys that may differ between machines.
PATH_KEYS = {
    "data.path",
    "data.root",
    "reference.path",
    "reference.root",
    "backbone.preset",
    "backbone.weights",
    "trainer.feature_dir",
}
WEIGHTS = ("imagenet", "random")  # values of backbone.weights that are no files


def expanded(text: str) -> Path:
    """The path with the home folder in place of `~`, which shells leave in `key=~/folder`."""
    return Path(os.path.expanduser(text))


def absolute(text: str) -> str:
    """The absolute path, which is the same from every folder."""
    path = expanded(text).absolute()
    return str(path.resolve() if ".." in path.parts else path)


def located(key: str, text: str) -> str:
    """The value of one of `PATH_KEYS` as a configuration stores it."""
    if key == "backbone.weights" and (text in WEIGHTS or not expanded(text).is_file()):
        return text if text in WEIGHTS else str(expanded(text))
    if key == "backbone.preset" and not expanded(text).is_dir():  # a name or an address
        return text if "://" in text else str(expanded(text))
    return absolute(text)


def make_paths_absolute(config: Config) -> None:
    """Changes the values of `PATH_KEYS`, so that a run finds its files from every folder.

    Raises:
        UserError: one of them is empty.
    """
    for key in sorted(PATH_KEYS):
        group, name = key.split(".")
        settings = getattr(config, group)
        text = settings and getattr(settings, name)
        if text is None:
            continue
        if not text.strip():
            raise UserError(f"{key}=: is empty; give a path, or leave the key out")
        setattr(settings, name, located(key, text))


def same_place(stored: str, given: str) -> bool:
    """Whether two values of a path key mean the same file or folder.

    They do if both lead to it, or if it was moved: the stored path does not exist any more, and the
    given one has the same name.
    """
    stored, given = absolute(stored), absolute(given)
    if stored == given:
        return True
    if not os.path.exists(stored):
        return os.path.exists(given) and os.path.basename(stored) == os.path.basename(given)
    return os.path.exists(given) and os.path.samefile(stored, given)
