"""The learning rate over a stage: constant, step, cosine or plateau, each with warm-up."""

import math
from collections.abc import Sequence

import keras

from conf.schema import OptimizerConfig, Schedule


def schedule_factor(config: OptimizerConfig, progress: float, epochs: int) -> float:
    """The factor on the learning rate after `progress` of `epochs` epochs; plateau's drops apart.

    Warm-up is linear over `config.warmup_epochs`; cosine falls to 0 over what is left.
    """
    if progress < config.warmup_epochs:
        return progress / config.warmup_epochs
    if config.schedule is Schedule.step:
        return config.factor ** (progress // config.step_epochs)
    if config.schedule is Schedule.cosine:
        left = max(epochs - config.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * (progress - config.warmup_epochs) / left))
    return 1.0


def learning_rate(model: keras.Model) -> float:
    """At which a compiled model takes its next step."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


class LearningRateSchedule(keras.callbacks.Callback):
    """Sets the learning rate before every step.

    Keras' own schedules cannot warm up into `ReduceLROnPlateau`, which needs a rate that is set
    from outside; this one callback serves all four kinds alike.

    Args:
        config: see `conf/schema.py`.
        learning_rate: the rate that the factors multiply.
        steps: batches in an epoch.
        first_epoch: where this stage starts to count.
        epochs: how many epochs it has.
        past: the curves' values of its epochs so far, where it goes on from an interruption.
    """

    def __init__(
        self,
        config: OptimizerConfig,
        learning_rate: float,
        steps: int,
        first_epoch: int,
        epochs: int,
        past: Sequence[dict] = (),
    ):
        super().__init__()
        self.config, self.learning_rate, self.steps = config, learning_rate, steps
        self.first_epoch, self.epochs = first_epoch, epochs
        self.epoch, self.drops, self.best, self.waited = first_epoch, 0, math.inf, 0
        self._set: float | None = None
        for number, logs in enumerate(past):
            self.on_epoch_end(first_epoch + number, logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        # The first step of a warm-up takes a whole step's share: a rate of 0 would waste it.
        progress = self.epoch - self.first_epoch + (batch + (self._warming())) / self.steps
        factor = schedule_factor(self.config, progress, self.epochs)
        rate = self.learning_rate * factor * self.config.factor**self.drops
        if rate != self._set:  # setting it takes a tenth of a small step
            self.model.optimizer.learning_rate = self._set = rate

    def on_epoch_end(self, epoch, logs=None):
        if self.config.schedule is not Schedule.plateau:
            return
        watched = logs.get("val_loss", logs["loss"])
        self.waited = 0 if watched < self.best else self.waited + 1
        self.best = min(self.best, watched)
        if self.waited >= self.config.plateau_epochs:
            self.drops, self.waited = self.drops + 1, 0

    def _warming(self) -> bool:
        return self.epoch - self.first_epoch < self.config.warmup_epochs
