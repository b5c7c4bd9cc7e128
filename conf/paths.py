"""Paths as users write them: `~` is the home folder, and relative ones start where they stand."""

import os
from pathlib import Path

from conf.schema import Config
from errors import UserError

# The keys that may differ between machines.
PATH_KEYS = {"data.path", "reference.path", "backbone.weights", "trainer.feature_dir"}
WEIGHTS = ("imagenet", "random")  # values of backbone.weights that are no files


def expanded(text: str) -> Path:
    """The path with the home folder in place of `~`, which shells leave in `key=~/folder`."""
    return Path(os.path.expanduser(text))


def absolute(text: str) -> str:
    """The absolute path, which is the same from every folder."""
    path = expanded(text).absolute()
    return str(path.resolve() if ".." in path.parts else path)


def make_paths_absolute(config: Config) -> None:
    """Changes the values of `PATH_KEYS`, so that a run finds its files from every folder.

    Raises:
        UserError: one of them is empty.
    """
    groups = {"data": config.data, "reference": config.reference, "trainer": config.trainer}
    for key in sorted(PATH_KEYS - {"backbone.weights"}):
        group, name = key.split(".")
        text = getattr(groups[group], name, None)
        if text is not None:
            setattr(groups[group], name, absolute(_given(key, text)))
    weights = _given("backbone.weights", config.backbone.weights)
    if weights not in WEIGHTS:
        path = expanded(weights)
        config.backbone.weights = absolute(weights) if path.is_file() else str(path)


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


def _given(key: str, text: str) -> str:
    if not text.strip():
        raise UserError(f"{key}=: is empty; give a path, or leave the key out")
    return text
