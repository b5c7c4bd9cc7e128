"""How training moves: norms and histograms of gradients, updates and weights, for TensorBoard."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

MOST_NUMBERS = 20_000  # of a variable, evenly spaced, in a histogram


class Dynamics(keras.callbacks.Callback):
    """Logs each epoch's last step: what gradient there was, and what it made of the weights.

    For every trained variable: "gradient norm" (of one batch, before clipping), "update norm" and
    "weight norm" as curves; "relative update", update over weight norm, where about 1e-3 is
    healthy; and histograms of weights and updates.

    Args:
        folder: where the events go; the tag names the variable.
        steps: of an epoch; the step is the last one.
        every: epochs from one histogram to the next; norms come each epoch.
    """

    def __init__(self, folder: Path, steps: int, every: int):
        super().__init__()
        self.folder, self.steps, self.every = folder, steps, every
        self._before: list[np.ndarray] = []

    def on_train_begin(self, logs=None):
        self.writer = tf.summary.create_file_writer(str(self.folder))

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.steps - 1:
            self._before = [variable.numpy() for variable in self.model.trainable_variables]
            self._optimizer.watching.assign(True)

    def on_epoch_end(self, epoch, logs=None):
        if not self._before:  # an epoch that ended early
            return
        self._optimizer.watching.assign(False)
        gradients = self._optimizer.gradient_norms.numpy()
        variables = self.model.trainable_variables
        with self.writer.as_default(step=epoch):
            for variable, before, gradient in zip(variables, self._before, gradients, strict=True):
                after = variable.numpy()
                self._log_norms(variable.path, gradient, after - before, after)
                if epoch % self.every == 0:
                    tf.summary.histogram(f"weights/{variable.path}", _some(after))
                    tf.summary.histogram(f"updates/{variable.path}", _some(after - before))
            tf.summary.scalar("gradient norm/all", np.linalg.norm(gradients))
        self.writer.flush()

    def on_train_end(self, logs=None):
        self.writer.close()

    def _log_norms(self, name: str, gradient: float, update: np.ndarray, weight: np.ndarray):
        moved, size = np.linalg.norm(update), np.linalg.norm(weight)
        tf.summary.scalar(f"gradient norm/{name}", gradient)
        tf.summary.scalar(f"update norm/{name}", moved)
        tf.summary.scalar(f"weight norm/{name}", size)
        tf.summary.scalar(f"relative update/{name}", moved / size if size else 0.0)

    @property
    def _optimizer(self) -> keras.optimizers.Optimizer:
        """The one that sees unscaled gradients, under mixed_float16 too."""
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)


def _some(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[:: -(-flat.size // MOST_NUMBERS)]
