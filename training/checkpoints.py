"""What a stage keeps on disk, so that a run which was killed anywhere ends as if it had not been.

    checkpoints/STAGE.weights.h5    the weights chosen so far
    checkpoints/STAGE.state.npz     the last epoch's weights, optimizer, random state and history
    checkpoints/STAGE.json          the record of a finished stage

Each is written under another name and renamed: it is whole or absent, and the one before it stays
until then. Order and augmentation depend on (seed, epoch, index) alone, so this is all there is.
"""

import json
import time
from pathlib import Path

import keras
import numpy as np

import files
from conf.schema import TrainerConfig
from training.distributed.workers import Workers
from training.epoch_selection import best_epoch


class Checkpoints(keras.callbacks.Callback):
    """Keeps the weights with the best validation figure, and what resuming needs.

    Of several workers the chief alone writes and reads; the others are told what it read.

    Args:
        folder: where the files go.
        stage: the stage's name.
        first_epoch: where the stage starts to count.
        config: `checkpoint_seconds` between two saved states, and `early_stopping`.
        monitor: the curve whose largest validation value is best.
        workers: who trains together.

    Attributes:
        history: the curves' values, a dictionary an epoch, those before a resumption included.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        first_epoch: int,
        config: TrainerConfig,
        monitor: str,
        workers: Workers,
    ):
        super().__init__()
        self.weights = folder / f"{stage}.weights.h5"
        self.state = folder / f"{stage}.state.npz"
        self.record = folder / f"{stage}.json"
        self.first_epoch, self.config = first_epoch, config
        self.monitor = f"val_{monitor}"
        self.workers = workers
        self.history: list[dict[str, float]] = []
        self._snapshot: dict[str, np.ndarray] | None = None
        self._saved_at = time.monotonic()

    def finished(self) -> dict | None:
        """The record of the stage, if it was finished earlier."""
        return self.workers.broadcast_object(
            json.loads(self.record.read_text()) if self.record.exists() else None
        )

    def finish(self, record: dict) -> None:
        """Writes the record, and drops the state, which is large and has no more use."""
        self._write(self.record, lambda path: path.write_text(json.dumps(record)))
        self.state.unlink(missing_ok=True)

    def load(self, model: keras.Model) -> None:
        """Gives the model the weights that were kept."""
        if self.workers.is_chief:
            model.load_weights(self.weights)
        self._broadcast(model.variables)

    def restore(self, model: keras.Model) -> int:
        """Brings a compiled model to where it was; returns the epoch to go on from."""
        if not self.workers.broadcast_object(self.state.exists()):
            return self.first_epoch
        with self.workers.scope():
            model.optimizer.build(model.trainable_variables)
        if self.workers.is_chief:
            with np.load(self.state) as saved:
                self.history = json.loads(str(saved["history"]))
                for number, variable in enumerate(_variables(model)):
                    variable.assign(saved[str(number)])
        self.history = self.workers.broadcast_object(self.history)
        self._broadcast(_variables(model))
        return self.first_epoch + len(self.history)

    def choose(self, model: keras.Model) -> int:
        """Gives the model the chosen weights; returns their epoch's place in `history`."""
        if self.monitor in self.history[0]:
            self.load(model)
        else:
            self._write(self.weights, model.save_weights)
        return best_epoch(self.history, self.monitor)

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({name: float(value) for name, value in logs.items()})
        if self.monitor in logs and self._since_best() == 0:
            self._write(self.weights, self.model.save_weights)
        if self.stopped_early():
            self.model.stop_training = True
        if not self.workers.is_chief:
            return
        self._snapshot = {
            str(number): variable.numpy() for number, variable in enumerate(_variables(self.model))
        } | {"history": np.array(json.dumps(self.history))}
        if time.monotonic() - self._saved_at >= self.config.checkpoint_seconds:
            self.save()

    def stopped_early(self) -> bool:
        """Whether `early_stopping` epochs have passed without a better one."""
        patience = self.config.early_stopping
        return patience is not None and bool(self.history) and self._since_best() >= patience

    def _since_best(self) -> int:
        return len(self.history) - 1 - best_epoch(self.history, self.monitor)

    def save(self) -> None:
        """Writes the state of the last finished epoch, unless that is done already."""
        if self._snapshot is not None:
            self._write(self.state, lambda path: np.savez(path, **self._snapshot))
            self._snapshot, self._saved_at = None, time.monotonic()

    def _broadcast(self, variables: list[keras.Variable]) -> None:
        if self.workers.count > 1:
            values = self.workers.broadcast([variable.numpy() for variable in variables])
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _write(self, path: Path, write) -> None:
        if not self.workers.is_chief:
            return
        with files.explain_write_errors(path):
            path.parent.mkdir(exist_ok=True)
            with files.atomic_path(path) as unfinished:
                write(unfinished)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, random state of dropout, and all that the optimizer remembers."""
    return [*model.variables, *model.optimizer.variables]
