"""Runs as a sweep leaves them: which finished, and how; which failed, and why."""

import dataclasses
import functools
import json
import re
from pathlib import Path

import yaml
from omegaconf import MISSING, OmegaConf

from conf.schema import Config, dotted

GROUPS = ("data", "backbone", "head", "loss", "optimizer")
NO_SETTING = {"seed", "force", "trainer.feature_dir", "trainer.checkpoint_seconds"}


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """A run's folder, read.

    Attributes:
        folder: where it lies.
        seed: what it was seeded with.
        config: all other keys that can change a result, dotted, as text. What an older run does not
            have is at its default.
        metrics: its `metrics.json`.
    """

    folder: Path
    seed: int
    config: dict[str, str]
    metrics: dict


def read_runs(folders: list[Path]) -> list[FinishedRun]:
    """The finished runs in or below `folders`, in the order in which a sweep started them.

    Of runs with the same configuration and seed the last counts. Of a post-mortem each "variant" of
    the head counts as a run of its own.
    """
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("metrics.json"), key=_by_number):
            config = path.parent / "config.yaml"
            # With an error it was asked for something else meanwhile.
            if (path.parent / "error.txt").exists() or not config.exists():
                continue
            keys = dotted(yaml.safe_load(config.read_text()))
            keys |= {key: value for key, value in _defaults().items() if key not in keys}
            settings = {key: _text(keys[key]) for key in keys if key not in NO_SETTING}
            metrics = json.loads(path.read_text())
            for name, values in metrics.get("variants", {None: metrics}).items():
                own = settings if name is None else settings | {"variant": name}
                run = FinishedRun(path.parent, keys["seed"], own, values)
                found[run.seed, tuple(sorted(own.items()))] = run
    return list(found.values())


@functools.cache
def _defaults() -> dict:
    """Every key of the schema that has a default, dotted."""
    schema = OmegaConf.to_container(OmegaConf.structured(Config), enum_to_str=True)
    return {key: value for key, value in dotted(schema).items() if value != MISSING}


def read_failures(folders: list[Path]) -> list[tuple[Path, str]]:
    """The runs in or below `folders` that an error ended, and its message."""
    return [
        (path.parent, (path.read_text().strip() or "no reason given").splitlines()[-1])
        for folder in folders
        for path in sorted(folder.rglob("error.txt"), key=_by_number)
    ]


def what_varied(runs: list[FinishedRun]) -> list[str]:
    """The keys in which `runs` differ, less those that follow from their group's name.

    Two heads differ in `head.name` and so in a dozen keys of `conf/head/`; only those that differ
    between runs of the same head too are named beside it. A key that only some runs have, and that
    the schema does not know, tells nothing by being absent.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.config))
    varied = [
        key for key in keys if len({run.config[key] for run in runs if key in run.config}) > 1
    ]
    return [key for key in varied if not _follows(key, runs)]


def _follows(key: str, runs: list[FinishedRun]) -> bool:
    group, _, name = key.partition(".")
    if group not in GROUPS or name == "name":
        return False
    pairs = {(run.config.get(f"{group}.name"), run.config.get(key)) for run in runs}
    return len(pairs) == len({group_name for group_name, _ in pairs})


def _text(value) -> str:
    """As one would write it on the command line."""
    return value if isinstance(value, str) else json.dumps(value)


def _by_number(path: Path) -> list:
    """Sorts "10-average" behind "9-average"."""
    parts = re.split(r"(\d+)", str(path))
    return [int(part) if part.isdigit() else part for part in parts]
