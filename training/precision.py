"""trainer.precision=auto: bfloat16 where this machine is faster in it and the features agree."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import files
from conf.schema import Config, Precision
from data.datasets import Dataset
from data.inputs import ImageInputs
from models.backbones import build_backbone
from training.distributed.workers import workers_of

TOLERANCE = 0.02  # of the features: norm of the difference over norm
LEAST_SPEEDUP = 1.2  # less may be chance, and would have runs of one machine choose differently
IMAGES = 8
ROUNDS = 3


def resolve_precision(config: Config, dataset: Dataset, folder: Path) -> Config:
    """The configuration with `trainer.precision=auto` replaced by what is measured best here.

    The backbone reads a few of the data set's pictures in float32 and in bfloat16; the latter is
    taken where it is at least `LEAST_SPEEDUP` times as fast and agrees within `TOLERANCE`. The
    choice is kept in the run's folder: a run that goes on does not choose anew.

    Args:
        config: returned as it is unless its precision is `auto`.
        dataset: where the pictures come from.
        folder: the run's.

    Raises:
        UserError: see `build_backbone`; or a picture cannot be decoded.
    """
    if config.trainer.precision is not Precision.auto:
        return config
    path = folder / "checkpoints" / "precision.json"
    workers = workers_of(config)
    if workers.is_chief and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(path, json.dumps(_measured(config, dataset).value))
    chosen = json.loads(path.read_text()) if workers.is_chief else None
    precision = Precision(workers.broadcast_object(chosen))
    trainer = dataclasses.replace(config.trainer, precision=precision)
    return dataclasses.replace(config, trainer=trainer)


def _measured(config: Config, dataset: Dataset) -> Precision:
    indices = dataset.indices[:: -(-len(dataset.indices) // IMAGES)]
    images = tf.constant(ImageInputs(dataset.images, config.data).evaluation(indices))
    forwards = {
        precision: _forward(config, precision)
        for precision in (Precision.float32, Precision.mixed_bfloat16)
    }
    exact, rounded = (forward(images).numpy() for forward in forwards.values())  # traces too
    seconds = [[_seconds(forward, images) for forward in forwards.values()] for _ in range(ROUNDS)]
    slow, fast = np.min(seconds, axis=0)
    return _choice(slow / fast, float(np.linalg.norm(rounded - exact) / np.linalg.norm(exact)))


def _choice(speedup: float, difference: float) -> Precision:
    good = speedup >= LEAST_SPEEDUP and difference <= TOLERANCE
    chosen = Precision.mixed_bfloat16 if good else Precision.float32
    print(
        f"trainer.precision=auto: {chosen.value}; bfloat16 is {speedup:.1f} times as fast here, "
        f"its features differ by {difference:.1%} (at most {TOLERANCE:.0%} is accepted)",
        flush=True,
    )
    return chosen


def _forward(config: Config, precision: Precision) -> Callable:
    keras.config.set_dtype_policy(precision.value)
    backbone = build_backbone(config.backbone, config.data.image_size)
    return tf.function(lambda batch: tf.cast(backbone(batch, training=False), tf.float32))


def _seconds(forward: Callable, images: tf.Tensor) -> float:
    started = time.perf_counter()
    forward(images).numpy()
    return time.perf_counter() - started
