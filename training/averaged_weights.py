"""The average of the weights over the last steps, which is validated and kept."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

UPDATES = 10  # of the average, while its window passes


class AveragedWeights(keras.callbacks.Callback):
    """Averages the trained weights exponentially (Polyak and Juditsky 1992).

    The mean that `Normalization` subtracts follows these weights, so it is averaged too.

    The momentum of Keras' `use_ema` is relative to steps, so small data sets would need another
    one. Here the window is a number of epochs, and the average is updated about ten times in it, at
    most once a step.

    Keras validates the average: the weights are in the model only while it trains. Other callbacks
    read it in `applied`.

    Args:
        epochs: the window. The share of older steps in the average is about 1/e.
        steps: steps of an epoch.

    Attributes:
        values: the average of each of `averaged_variables`; empty before training.
    """

    def __init__(self, epochs: float, steps: int):
        super().__init__()
        self.every = max(1, round(epochs * steps / UPDATES))
        self.share = min(1.0, self.every / (epochs * steps))
        self.steps, self.first = steps, 0
        self.values: list[np.ndarray] = []

    def on_train_begin(self, logs=None):
        if not self.values:
            self.values = [variable.numpy() for variable in averaged_variables(self.model)]

    def on_epoch_begin(self, epoch, logs=None):
        self.first = epoch * self.steps

    def on_train_batch_end(self, batch, logs=None):
        if (self.first + batch + 1) % self.every == 0:
            weights = averaged_variables(self.model)
            self.values = [
                value + self.share * (variable.numpy() - value)
                for value, variable in zip(self.values, weights, strict=True)
            ]

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights in this block, once training began."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        if not self.values:
            return
        weights = averaged_variables(self.model)
        current = [variable.numpy() for variable in weights]
        for value, variable in zip(self.values, weights, strict=True):
            variable.assign(value)
        self.values = current


def averaged_variables(model: keras.Model) -> list[keras.Variable]:
    """Returns the trained weights of a model, and the mean that its standardisation subtracts."""
    means = [v for v in model.non_trainable_variables if v.path.endswith("standardize/mean")]
    return model.trainable_variables + means
