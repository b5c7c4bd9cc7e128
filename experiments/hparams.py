"""A run's configuration and final figures, for TensorBoard: as text, and a row of its HParams."""

import dataclasses
import enum
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams import api_pb2, summary

from conf.schema import Config, dotted
from experiments import run_folder

SUFFIX = ".hparams"  # of the event file, by which it is found again


def log_hparams(folder: Path, config: Config, results: dict) -> None:
    """Writes `config` as the text "config", every set key of it for HParams, and each final figure
    as the scalar "test/accuracy" etc.

    Written again, it replaces what it wrote before.

    Args:
        folder: the run's; its name in the table, so that runs of one configuration stay two rows.
        config: see `conf/schema.py`; keys that are null are left out.
        results: of `metrics.json`: a dictionary of numbers, or `None`, for "val" and for "test".
    """
    board = folder / "tensorboard"
    for written in board.glob(f"*{SUFFIX}"):
        written.unlink()
    with tf.summary.create_file_writer(str(board), filename_suffix=SUFFIX).as_default(step=0):
        lines = run_folder.as_yaml(config).splitlines()
        tf.summary.text("config", "".join(f"    {line}\n" for line in lines))
        hp.hparams(flat(config), trial_id=str(folder))
        for split in ("val", "test"):
            for name, value in (results[split] or {}).items():
                if isinstance(value, (int, float)):
                    tf.summary.scalar(f"{split}/{name}", value)
        end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
        tf.summary.experimental.write_raw_pb(end.SerializeToString())


def flat(config: Config) -> dict[str, bool | int | float | str]:
    """`{"seed": 0, "head.name": "average", ...}`, without null and what changes no result."""
    return {
        key: _plain(value)
        for key, value in dotted(dataclasses.asdict(config)).items()
        if value is not None and key != "force"
    }


def _plain(value):
    if isinstance(value, enum.Enum):
        return value.value
    return ", ".join(map(str, value)) if isinstance(value, list) else value
