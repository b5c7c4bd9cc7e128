"""trainer.precision=auto: bfloat16 if it is faster on this machine and the features agree."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

import files
from conf.schema import Config, Precision
from data.datasets import Dataset
from data.inputs import ImageInputs
from models.backbones import build_backbone
from models.parts import dtype_policy
from training.distributed.workers import Workers

TOLERANCE = 0.02  # relative error of the features: norm of the difference over norm
LEAST_SPEEDUP = 1.2  # smaller speed-ups may be noise; runs on one machine would choose differently
IMAGES = 8
ROUNDS = 3

logger = logging.getLogger(__name__)


def resolve_precision(config: Config, dataset: Dataset, folder: Path, workers: Workers) -> Config:
    """Replaces `trainer.precision=auto` with the better precision on this machine.

    The backbone computes a few images in float32 and in bfloat16. bfloat16 is chosen if it is at
    least `LEAST_SPEEDUP` times as fast and its features agree within `TOLERANCE`. The choice is
    stored in the run's folder, so that a resumed run keeps it.

    Args:
        config: returned unchanged unless its precision is `auto`.
        dataset: the source of the images.
        folder: the run's folder.
        workers: the chief measures, the others follow it.

    Raises:
        UserError: see `build_backbone`; or an image cannot be decoded.
    """
    if config.trainer.precision is not Precision.auto:
        return config
    path = folder / "checkpoints" / "precision.json"
    if workers.is_chief and not path.exists():
        files.write_text(path, json.dumps(_measure(config, dataset).value))
    chosen = files.read_json(path) if workers.is_chief else None
    precision = Precision(workers.broadcast_object(chosen))
    trainer = dataclasses.replace(config.trainer, precision=precision)
    return dataclasses.replace(config, trainer=trainer)


def _measure(config: Config, dataset: Dataset) -> Precision:
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
    logger.info(
        f"trainer.precision=auto: {chosen.value}; bfloat16 is {speedup:.1f} times as fast on this "
        f"machine, and its features differ by {difference:.1%} (limit: {TOLERANCE:.0%})"
    )
    return chosen


def _forward(config: Config, precision: Precision) -> Callable:
    with dtype_policy(precision.value):
        backbone = build_backbone(config.backbone, config.data.image_size)
    return tf.function(lambda batch: tf.cast(backbone(batch, training=False), tf.float32))


def _seconds(forward: Callable, images: tf.Tensor) -> float:
    started = time.perf_counter()
    forward(images).numpy()
    return time.perf_counter() - started
