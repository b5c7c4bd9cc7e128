"""A run's configuration and final figures, for TensorBoard: as text, and a row of its HParams."""

import dataclasses
import enum
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams import api_pb2, summary

import run_folder
from conf.schema import Config, dotted


def log_hparams(folder: Path, config: Config, results: dict) -> None:
    """Writes `config` as the text "config" and, key by key, for HParams, and each final figure as
    the scalar "Test/accuracy" etc.

    Of all scalars, sorted by name, the table shows the first five unasked: the capital puts these
    before "epoch_accuracy". Written again, it replaces what it wrote before.

    Args:
        folder: the run's; named in the table, so that runs of one configuration stay two rows.
        config: see `conf/schema.py`.
        results: of `metrics.json`: a dictionary, or `None`, for "val" and for "test". Counts are
            no figures.
    """
    board = folder / "tensorboard"
    writer = tf.summary.create_file_writer(str(board))
    with writer.as_default(step=0):
        lines = run_folder.as_yaml(config).splitlines()
        tf.summary.text("config", "".join(f"    {line}\n" for line in lines))
        hp.hparams(flat(config), trial_id=f"{folder.name} in {folder.parent}")
        for split in ("val", "test"):
            for name, value in (results[split] or {}).items():
                if isinstance(value, float):
                    tf.summary.scalar(f"{split.capitalize()}/{name}", value)
        end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        tf.summary.experimental.write_raw_pb(end.SerializeToString())


def flat(config: Config) -> dict[str, bool | int | float | str]:
    """`{"seed": 0, "head.name": "average", ...}`, without what changes no result.

    Null is "null": left out, it would be no value that a key can have besides another, and the
    table would not show that runs differ in it.
    """
    return {
        key: _plain(value)
        for key, value in dotted(dataclasses.asdict(config)).items()
        if key != "force"
    }


def _plain(value):
    if value is None:
        return "null"
    if isinstance(value, enum.Enum):
        return value.value
    return ", ".join(map(str, value)) if isinstance(value, list) else value
