"""A run's configuration and final metrics for TensorBoard: as text, and as a row of HParams."""

import dataclasses
import textwrap
from pathlib import Path

from tensorboard.plugins.hparams import api, api_pb2, summary
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb

import run_folder
from conf.schema import Config, dotted
from event_file import EventFile


def log_hparams(folder: Path, config: Config, results: dict) -> None:
    """Writes the text "config", one hyperparameter a key, and scalars such as "Test/accuracy".

    HParams shows the first five scalars by default, sorted by name. The capital letter puts the
    final metrics before "epoch_accuracy". Secondary metrics have a small one, as in
    "test/macro_f1": otherwise "Val/accuracy" would not be among the five. If a run is logged
    again, the last values count.

    Args:
        folder: the run's folder. HParams shows one row a folder, even for equal configurations.
        config: see `conf/schema.py`.
        results: the content of `metrics.json`: "val" and "test" are a dictionary or `None`. Counts
            are not logged.
    """
    metrics = {
        f"{split if _is_secondary(name) else split.capitalize()}/{name}": value
        for split in ("val", "test")
        for name, value in (results[split] or {}).items()
        if isinstance(value, float)
    }
    with EventFile(folder / "tensorboard") as events:
        text = text_pb("config", textwrap.indent(run_folder.as_yaml(config), "    "))
        start = api.hparams_pb(flat(config), trial_id=f"{folder.name} in {folder.parent}")
        end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        events.write([text, start, *map(scalar_pb, metrics, metrics.values()), end])


def _is_secondary(metric: str) -> bool:
    """Whether it is a macro metric, a top-k accuracy of another k than 5, or one of groups."""
    other_accuracy = metric.endswith("_accuracy") and metric != "top5_accuracy"
    return other_accuracy or metric in ("macro_f1", "mistake_distance")


def flat(config: Config) -> dict[str, bool | int | float | str]:
    """Returns `{"seed": 0, "head.name": "average", ...}`, without `force`.

    Null becomes the text "null". HParams does not show that runs differ in a key if one of them
    lacks it.
    """
    keys = dotted(dataclasses.asdict(config))
    return {key: _plain(value) for key, value in keys.items() if key != "force"}


def _plain(value):
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "null" if value is None else getattr(value, "value", value)
