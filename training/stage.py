"""Fits one stage of training: batches, optimizer, callbacks, checkpoints, and the best epoch."""

import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from conf.schema import Config
from data.augmentation import augmentation_of
from data.balanced_batches import BalancedBatches
from data.datasets import Dataset
from data.inputs import ImageInputs, Inputs
from data.pipeline import (
    WHOLE,
    Share,
    evaluation_batches,
    steps,
    training_batches,
    user_errors,
)
from errors import UserError
from training.averaged_weights import AveragedWeights
from training.callbacks import MetricsLog, Profile, StopOnDivergence, ValidationMetrics
from training.checkpoints import Checkpoints
from training.distributed.global_batch import GlobalBatchModel, whole_batch_norms
from training.distributed.keras_20585 import PatchedFit
from training.distributed.workers import Workers
from training.epoch_scalars import EpochScalars
from training.epoch_selection import selection_record
from training.gradient_statistics import GradientStatistics
from training.objectives import Objective
from training.optimizers import build_optimizer
from training.schedules import LearningRateSchedule
from training.stage_progress import StageProgress
from training.two_streams import Stream

logger = logging.getLogger(__name__)

PROFILED = (10, 20)  # first and last step that trainer.profile records, after the warm-up


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: "head" or "fine_tune".
        model: a model from samples of `inputs` to the outputs that the objective compares.
        inputs: see `data/inputs.py`.
        epochs: number of epochs.
        first_epoch: epochs of earlier stages; curves and random orders continue from there.
        batch_size: samples per step.
        learning_rate: learning rate before the schedule.
        objective: loss and metrics.
        rate_factors: factors on the learning rates of variables, by their paths.
        balance: balanced training batches, instead of shuffled ones of `batch_size`.
        second_stream: samples of the second input of `model`, if it has two.
        training_model: fitted instead of `model`, with the same weights, if the loss needs more
            outputs than those of `model`.
        small: the samples are coordinates, a matrix in memory, and one device trains. Most of the
            time would be Python's, so TensorFlow takes the steps of a whole epoch in one call, and
            validates in another one. The checkpoints have names of their own, since their weights
            do not fit descriptors.
        start_epoch: the epoch of an earlier stage whose weights the model has. If there is a
            validation split, they are the first candidate for the best ones.
        prepare: changes the weights before the first epoch, after they were validated.
        average_epochs: epochs over which the weights are averaged; 0: they are not. Their average
            is validated and kept.
    """

    name: str
    model: keras.Model
    inputs: Inputs
    epochs: int
    first_epoch: int
    batch_size: int
    learning_rate: float
    objective: Objective
    rate_factors: dict[str, float] = dataclasses.field(default_factory=dict)
    balance: BalancedBatches | None = None
    second_stream: Stream | None = None
    training_model: keras.Model | None = None
    small: bool = False
    start_epoch: int | None = None
    prepare: Callable[[], None] | None = None
    average_epochs: float = 0.0


def fit_stage(
    stage: Stage, dataset: Dataset, config: Config, folder: Path, workers: Workers
) -> dict:
    """Trains a stage and sets the weights of the epoch with the best validation metric.

    Without a validation split these are the weights of the last epoch, as in the papers' protocols.
    A stage that was interrupted in the same folder is resumed; the weights of a finished one are
    loaded.

    Args:
        stage: the stage. If several replicas train, its model must come from `Workers.build`, and
            its training model must be created in their scope.
        dataset: the training and validation splits.
        config: the configuration of the run.
        folder: the run's folder; the stage writes `metrics.jsonl`, `checkpoints/`, `tensorboard/`
            and `dynamics/`.
        workers: the devices that train together.

    Returns:
        The record of the stage: epochs, the chosen epoch and its criterion, seconds, and the values
        of the curves at that epoch.

    Raises:
        UserError: the loss diverged, an image cannot be decoded, or the disk is full.
    """
    if workers.replicas > 1 and config.optimizer.accumulation_steps is not None:
        raise UserError(
            "optimizer.accumulation_steps: requires trainer.strategy=none; or set it to null, "
            f"{workers.replicas} devices hold larger batches than one"
        )
    if config.trainer.early_stopping is not None and not len(dataset.splits["val"]):
        logger.warning("trainer.early_stopping has no effect: there are no validation images")
    steps_per_epoch = steps(dataset.splits["train"], stage.batch_size, stage.balance)
    average = None
    if stage.average_epochs:
        average = AveragedWeights(stage.average_epochs, steps_per_epoch)
    checkpoints = Checkpoints(
        folder / "checkpoints",
        f"{stage.name}_coordinates" if stage.small else stage.name,
        stage.first_epoch,
        config.trainer,
        stage.objective.monitor,
        workers,
        average,
    )
    with workers.scope():
        model = stage.training_model or _copy_to_fit(stage, workers)
    if record := checkpoints.finished():
        checkpoints.load(model)
        return record
    steps_per_execution = 1
    if stage.small and not config.trainer.profile:  # which records single steps
        steps_per_execution = steps_per_epoch
    with workers.scope():
        model.compile(
            optimizer=build_optimizer(
                config.optimizer,
                stage.learning_rate,
                stage.rate_factors,
                steps_per_execution,
            ),
            loss=stage.objective.loss,
            loss_weights=stage.objective.weights,
            metrics=list(stage.objective.metrics),
            steps_per_execution=steps_per_execution,
        )
    resume_epoch = checkpoints.restore(model)
    started = time.perf_counter()
    norms = whole_batch_norms(model) if workers.replicas > 1 else contextlib.nullcontext()
    try:
        if not checkpoints.stopped_early():  # before an interruption
            with user_errors(), norms:
                _fit(model, stage, dataset, config, folder, checkpoints, resume_epoch, workers)
    except BaseException:  # SIGTERM and Ctrl-C too
        checkpoints.save()
        raise
    chosen, metrics = checkpoints.choose(model)
    seconds = time.perf_counter() - started
    history, monitor = checkpoints.history, checkpoints.monitor
    record = selection_record(history, monitor, seconds, stage.first_epoch)
    if not chosen:
        reason = f"best {monitor}: no epoch of stage {stage.name} was better"
        record |= {"chosen_epoch": stage.start_epoch, "chosen_by": reason}
    record |= metrics
    checkpoints.finish(record)
    return record


def _copy_to_fit(stage: Stage, workers: Workers) -> keras.Model:
    """Returns another model of the same layers, which share their weights.

    The saved model then has no compile options.
    """
    if workers.replicas == 1:
        return keras.Model(stage.model.inputs, stage.model.outputs)
    return (GlobalBatchModel if stage.objective.global_batch else PatchedFit)(stage.model)


def _fit(
    model: keras.Model,
    stage: Stage,
    dataset: Dataset,
    config: Config,
    folder: Path,
    checkpoints: Checkpoints,
    resume_epoch: int,
    workers: Workers,
) -> None:
    train, val = dataset.splits["train"], dataset.splits["val"]
    classes = _one_hot_length(stage, dataset)
    steps_per_epoch = steps(train, stage.batch_size, stage.balance)
    # Keras cannot count distributed batches, and would report that it ran out of data.
    validation_steps = steps(val, stage.batch_size) if workers.replicas > 1 else None
    validation, callbacks = None, []
    if len(val) and stage.objective.validate:
        # First in the list, here and below: the other callbacks read the metrics that it adds.
        callbacks = [ValidationMetrics(stage.objective.validate, stage.model, checkpoints.average)]
    elif len(val) and stage.small:
        metrics = _metrics_of_one_batch(stage.inputs.evaluation(val), dataset.labels[val], classes)
        callbacks = [ValidationMetrics(metrics, model)]
    elif len(val):
        validation = workers.batches(
            lambda share: evaluation_batches(
                stage.inputs, dataset.labels, val, classes, stage.batch_size, share=share
            )
        )
    if stage.start_epoch is not None and len(val) and not checkpoints.history:
        if stage.objective.validate:
            start = stage.objective.validate(stage.model)
        else:
            start = model.evaluate(validation, steps=validation_steps, return_dict=True, verbose=0)
        checkpoints.begin(model, {f"val_{name}": value for name, value in start.items()})
    if stage.prepare is not None and not checkpoints.history:
        stage.prepare()
    batches = workers.batches(
        lambda share: stage_batches(stage, dataset, config, resume_epoch, share)
    )
    if stage.second_stream is not None:
        batches = stage.second_stream.paired_with(
            batches, steps_per_epoch, stage.batch_size, config.seed, resume_epoch
        )
    if checkpoints.average is not None:
        callbacks.append(checkpoints.average)
    callbacks += [
        LearningRateSchedule(
            config.optimizer,
            stage.learning_rate,
            steps_per_epoch,
            stage.first_epoch,
            stage.epochs,
            checkpoints.history,
        ),
        StopOnDivergence(stage.name, checkpoints.weights, config.optimizer.clip_norm is not None),
    ]
    if workers.is_chief:
        callbacks += _logs(stage, config, folder, resume_epoch, steps_per_epoch)
    callbacks.append(checkpoints)  # it saves an epoch that all callbacks before it have seen
    verbose, bar = 0, contextlib.nullcontext()
    if workers.is_chief and config.trainer.epoch_lines:
        verbose = 1 if sys.stdout.isatty() else 2
    elif workers.is_chief:
        history, monitor = checkpoints.history, checkpoints.monitor
        bar = StageProgress(
            stage.name, stage.epochs, steps_per_epoch, history, monitor, start=checkpoints.start
        )
        callbacks.append(bar)  # last: it reads the history of the checkpoints
    with bar:
        model.fit(
            batches,
            validation_data=validation,
            validation_steps=validation_steps,
            initial_epoch=resume_epoch,
            epochs=stage.first_epoch + stage.epochs,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            shuffle=False,  # the batches are shuffled already
            verbose=verbose,
        )


def stage_batches(
    stage: Stage, dataset: Dataset, config: Config, first_epoch: int, share: Share = WHOLE
) -> tf.data.Dataset:
    """Returns the training batches of a stage from an epoch on; see `training_batches`."""
    images = isinstance(stage.inputs, ImageInputs)
    return training_batches(
        stage.inputs,
        dataset.labels,
        dataset.splits["train"],
        _one_hot_length(stage, dataset),
        stage.batch_size,
        config.seed,
        first_epoch,
        stage.balance,
        share,
        augmentation_of(config.augment, config.seed) if images else None,
    )


def _one_hot_length(stage: Stage, dataset: Dataset) -> int | None:
    return len(dataset.class_names) if stage.objective.one_hot else None


def _metrics_of_one_batch(
    samples: np.ndarray, labels: np.ndarray, classes: int | None
) -> Callable[[keras.Model], dict[str, float]]:
    """Returns a function that evaluates a compiled model on one batch, the whole split.

    `fit` would build an iterator over the split in each epoch, which takes longer than an epoch of
    a small problem.
    """
    inputs = tf.constant(samples)
    truth = tf.constant(labels) if classes is None else tf.one_hot(labels, classes)

    def metrics(model: keras.Model) -> dict[str, float]:
        model.reset_metrics()  # those of training are logged already
        values = model.test_on_batch(inputs, truth, return_dict=True)
        return {name: float(value) for name, value in values.items()}

    return metrics


def _logs(
    stage: Stage, config: Config, folder: Path, resume_epoch: int, steps_per_epoch: int
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that log curves, norms, histograms and the profile."""
    board, every = folder / "tensorboard", config.trainer.histogram_epochs
    parts = [layer for layer in stage.model.layers if isinstance(layer, keras.Model)]
    return [
        MetricsLog(folder / "metrics.jsonl", stage.name, resume_epoch),
        EpochScalars(board),
        GradientStatistics(folder / "dynamics", steps_per_epoch, every, parts),
        *([Profile(board / "train", *PROFILED)] if config.trainer.profile else []),
    ]
