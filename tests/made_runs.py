"""Writes the files of finished and failed runs that a summary reads."""

import json
from pathlib import Path

import yaml

from conf.schema import PRIMARY_METRIC, Task, dotted


def finished_run(
    folder: Path,
    test: float,
    val: float | None = None,
    *,
    seed: int = 0,
    task: Task = Task.classification,
    **changes,
) -> None:
    """Writes a run with one metric; `head__name="average"` changes a key of its configuration."""
    config = {
        "seed": seed,
        "force": False,
        "task": task.value,
        "data": {"name": "birds", "path": None},
        "backbone": {"name": "vgg16", "tap": None},
        "head": {"name": "bilinear", "root": None, "l2": True},
        "optimizer": {"name": "sgd", "learning_rate": 10.0},
        "trainer": {"epochs": 3, "feature_dir": "features"},
        "augment": {"name": "none", "operations": 0, "mixup": 0.0},
    }
    for key, value in changes.items():
        group, _, name = key.rpartition("__")
        assert key.replace("__", ".") in dotted(config)
        (config[group] if group else config)[name] = value
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    metric = PRIMARY_METRIC[task]
    metrics = {"test": {metric: test}, "val": None if val is None else {metric: val}}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def failed_run(folder: Path, reason: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text(f"{reason}\n")


def made_sweep(folder: Path) -> Path:
    """Writes a sweep of two heads with two seeds each, and a job that failed."""
    finished_run(folder / "0", test=0.25, val=0.5, head__name="average")
    finished_run(folder / "1", test=0.35, val=0.7, head__name="average", seed=1)
    finished_run(folder / "2", test=0.8, val=0.9)
    finished_run(folder / "3", test=0.9, val=0.8, seed=1)
    failed_run(folder / "4", "backbone.tap=nowhere: no such layer")
    return folder
