"""Enters a run's folder: a new one, one to resume, or one that holds a finished run."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

import files
import run_folder
from commands.run_lock import run_lock
from conf.overrides import parse
from conf.paths import PATH_KEYS, same_place
from conf.schema import WITHOUT_EFFECT, Config, dotted
from conf.validation import checked
from errors import UserError

# The files that a run leaves which has trained nothing yet, and those which show that it has.
UNTRAINED = (
    "config.yaml", *run_folder.SPLITS, *run_folder.CONTENT, "checkpoints/precision.json"
)  # fmt: skip
TRAINED = ("metrics.json", "metrics.jsonl", "record.json", "*.h5", "*.keras")

logger = logging.getLogger(__name__)


def configuration(folder: Path, composed: DictConfig, overrides: list[str]) -> Config:
    """Returns the configuration to run.

    If the command line sets no key but `force`, and the folder holds a run, this is that run's own
    configuration, otherwise `composed`. Both are checked.

    Args:
        folder: the run's folder.
        composed: the configuration that Hydra composed.
        overrides: `key=value` texts of the command line, without Hydra's own.
    """
    resumes = (folder / "config.yaml").is_file()
    if resumes and all(override.key_or_group == "force" for override in parse(overrides)):
        return run_folder.read_config(folder, overrides)
    return checked(composed)


@contextlib.contextmanager
def entered(folder: Path, config: Config) -> Iterator[run_folder.Results | None]:
    """Yields the result of `enter`, and keeps other processes out of the folder meanwhile.

    Reporting a finished run takes no lock, because it writes nothing.

    Raises:
        RunInProgress: another process trains in the folder.
        UserError: see `enter`.
    """
    reports = run_folder.read_results(folder) is not None and not config.force
    with contextlib.nullcontext() if reports else run_lock(folder):
        yield enter(folder, config)


def enter(folder: Path, config: Config) -> run_folder.Results | None:
    """Prepares a run's folder; `config.force` empties it first.

    A run that failed before it trained anything leaves nothing to resume: a new configuration and
    other images replace its own.

    Returns:
        The results, if the folder holds the finished run.

    Raises:
        UserError: the folder holds a run of another configuration.
    """
    path, stored = folder / "config.yaml", None
    if config.force:
        _empty(folder)
    elif path.exists():
        stored = run_folder.stored_config(folder)
        _compare(folder, stored, config)
    _delete(folder / "error.txt")
    results = run_folder.read_results(folder)
    if results is not None:
        logger.info("%s is finished; force=true repeats it", folder)
    if not path.exists() or (results is None and stored is not None and _moved(stored, config)):
        files.write_text(path, run_folder.as_yaml(config))
    return results


def _compare(folder: Path, stored: DictConfig, config: Config) -> None:
    """Refuses `config` if the folder holds a trained run of another configuration."""
    changes = _changes(stored, config)
    trained = any(any(folder.rglob(name)) for name in TRAINED)
    if changes and trained:
        raise UserError(
            f"{folder}: holds a run of another configuration ({changes}); give the same one, "
            "another hydra.run.dir, or force=true to overwrite it"
        )
    if changes:
        logger.info("%s: nothing was trained there; changed keys: %s", folder, changes)
    if not trained:
        for name in UNTRAINED:
            _delete(folder / name)


def _changes(stored: DictConfig, config: Config) -> str:
    """Describes the differences of two configurations: "data.path: a -> b, seed: 0 -> 1"."""
    old, new = dotted(stored), dotted(config)
    return ", ".join(
        f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}"
        for key in {**old, **new}
        if old.get(key, "unset") != new.get(key, "unset")
        and key not in WITHOUT_EFFECT
        and not _same_place(key, old.get(key), new.get(key))
    )


def _same_place(key: str, old: str | None, new: str | None) -> bool:
    return key in PATH_KEYS and bool(old) and bool(new) and same_place(str(old), str(new))


def _moved(stored: DictConfig, config: Config) -> bool:
    """Whether a path was stored relative, as by earlier versions, or has moved since."""
    old, new = dotted(stored), dotted(config)
    changed = [new[key] for key in PATH_KEYS & new.keys() if old.get(key) != new[key]]
    return bool(changed) and all(map(os.path.exists, changed))


def _empty(folder: Path) -> None:
    """Deletes everything that a run in this folder would resume from."""
    folders = ("checkpoints", "dynamics", "tensorboard", "targets", "variants")
    names = ("metrics.json", "metrics.jsonl", "config.yaml", "model.keras", "target.json")
    for name in (*names, *run_folder.SPLITS, *run_folder.CONTENT, *folders):
        _delete(folder / name)


def _delete(path: Path) -> None:
    """Deletes a file or folder, if it exists: otherwise a read-only file system raises an error."""
    with files.explain_write_errors(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            path.unlink()
