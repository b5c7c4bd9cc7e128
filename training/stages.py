"""One stage of training: a model, its inputs, so many epochs."""

import dataclasses
import sys
import time
from pathlib import Path

import keras
import numpy as np

from conf.schema import Config
from data.datasets import Dataset
from data.inputs import Inputs
from data.pipeline import evaluation_batches, steps, training_batches, user_errors
from training.callbacks import MetricsLog, StopOnDivergence
from training.optimizers import build_optimizer
from training.schedules import LearningRateSchedule


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage trains, on what, and for how long.

    Attributes:
        name: "head" or "fine_tune".
        model: from a sample of `inputs` to logits; its trainable weights are what learns.
        inputs: see `data/inputs.py`.
        epochs: how many.
        first_epoch: epochs of earlier stages; curves and random orders go on from there.
        batch_size: samples a step.
        learning_rate: before the schedule.
        faster: variables that learn `optimizer.classifier_factor` times faster.
    """

    name: str
    model: keras.Model
    inputs: Inputs
    epochs: int
    first_epoch: int
    batch_size: int
    learning_rate: float
    faster: tuple = ()


def fit_stage(stage: Stage, dataset: Dataset, config: Config, folder: Path) -> dict:
    """Trains a stage and leaves its model with the weights of the best epoch by val_accuracy.

    Without a validation split the last epoch stays, as in the papers' protocols.

    Args:
        folder: the run's; the stage writes `metrics.jsonl`, `checkpoints/` and `tensorboard/`.

    Returns:
        The stage's record: epochs run, the epoch chosen and how, seconds, the curves' values there.

    Raises:
        UserError: the loss diverged, or a picture cannot be decoded.
    """
    train, val = dataset.splits["train"], dataset.splits["val"]
    classes = len(dataset.class_names)
    # The same layers under another model: what is compiled here stays out of the saved model.
    model = keras.Model(stage.model.inputs, stage.model.outputs)
    model.compile(
        optimizer=build_optimizer(config.optimizer, stage.learning_rate, list(stage.faster)),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.loss.label_smoothing
        ),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="accuracy"),
            keras.metrics.TopKCategoricalAccuracy(k=min(5, classes), name="top5_accuracy"),
        ],
    )
    checkpoint = folder / "checkpoints" / f"{stage.name}.weights.h5"
    steps_per_epoch = steps(train, stage.batch_size)
    callbacks = [
        LearningRateSchedule(
            config.optimizer, stage.learning_rate, steps_per_epoch, stage.first_epoch, stage.epochs
        ),
        StopOnDivergence(stage.name, checkpoint),
        MetricsLog(folder / "metrics.jsonl", stage.name),
        keras.callbacks.TensorBoard(folder / "tensorboard", write_graph=False),
    ]
    validation = None
    if len(val):
        validation = evaluation_batches(
            stage.inputs, dataset.labels, val, classes, stage.batch_size
        )
        callbacks += _choose_by_validation(config, checkpoint)
    started = time.perf_counter()
    with user_errors():
        history = model.fit(
            training_batches(
                stage.inputs, dataset.labels, train, classes, stage.batch_size, config.seed,
                stage.first_epoch,
            ),
            validation_data=validation,
            initial_epoch=stage.first_epoch,
            epochs=stage.first_epoch + stage.epochs,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            shuffle=False,  # the batches already are
            verbose=1 if sys.stdout.isatty() else 2,
        ).history
    seconds = time.perf_counter() - started
    if len(val):
        model.load_weights(checkpoint)
    return _record(history, stage.first_epoch, seconds)


def _choose_by_validation(config: Config, checkpoint: Path) -> list[keras.callbacks.Callback]:
    checkpoint.parent.mkdir(exist_ok=True)
    chosen = {"monitor": "val_accuracy", "mode": "max"}
    callbacks = [
        keras.callbacks.ModelCheckpoint(
            checkpoint, save_best_only=True, save_weights_only=True, **chosen
        )
    ]
    if config.trainer.early_stopping is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(patience=config.trainer.early_stopping, **chosen)
        )
    return callbacks


def _record(history: dict, first_epoch: int, seconds: float) -> dict:
    validated = "val_accuracy" in history
    epoch = int(np.argmax(history["val_accuracy"])) if validated else len(history["loss"]) - 1
    return {
        "epochs": len(history["loss"]),
        "chosen_epoch": first_epoch + epoch + 1,
        "chosen_by": "best val_accuracy" if validated else "last epoch (no validation split)",
        "seconds": round(seconds, 3),
        **{name: values[epoch] for name, values in history.items()},
    }
