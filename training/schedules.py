"""The learning rate of a stage: constant, step, cosine or plateau, each with warm-up."""

import math
from collections.abc import Sequence

import keras

from conf.schema import OptimizerConfig, Schedule


def schedule_factor(config: OptimizerConfig, progress: float, epochs: int) -> float:
    """Returns the factor on the learning rate after `progress` of `epochs` epochs.

    It rises linearly over `config.warmup_epochs`; cosine then falls to 0 over the remaining epochs.
    The drops of plateau are not included, since they depend on the loss.
    """
    if progress < config.warmup_epochs:
        return progress / config.warmup_epochs
    if config.schedule is Schedule.step:
        return config.factor ** (progress // config.step_epochs)
    if config.schedule is Schedule.cosine:
        remaining = max(epochs - config.warmup_epochs, 1e-9)
        return 0.5 * (1 + math.cos(math.pi * (progress - config.warmup_epochs) / remaining))
    return 1.0


def learning_rate(model: keras.Model) -> float:
    """Returns the learning rate of a compiled model's next step."""
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


class LearningRateSchedule(keras.callbacks.Callback):
    """Sets the learning rate before every step, or of several steps before TensorFlow takes them.

    Keras' own schedules cannot be combined with `ReduceLROnPlateau`, which needs a learning rate
    that callbacks set. So this callback sets it for all four kinds.

    Args:
        config: see `conf/schema.py`.
        learning_rate: learning rate that the factors multiply.
        steps: steps of an epoch.
        first_epoch: number of epochs of earlier stages.
        epochs: number of epochs of this stage.
        past: metrics of the epochs of this stage before an interruption. Default: none.
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
        self._current: float | None = None
        for number, logs in enumerate(past):
            self.on_epoch_end(first_epoch + number, logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        several = self.model.steps_per_execution
        if several > 1:
            self.model.optimizer.rates.assign([self._rate(batch + i) for i in range(several)])
            return
        rate = self._rate(batch)
        if rate != self._current:  # setting it takes a tenth of a small step
            self.model.optimizer.learning_rate = self._current = rate

    def _rate(self, batch: int) -> float:
        epoch = self.epoch - self.first_epoch
        # During warm-up the end of the step counts: at its beginning the first rate would be 0.
        progress, warmup = epoch + batch / self.steps, self.config.warmup_epochs
        if progress < warmup:
            progress = min(progress + 1 / self.steps, warmup)
        factor = schedule_factor(self.config, progress, self.epochs)
        return self.learning_rate * factor * self.config.factor**self.drops

    def on_epoch_end(self, epoch, logs=None):
        if self.config.schedule is not Schedule.plateau:
            return
        loss = logs.get("val_loss", logs["loss"])
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)
        if self.waited >= self.config.plateau_epochs:
            self.drops, self.waited = self.drops + 1, 0
