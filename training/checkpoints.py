"""Files from which an interrupted stage resumes, as if it had not been interrupted.

    checkpoints/STAGE.weights.h5    weights of the best epoch so far, or of the start of the stage
    checkpoints/STAGE.state.npz     weights, their average, optimizer, random state and history of
                                    the last epoch
    checkpoints/STAGE.json          record of a finished stage

Every file is whole or absent, and the previous one stays until the new one is whole. Nothing else
is needed, because the order and the augmentation of images depend on (seed, epoch, index) alone.
"""

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import files
from conf.schema import TrainerConfig
from training.averaged_weights import AveragedWeights, averaged_variables
from training.distributed.keras_20585 import PatchedFit
from training.distributed.workers import Workers
from training.epoch_selection import best_epoch, stopped_early

HDF5_BYTES = 16 * 2**10  # more than an HDF5 file takes for each variable, besides its values


class Checkpoints(keras.callbacks.Callback):
    """Saves the weights of the best epoch, and the state from which the stage can resume.

    Only the chief reads and writes files. The other workers receive what it reads.

    Args:
        folder: folder of the files.
        stage: name of the stage.
        first_epoch: number of epochs of earlier stages.
        config: reads `checkpoint_seconds`, the least time between two saved states, and
            `early_stopping`.
        monitor: name of the metric, without "val_", whose largest validation value is best.
        workers: the workers that train together.
        average: the average of the weights, which are saved in their place. Default: `None`, the
            weights themselves are saved.

    Attributes:
        history: metrics of each epoch of the stage, those before an interruption included.
        start: validation metrics before the first epoch, if this state can be chosen too.
    """

    def __init__(
        self,
        folder: Path,
        stage: str,
        first_epoch: int,
        config: TrainerConfig,
        monitor: str,
        workers: Workers,
        average: AveragedWeights | None = None,
    ):
        super().__init__()
        self.weights = folder / f"{stage}.weights.h5"
        self.state = folder / f"{stage}.state.npz"
        self.record = folder / f"{stage}.json"
        self.first_epoch, self.config = first_epoch, config
        self.monitor = f"val_{monitor}"
        self.workers, self.average = workers, average
        self.history: list[dict[str, float]] = []
        self.start: dict[str, float] | None = None
        self._snapshot: dict[str, Any] = {}
        self._saved_at = time.monotonic()

    def finished(self) -> dict | None:
        """Returns the record of the stage if it is finished, else None."""
        return self.workers.broadcast_object(
            files.read_json(self.record) if self.record.exists() else None
        )

    def finish(self, record: dict) -> None:
        """Writes the record, and deletes the state, which is large and no longer needed."""
        self._write(self.record, lambda path: path.write_text(json.dumps(record), "utf-8"))
        self.state.unlink(missing_ok=True)

    def load(self, model: keras.Model) -> None:
        """Loads the saved weights of the best epoch into the model."""
        if self.workers.is_chief:
            _saved(model).load_weights(self.weights)
        self._broadcast(model.variables)

    def restore(self, model: keras.Model) -> int:
        """Restores the last saved state of a compiled model, and builds its optimizer; returns the
        epoch to resume from."""
        with self.workers.scope():
            model.optimizer.build(model.trainable_variables)
        if not self.workers.broadcast_object(self.state.exists()):
            return self.first_epoch
        if self.workers.is_chief:
            with np.load(self.state) as saved:
                self.history = json.loads(str(saved["history"]))
                if "start" in saved:
                    self.start = json.loads(str(saved["start"]))
                for number, variable in enumerate(_variables(model)):
                    variable.assign(saved[str(number)])
                if self.average is not None:
                    # Earlier versions did not average the mean of the descriptors, the last one.
                    values = [variable.numpy() for variable in averaged_variables(model)]
                    self.average.values = [
                        saved.get(f"average {number}", value) for number, value in enumerate(values)
                    ]
        self.history, self.start = self.workers.broadcast_object((self.history, self.start))
        self._broadcast(_variables(model))
        if self.average is not None:
            values = self.average.values or [v.numpy() for v in averaged_variables(model)]
            self.average.values = self.workers.broadcast(values)
        return self.first_epoch + len(self.history)

    def begin(self, model: keras.Model, metrics: dict[str, float]) -> None:
        """Makes the state before the first epoch the first candidate for the best one.

        Args:
            model: the model.
            metrics: its validation metrics, with the names that the epochs' logs have.
        """
        self.start = metrics
        self._save_weights(model)

    def choose(self, model: keras.Model) -> tuple[int, dict[str, float]]:
        """Loads the weights of the best state; returns its number and its metrics.

        The number counts the epochs from 1; 0 is the state before the first epoch.
        """
        if self.monitor not in self.history[0]:
            self._save_weights(model)
        self.load(model)
        number = self._best()
        return number, [self.start or {}, *self.history][number]

    def on_epoch_end(self, epoch, logs=None):
        self.history.append({name: float(value) for name, value in logs.items()})
        if self.monitor in logs and self._best() == len(self.history):
            self._save_weights(self.model)
        if self.stopped_early():
            self.model.stop_training = True
        if not self.workers.is_chief:
            return
        self._snapshot = {
            str(number): variable.numpy() for number, variable in enumerate(_variables(self.model))
        } | {"history": np.array(json.dumps(self.history))}
        if self.average is not None:
            averages = enumerate(self.average.values)
            self._snapshot |= {f"average {number}": value for number, value in averages}
        if self.start is not None:
            self._snapshot["start"] = np.array(json.dumps(self.start))
        if time.monotonic() - self._saved_at >= self.config.checkpoint_seconds:
            self.save()

    def stopped_early(self) -> bool:
        """Whether the epochs so far, those before an interruption included, end the stage."""
        return stopped_early(self.history, self.monitor, self.config.early_stopping)

    def save(self) -> None:
        """Writes the state of the last finished epoch, unless it is written already."""
        if self._snapshot:
            self._write(self.state, lambda path: np.savez(path, **self._snapshot))
            self._snapshot, self._saved_at = {}, time.monotonic()

    def _best(self) -> int:
        """Returns the number of the best state so far: 0 is before the first epoch."""
        if self.start is None:
            return best_epoch(self.history, self.monitor) + 1
        return best_epoch([self.start, *self.history], self.monitor)

    def _broadcast(self, variables: list[keras.Variable]) -> None:
        if self.workers.count > 1:
            values = self.workers.broadcast([variable.numpy() for variable in variables])
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def _save_weights(self, model: keras.Model) -> None:
        def write(path: Path) -> None:
            # On a full disk, HDF5 cannot close its file, and crashes the process at its end.
            size = sum(variable.numpy().nbytes for variable in model.variables)
            files.require_room(path, size + HDF5_BYTES * (64 + len(model.variables)))
            _saved(model).save_weights(path)

        with self.average.applied() if self.average is not None else contextlib.nullcontext():
            self._write(self.weights, write)

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        if self.workers.is_chief:
            with files.atomic_path(path) as unfinished:
                write(unfinished)


def _saved(model: keras.Model) -> keras.Model:
    """The model whose weights are saved: several devices train a model around it."""
    return model.checkpointed() if isinstance(model, PatchedFit) else model


def _variables(model: keras.Model) -> list[keras.Variable]:
    """Weights, random state of dropout, and variables of the optimizer."""
    return [*model.variables, *model.optimizer.variables]
