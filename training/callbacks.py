"""Callbacks that Keras does not have."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

import files
from errors import UserError
from training.schedules import learning_rate


class MetricsLog(keras.callbacks.Callback):
    """Appends one line an epoch to `metrics.jsonl`, as JSON.

    Args:
        path: the file.
        stage: written into each line.
        first_epoch: where training goes on; lines of this stage from there on are dropped.
    """

    def __init__(self, path: Path, stage: str, first_epoch: int = 0):
        super().__init__()
        self.path, self.stage, self.first_epoch = path, stage, first_epoch

    def on_train_begin(self, logs=None):
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if self._keeps(line)]
            files.write_text(self.path, "".join(f"{line}\n" for line in kept))

    def _keeps(self, text: str) -> bool:
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # the machine stopped while it was written
            return False
        return line["stage"] != self.stage or line["epoch"] <= self.first_epoch

    def on_epoch_end(self, epoch, logs=None):
        line = {"stage": self.stage, "epoch": epoch + 1}
        line |= {name: float(value) for name, value in logs.items()}
        line["learning_rate"] = learning_rate(self.model)
        with files.explain_write_errors(self.path), self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class ValidationMetrics(keras.callbacks.Callback):
    """Adds figures of the whole validation split to each epoch's curves, as `val_NAME`.

    Args:
        figures: from a model to names and values.
        predictor: the model that predicts; it shares the weights of the one that is trained.
    """

    def __init__(self, metrics: Callable[[keras.Model], dict[str, float]], predictor: keras.Model):
        super().__init__()
        self.metrics, self.predictor = metrics, predictor

    def on_epoch_end(self, epoch, logs=None):
        logs.update({f"val_{name}": value for name, value in self.metrics(self.predictor).items()})


class StopOnDivergence(keras.callbacks.Callback):
    """Stops with advice when the loss is NaN or infinite; checkpoints of good epochs stay.

    Args:
        stage: named in the message.
        checkpoint: the last good checkpoint, named in the message if it is there.

    Raises:
        UserError: from `fit`, at the first such step.
    """

    def __init__(self, stage: str, checkpoint: Path):
        super().__init__()
        self.stage, self.checkpoint = stage, checkpoint
        self.epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        self._check(float(logs["loss"]), f"step {batch + 1}")

    def on_epoch_end(self, epoch, logs=None):
        """Before a checkpoint is written: the last step may have spoilt the weights."""
        self._check(float(logs.get("val_loss", 0.0)), "validation")
        for weight in self.model.trainable_weights:
            if not np.isfinite(keras.ops.convert_to_numpy(keras.ops.sum(weight))):
                self._check(math.nan, f"weights {weight.path}")

    def _check(self, loss: float, where: str) -> None:
        if math.isfinite(loss):
            return
        kept = f"; the best checkpoint is {self.checkpoint}" if self.checkpoint.exists() else ""
        raise UserError(
            f"the loss became {loss} in epoch {self.epoch}, {where} of stage "
            f"{self.stage!r}{kept}; try a smaller optimizer.learning_rate, optimizer.clip_norm=1, "
            "optimizer.warmup_epochs=1 or trainer.precision=float32"
        )
