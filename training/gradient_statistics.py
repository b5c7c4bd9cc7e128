"""How training moves: norms and histograms of gradients, updates and weights, for TensorBoard."""

from pathlib import Path

import keras
import numpy as np
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from event_file import EventFile

MOST_NUMBERS = 10_000  # of a variable, evenly spaced, in a histogram


class GradientStatistics(keras.callbacks.Callback):
    """Logs each epoch's last step: what gradient there was, and what it made of the weights.

    For every trained variable: "gradient norm" (of one batch, before clipping), "update norm" and
    "weight norm" as curves; "relative update", update over weight norm, where about 1e-3 is
    healthy; and histograms of weights and updates.

    Args:
        folder: where the events go; the tag names the variable.
        steps: of an epoch; the step is the last one.
        every: epochs from one histogram to the next, beside the last one's; norms come each epoch.
    """

    def __init__(self, folder: Path, steps: int, every: int):
        super().__init__()
        self.folder, self.steps, self.every = folder, steps, every
        self._before: list[np.ndarray] = []

    def on_train_begin(self, logs=None):
        self.file = EventFile(self.folder)

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.steps - 1:
            self._before = [variable.numpy() for variable in self.model.trainable_variables]
            self._optimizer.watching.assign(True)

    @np.errstate(over="ignore", invalid="ignore")  # of what diverges, infinity is what there is
    def on_epoch_end(self, epoch, logs=None):
        if not self._before:  # an epoch that ended early
            return
        self._optimizer.watching.assign(False)
        gradients = self._optimizer.gradient_norms.numpy()
        variables = self.model.trainable_variables
        found = [scalar_pb("gradient norm/all", np.linalg.norm(gradients))]
        for variable, before, gradient in zip(variables, self._before, gradients, strict=True):
            after = variable.numpy()
            update = after - before
            norms = _norms(gradient, update, after)
            found += [scalar_pb(f"{tag}/{variable.path}", norm) for tag, norm in norms.items()]
            if epoch % self.every == 0 or epoch + 1 == self.params["epochs"]:
                found.append(histogram_pb(f"weights/{variable.path}", _some(after)))
                found.append(histogram_pb(f"updates/{variable.path}", _some(update)))
        self.file.write(found, epoch)
        self._before = []

    def on_train_end(self, logs=None):
        self.file.close()

    @property
    def _optimizer(self) -> keras.optimizers.Optimizer:
        """The one that sees unscaled gradients, under mixed_float16 too."""
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)


def _norms(gradient: float, update: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    moved, size = np.linalg.norm(update), np.linalg.norm(weight)
    return {
        "gradient norm": gradient,
        "update norm": moved,
        "weight norm": size,
        "relative update": moved / size if size else 0.0,
    }


def _some(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[:: -(-flat.size // MOST_NUMBERS)]
