"""Callbacks that Keras does not have."""

import json
import math
from pathlib import Path

import keras

from errors import UserError


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
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
            kept = [
                line for line in lines
                if line["stage"] != self.stage or line["epoch"] <= self.first_epoch
            ]
            self.path.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def on_epoch_end(self, epoch, logs=None):
        line = {"stage": self.stage, "epoch": epoch + 1}
        line |= {name: float(value) for name, value in logs.items()}
        line["learning_rate"] = float(self.model.optimizer.learning_rate)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


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
        loss = float(logs["loss"])
        if math.isfinite(loss):
            return
        kept = f"; the best checkpoint is {self.checkpoint}" if self.checkpoint.exists() else ""
        raise UserError(
            f"the loss became {loss} in epoch {self.epoch}, step {batch + 1} of stage "
            f"{self.stage!r}{kept}; try a smaller optimizer.learning_rate, optimizer.clip_norm=1, "
            "optimizer.warmup_epochs=1 or trainer.precision=float32"
        )
