"""What finished and failed runs leave behind, as far as a summary reads it."""

import json
from pathlib import Path

import yaml

from conf.schema import dotted


def finished_run(
    folder: Path,
    test: float,
    val: float | None = None,
    *,
    seed: int = 0,
    figure: str = "accuracy",
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
    found = {"test": {figure: test}, "val": None if val is None else {figure: val}}
    (folder / "metrics.json").write_text(json.dumps(found))


def failed_run(folder: Path, reason: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "error.txt").write_text(f"{reason}\n")
