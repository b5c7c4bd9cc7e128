"""One stage of training: a model, its inputs, so many epochs."""

import contextlib
import dataclasses
import sys
import time
from pathlib import Path

import keras

from conf.schema import Config
from data.balanced_batches import BalancedBatches
from data.datasets import Dataset
from data.inputs import Inputs
from data.pipeline import evaluation_batches, steps, training_batches, user_errors
from errors import UserError
from training.callbacks import MetricsLog, StopOnDivergence, ValidationMetrics
from training.checkpoints import Checkpoints
from training.distributed.global_batch import GlobalBatchModel, whole_batch_norms
from training.distributed.keras_20585 import PatchedFit
from training.distributed.workers import Workers, workers_of
from training.epoch_scalars import EpochScalars
from training.epoch_selection import selection_record
from training.gradient_statistics import GradientStatistics
from training.objectives import Objective
from training.optimizers import build_optimizer
from training.schedules import LearningRateSchedule
from training.two_streams import Stream

PROFILED = (10, 20)  # batches of a stage that trainer.profile records: past the warming up


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage trains, on what, and for how long.

    Attributes:
        name: "head" or "fine_tune".
        model: from a sample of `inputs` to what the objective is of; its trainable weights are
            what learns.
        inputs: see `data/inputs.py`.
        epochs: how many.
        first_epoch: epochs of earlier stages; curves and random orders go on from there.
        batch_size: samples a step.
        learning_rate: before the schedule.
        objective: what is minimised and watched.
        faster: variables that learn `optimizer.classifier_factor` times faster.
        balance: of training batches, instead of chance and `batch_size`.
        second: what the model's second input reads, where it has two.
        fitted: trained in place of `model`, whose weights it shares, where a loss needs more than
            logits.
    """

    name: str
    model: keras.Model
    inputs: Inputs
    epochs: int
    first_epoch: int
    batch_size: int
    learning_rate: float
    objective: Objective
    fast_variables: tuple = ()
    balance: BalancedBatches | None = None
    second_stream: Stream | None = None
    training_model: keras.Model | None = None


def fit_stage(stage: Stage, dataset: Dataset, config: Config, folder: Path) -> dict:
    """Trains a stage and leaves its model with the weights of the best epoch by validation.

    Without a validation split the last epoch stays, as in the papers' protocols. A stage that was
    interrupted in the same folder goes on; one that was finished there is only read.

    Where several replicas train, `stage.model` has to be made as `Workers.build` does, and
    `stage.fitted` in their scope.

    Args:
        folder: the run's; the stage writes `metrics.jsonl`, `checkpoints/`, `tensorboard/`
            and `dynamics/`.

    Returns:
        The stage's record: epochs run, the epoch chosen and how, seconds, the curves' values there.

    Raises:
        UserError: the loss diverged, a picture cannot be decoded, or the disk is full.
    """
    workers = workers_of(config)
    _check(config, workers)
    checkpoints = Checkpoints(
        folder / "checkpoints",
        stage.name,
        stage.first_epoch,
        config.trainer,
        stage.objective.monitor,
        workers,
    )
    with workers.scope():
        model = stage.training_model or _trained_model(stage, workers)
    if record := checkpoints.finished():
        checkpoints.load(model)
        return record
    with workers.scope():
        model.compile(
            optimizer=build_optimizer(
                config.optimizer, stage.learning_rate, list(stage.fast_variables)
            ),
            loss=stage.objective.loss,
            loss_weights=stage.objective.weights,
            metrics=list(stage.objective.metrics),
        )
    first_epoch = checkpoints.restore(model)
    started = time.perf_counter()
    norms = whole_batch_norms(model) if workers.replicas > 1 else contextlib.nullcontext()
    try:
        if not checkpoints.stopped_early():  # before it was interrupted
            with user_errors(), norms:
                _fit(model, stage, dataset, config, folder, checkpoints, first_epoch, workers)
    except BaseException:  # SIGTERM and Ctrl-C too
        checkpoints.save()
        raise
    chosen = checkpoints.choose(model)
    seconds = time.perf_counter() - started
    record = selection_record(checkpoints.history, checkpoints.monitor, seconds, stage.first_epoch)
    record |= checkpoints.history[chosen]
    checkpoints.finish(record)
    return record


def _trained_model(stage: Stage, workers: Workers) -> keras.Model:
    """The same layers under another model: what is compiled stays out of the saved one."""
    kind = keras.Model
    if workers.replicas > 1:
        kind = GlobalBatchModel if stage.objective.global_batch else PatchedFit
    return kind(stage.model.inputs, stage.model.outputs)


def _check(config: Config, workers: Workers) -> None:
    if workers.replicas > 1 and config.optimizer.accumulation_steps is not None:
        raise UserError(
            "optimizer.accumulation_steps: takes trainer.strategy=none; or set it to null, "
            f"{workers.replicas} devices hold larger batches than one"
        )


def _fit(
    model: keras.Model,
    stage: Stage,
    dataset: Dataset,
    config: Config,
    folder: Path,
    checkpoints: Checkpoints,
    first_epoch: int,
    workers: Workers,
) -> None:
    train, val = dataset.splits["train"], dataset.splits["val"]
    classes = len(dataset.class_names) if stage.objective.one_hot else None
    steps_per_epoch = steps(train, stage.batch_size, stage.balance)
    validation, validation_metrics = None, []
    if len(val) and stage.objective.validate:
        validation_metrics = [ValidationMetrics(stage.objective.validate, stage.model)]
    elif len(val):
        validation = workers.batches(
            lambda share: evaluation_batches(
                stage.inputs, dataset.labels, val, classes, stage.batch_size, share=share
            )
        )
    batches = workers.batches(
        lambda share: training_batches(
            stage.inputs,
            dataset.labels,
            train,
            classes,
            stage.batch_size,
            config.seed,
            first_epoch,
            stage.balance,
            share,
        )
    )
    if stage.second_stream is not None:
        batches = stage.second_stream.paired_with(
            batches, steps_per_epoch, stage.batch_size, config.seed, first_epoch
        )
    logs = []
    if workers.is_chief:
        logs = _logs(stage, config, folder, first_epoch, steps_per_epoch)
    model.fit(
        batches,
        validation_data=validation,
        # Keras cannot count what is distributed, and would take its end for a lack of data.
        validation_steps=steps(val, stage.batch_size) if workers.replicas > 1 else None,
        initial_epoch=first_epoch,
        epochs=stage.first_epoch + stage.epochs,
        steps_per_epoch=steps_per_epoch,
        callbacks=[
            *validation_metrics,  # first: the others read what it adds
            LearningRateSchedule(
                config.optimizer,
                stage.learning_rate,
                steps_per_epoch,
                stage.first_epoch,
                stage.epochs,
                checkpoints.history,
            ),
            StopOnDivergence(stage.name, checkpoints.weights),
            *logs,
            checkpoints,  # last: what it saves is an epoch that all the others have seen
        ],
        shuffle=False,  # the batches already are
        verbose=0 if not workers.is_chief else 1 if sys.stdout.isatty() else 2,
    )


def _logs(
    stage: Stage, config: Config, folder: Path, first_epoch: int, steps_per_epoch: int
) -> list[keras.callbacks.Callback]:
    """What writes curves and the like."""
    board = folder / "tensorboard"
    return [
        MetricsLog(folder / "metrics.jsonl", stage.name, first_epoch),
        # Keras' own writes these curves too, among others, and records the profile.
        keras.callbacks.TensorBoard(board, write_graph=False, profile_batch=PROFILED)
        if config.trainer.profile
        else EpochScalars(board),
        GradientStatistics(folder / "dynamics", steps_per_epoch, config.trainer.histogram_epochs),
    ]
