"""Reads the runs of a sweep: configuration and metrics of those that finished, errors of others."""

import dataclasses
import functools
import re
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, OmegaConf

import files
from conf.paths import PATH_KEYS, located
from conf.schema import (
    RENAMED,
    WITHOUT_EFFECT,
    Config,
    as_text,
    dotted,
    stage_2_of_earlier_versions,
)

GROUPS = ("data", "backbone", "head", "loss", "optimizer", "augment")
NO_SETTING = {"seed", "trainer.checkpoint_seconds", *WITHOUT_EFFECT, *RENAMED}


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: the run's folder.
        seed: the run's seed.
        config: all other keys that can change a result, dotted, as text. A key that an older run's
            `config.yaml` lacks has its default value.
        metrics: the content of `metrics.json`.
    """

    folder: Path
    seed: int
    config: dict[str, str]
    metrics: dict


def read_runs(folders: list[Path]) -> list[FinishedRun]:
    """Returns the finished runs in or below `folders`, in the order in which a sweep started them.

    If several runs have the same configuration and seed, the last one is returned. Each variant of
    a post-mortem is returned as a run of its own, with the key "variant".
    """
    runs = {}
    for folder in folders:
        for path in sorted(folder.rglob("metrics.json"), key=_by_number):
            config = path.parent / "config.yaml"
            # error.txt means that the folder was then used for another configuration, which failed.
            if (path.parent / "error.txt").exists() or not config.exists():
                continue
            keys = dotted(yaml.safe_load(config.read_text(encoding="utf-8")))
            keys |= stage_2_of_earlier_versions(keys)
            keys |= _defaults() | keys  # the file's values win
            settings = {key: as_text(keys[key]) for key in keys if key not in NO_SETTING}
            # Earlier versions stored relative paths.
            paths = [key for key in PATH_KEYS & settings.keys() if keys[key]]
            settings |= {key: located(key, settings[key]) for key in paths}
            metrics = files.read_json(path)
            for name, values in metrics.get("variants", {None: metrics}).items():
                own = settings if name is None else settings | {"variant": name}
                run = FinishedRun(path.parent, keys["seed"], own, values)
                runs[run.seed, tuple(sorted(own.items()))] = run
    return list(runs.values())


def read_failures(folders: list[Path]) -> list[tuple[Path, str]]:
    """Returns the runs in or below `folders` that failed, each with the last line of its error."""
    return [
        (
            path.parent,
            (path.read_text("utf-8", "replace").strip() or "no reason given").splitlines()[-1],
        )
        for folder in folders
        for path in sorted(folder.rglob("error.txt"), key=_by_number)
    ]


def what_varied(runs: list[FinishedRun]) -> list[str]:
    """Returns the keys in which `runs` differ, without those that follow from their group's name.

    Two heads differ in `head.name`, and so in a dozen keys of `conf/head/`. Such a key is returned
    only if it differs between runs with the same head. A key that the schema does not contain is
    compared between the runs that have it.
    """
    keys = dict.fromkeys(key for run in runs for key in run.config)
    varied = [key for key in keys if len({run.config.get(key) for run in runs} - {None}) > 1]
    return [key for key in varied if not _follows(key, runs)]


def _follows(key: str, runs: list[FinishedRun]) -> bool:
    group, _, name = key.partition(".")
    if group not in GROUPS or name == "name":
        return False
    pairs = {(run.config.get(f"{group}.name"), run.config.get(key)) for run in runs}
    return len(pairs) == len({group_name for group_name, _ in pairs})


@functools.cache
def _defaults() -> dict[str, Any]:
    """Every key of the schema that has a default, dotted."""
    schema = dotted(OmegaConf.structured(Config))
    return {key: value for key, value in schema.items() if value != MISSING}


def _by_number(path: Path) -> list[int | str]:
    """Sorts "10-average" after "9-average"."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if part.isdigit() else part for part in parts]
