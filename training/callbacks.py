"""Callbacks that Keras does not have."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

import files
from errors import UserError
from training.averaged_weights import AveragedWeights
from training.schedules import learning_rate


class MetricsLog(keras.callbacks.Callback):
    """Appends the metrics of each epoch to `metrics.jsonl`, one JSON object a line.

    Args:
        path: the file.
        stage: name of the stage, written into each line.
        first_epoch: epoch from which training starts or resumes. Lines of this stage for later
            epochs are deleted: training stopped after them, but before the next saved state.
    """

    def __init__(self, path: Path, stage: str, first_epoch: int = 0):
        super().__init__()
        self.path, self.stage, self.first_epoch = path, stage, first_epoch

    def on_train_begin(self, logs=None):
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if self._keeps(line)]
            files.write_text(self.path, "".join(f"{line}\n" for line in kept))

    def _keeps(self, text: str) -> bool:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the machine stopped while the line was written
            return False
        return line["stage"] != self.stage or line["epoch"] <= self.first_epoch

    def on_epoch_end(self, epoch, logs=None):
        line = {"stage": self.stage, "epoch": epoch + 1}
        line |= {name: float(value) for name, value in logs.items()}
        line["learning_rate"] = learning_rate(self.model)
        with files.explain_write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class ValidationMetrics(keras.callbacks.Callback):
    """Adds metrics of the whole validation split to each epoch's logs, as `val_NAME`.

    Args:
        metrics: computes metrics, by name, from a model.
        predictor: the model to evaluate; it shares the weights of the model that is trained.
        average: the average of the weights, which is evaluated in their place. Default: `None`.
    """

    def __init__(
        self,
        metrics: Callable[[keras.Model], dict[str, float]],
        predictor: keras.Model,
        average: AveragedWeights | None = None,
    ):
        super().__init__()
        self.metrics, self.predictor, self.average = metrics, predictor, average

    def on_epoch_end(self, epoch, logs=None):
        with self.average.applied() if self.average is not None else contextlib.nullcontext():
            metrics = self.metrics(self.predictor)
        logs.update({f"val_{name}": value for name, value in metrics.items()})


class Profile(keras.callbacks.Callback):
    """Records some steps of a stage for TensorBoard's profiler, and nothing else.

    Args:
        folder: folder of the profile.
        first, last: the steps to record, counted from 1 over all epochs.
    """

    def __init__(self, folder: Path, first: int, last: int):
        super().__init__()
        self.folder, self.first, self.last = folder, first, last
        self.step, self.recording = 0, False

    def on_train_batch_begin(self, batch, logs=None):
        self.step += 1
        if self.step == self.first:
            tf.profiler.experimental.start(str(self.folder))
            self.recording = True

    def on_train_batch_end(self, batch, logs=None):
        if self.step == self.last:
            self.on_train_end()

    def on_train_end(self, logs=None):
        if self.recording:
            tf.profiler.experimental.stop()
            self.recording = False


class StopOnDivergence(keras.callbacks.Callback):
    """Stops training with advice if the loss or a weight becomes NaN or infinite.

    `keras.callbacks.TerminateOnNaN` checks neither the weights nor the validation loss. Put this
    callback before `Checkpoints`, which would save such weights.

    Args:
        stage: name of the stage, for the message.
        checkpoint: weights of the best epoch; the message names the file if it exists.
        clipped: whether gradients are clipped; if not, the message says how to. Default: `False`.

    Raises:
        UserError: from `fit`, after the first such step or epoch.
    """

    def __init__(self, stage: str, checkpoint: Path, clipped: bool = False):
        super().__init__()
        self.stage, self.checkpoint, self.clipped = stage, checkpoint, clipped
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        self._check("loss", float(logs["loss"]), f", step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        self._check("validation loss", float(logs.get("val_loss", 0.0)))
        for weight in self.model.trainable_weights:  # the last step's loss does not show its update
            self._check(f"sum of weights {weight.path}", float(keras.ops.sum(weight)))

    def _check(self, name: str, value: float, step: str = "") -> None:
        if math.isfinite(value):
            return
        saved = f"; the best checkpoint is {self.checkpoint}" if self.checkpoint.exists() else ""
        prefix = "optimizer.fine_tune_" if self.stage == "fine_tune" else "optimizer."
        clip = "" if self.clipped else f"{prefix}clip_norm=1, "
        raise UserError(
            f"the {name} became {value} in epoch {self.epoch}{step} of stage {self.stage!r}{saved}"
            f"; try a smaller {prefix}learning_rate, {clip}"
            f"a larger {prefix}warmup_epochs or trainer.precision=float32"
        )
