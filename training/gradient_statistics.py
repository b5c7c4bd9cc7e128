"""Norms and histograms of gradients, updates and weights for TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from tensorboard.plugins.histogram.summary_v2 import histogram_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from event_file import EventFile

MAX_VALUES = 10_000  # values of a variable in a histogram, evenly spaced


class GradientStatistics(keras.callbacks.Callback):
    """Logs the gradient of each epoch's last step, and how the step changed the weights.

    For every trained variable these are the curves "gradient norm" (of one batch, before clipping),
    "update norm", "weight norm" and "relative update" (update norm / weight norm; about 1e-3 is
    healthy), and histograms of weights and updates. "gradient norm/all" is the norm of the whole
    gradient, "gradient norm/backbone" that of the weights of the part "backbone". With
    `optimizer.accumulation_steps`, the last step may only accumulate: its update is 0.

    Args:
        folder: folder of the event file. The tags contain the variables' paths.
        steps: steps in an epoch.
        every: epochs between two histograms. The last epoch also has histograms. Norms are logged
            in every epoch.
        parts: parts of the model whose gradients have a norm of their own, by their names.
            Default: none.
    """

    def __init__(
        self, folder: Path, steps: int, every: int, parts: Sequence[keras.layers.Layer] = ()
    ):
        super().__init__()
        self.folder, self.steps, self.every, self.parts = folder, steps, every, parts
        self._watched = False
        self._before: list[np.ndarray] = []

    def on_train_begin(self, logs=None):
        self.file = EventFile(self.folder)

    def on_train_batch_begin(self, batch, logs=None):
        if batch + self.model.steps_per_execution == self.steps:
            self._watched = True
            if self.model.steps_per_execution == 1:
                self._before = [variable.numpy() for variable in self.model.trainable_variables]
            self._optimizer.watching.assign(True)

    @np.errstate(over="ignore", invalid="ignore")  # norms are infinite if training diverges
    def on_epoch_end(self, epoch, logs=None):
        if not self._watched:  # the epoch ended before its last step
            return
        self._optimizer.watching.assign(False)
        if self.model.steps_per_execution > 1:
            self._before = [variable.numpy() for variable in self._optimizer.before]
        gradients = self._optimizer.gradient_norms.numpy()
        variables = self.model.trainable_variables
        summaries = [scalar_pb("gradient norm/all", np.linalg.norm(gradients))]
        for part in self.parts:
            own = {variable.path for variable in part.trainable_variables}
            if own:
                norms_of_part = gradients[[variable.path in own for variable in variables]]
                tag = f"gradient norm/{part.name}"
                summaries.append(scalar_pb(tag, np.linalg.norm(norms_of_part)))
        for variable, before, gradient in zip(variables, self._before, gradients, strict=True):
            after = variable.numpy()
            update = after - before
            norms = _norms(gradient, update, after)
            summaries += [scalar_pb(f"{tag}/{variable.path}", norm) for tag, norm in norms.items()]
            if epoch % self.every == 0 or epoch + 1 == self.params["epochs"]:
                summaries.append(histogram_pb(f"weights/{variable.path}", _subsample(after)))
                summaries.append(histogram_pb(f"updates/{variable.path}", _subsample(update)))
        self.file.write(summaries, epoch)
        self._watched, self._before = False, []

    def on_train_end(self, logs=None):
        self.file.close()

    @property
    def _optimizer(self) -> keras.optimizers.Optimizer:
        """The optimizer that sees unscaled gradients, also with mixed_float16."""
        return getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)


def _norms(
    gradient: float, update: np.ndarray, weight: np.ndarray
) -> dict[str, float | np.floating]:
    update_norm, weight_norm = np.linalg.norm(update), np.linalg.norm(weight)
    return {
        "gradient norm": gradient,
        "update norm": update_norm,
        "weight norm": weight_norm,
        "relative update": update_norm / weight_norm if weight_norm else 0.0,
    }


def _subsample(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return flat[:: -(-flat.size // MAX_VALUES)]
