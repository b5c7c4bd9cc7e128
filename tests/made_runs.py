"""What finished and failed runs leave behind, as far as a summary reads it."""

import json
from pathlib import Path

import yaml

from commands import resuming
from conf.schema import Config, Strategy, Task, dotted
from run_folder import Results
from train import train
from training.distributed.workers import connect


def run_steps(config: Config, folder: Path) -> Results:
    """Enters a folder and takes the steps of a run in it, as `train.py` does."""
    results = resuming.enter(folder, config)
    return results or train(config, folder, connect(config.task, config.trainer.strategy))


def one_worker():
    """The workers of a run in one process on one device."""
    return connect(Task.classification, Strategy.none)


def finished_run(
    folder: Path,
    test: float,
    val: float | None = None,
    *,
    seed: int = 0,
    metric: str = "accuracy",
    **changes,
) -> None:
    """A run of a configuration like the program's; `head__name="average"` changes a key of it."""
    config = {
        "seed": seed,
        "force": False,
        "task": "classification",
        "data": {"name": "birds", "path": None},
        "head": {"name": "bilinear", "root": None, "l2": True},
        "optimizer": {"name": "sgd", "learning_rate": 10.0},
        "trainer": {"epochs": 3, "feature_dir": "features"},
    }
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        assert key.replace("__", ".") in dotted(config)
        (config[group] if group else config)[name] = value
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    record = {"test": {metric: test}, "val": None if val is None else {metric: val}}
    (folder / "metrics.json").write_text(json.dumps(record))


def failed_run(folder: Path, reason: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text(f"{reason}\n")
