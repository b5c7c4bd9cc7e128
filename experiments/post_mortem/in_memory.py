"""Trains small models on descriptors in memory, without the logs and checkpoints of a stage.

A dozen such trainings take as long as one `fit_stage`. They use the same order of samples, views,
learning rates and selection of an epoch.
"""

import math
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from conf.schema import Config
from data.datasets import Dataset
from data.inputs import MemoryInputs
from data.pipeline import steps
from training.epoch_selection import best_epoch, selection_record, stopped_early
from training.optimizers import build_optimizer
from training.schedules import LearningRateSchedule
from training.stage_progress import StageProgress

MONITOR = "val_accuracy"


def fit_in_memory(
    model: keras.Model,
    inputs: MemoryInputs,
    dataset: Dataset,
    config: Config,
    description: str = "head",
) -> dict:
    """Trains `model` with softmax cross-entropy, and leaves it with the weights of the epoch of the
    best validation accuracy, or of the last epoch without a validation split.

    A loss that is not finite ends the training early. It is a result here, not an error.

    Args:
        model: maps descriptors to logits.
        inputs: the descriptors.
        dataset: its training and validation splits are read.
        config: reads `optimizer`, `trainer.batch_size`, `trainer.epochs`, `trainer.early_stopping`,
            `loss.label_smoothing` and `seed`.
        description: what is trained, for the progress bar, which disappears at the end.

    Returns:
        The record, see `selection_record`, with "history": the mean training loss ("loss") of each
        epoch and, with a validation split, its "val_loss" and "val_accuracy".
    """
    started, size, epochs = time.perf_counter(), config.trainer.batch_size, config.trainer.epochs
    train, patience = dataset.splits["train"], config.trainer.early_stopping
    steps_per_epoch = steps(train, size)
    optimizer = build_optimizer(config.optimizer, config.optimizer.learning_rate)
    step = tf.function(
        training_step(model, optimizer, config.loss.label_smoothing), reduce_retracing=True
    )
    schedule = LearningRateSchedule(
        config.optimizer, config.optimizer.learning_rate, steps_per_epoch, 0, epochs
    )
    schedule.set_model(keras.Model(model.inputs, model.outputs))
    schedule.model.compile(optimizer)
    history: list[dict[str, float]] = []
    with StageProgress(description, epochs, steps_per_epoch, history, MONITOR, leave=False) as bar:
        for epoch in range(epochs):
            schedule.on_epoch_begin(epoch)
            order = tf.random.experimental.stateless_shuffle(train, [config.seed, epoch]).numpy()
            losses = []
            for number, indices in enumerate(_batches(order, size)):
                schedule.on_train_batch_begin(number)
                samples = inputs.training(indices, config.seed, epoch)
                losses.append(step(samples, dataset.labels[indices]))
                bar.on_train_batch_end(number)
            logs = {"loss": float(np.mean(losses)), **_validate(model, inputs, dataset, size)}
            schedule.on_epoch_end(epoch, logs)
            history.append(logs)
            bar.on_epoch_end(epoch)
            if best_epoch(history, MONITOR) == epoch:
                weights = model.get_weights()
            if not math.isfinite(logs["loss"]) or stopped_early(history, MONITOR, patience):
                break
    model.set_weights(weights)
    seconds = time.perf_counter() - started
    return {**selection_record(history, MONITOR, seconds), "history": history}


def training_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, label_smoothing: float = 0.0
) -> Callable:
    """Returns a function that takes one step on (samples, integer labels) and returns the loss."""
    classes, variables = model.output.shape[-1], model.trainable_variables
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    optimizer.build(variables)

    def step(samples, labels):
        with tf.GradientTape() as tape:
            value = loss(tf.one_hot(labels, classes), model(samples, training=True))
        optimizer.apply(tape.gradient(value, variables), variables)
        return value

    return step


def _validate(
    model: keras.Model, inputs: MemoryInputs, dataset: Dataset, size: int
) -> dict[str, float]:
    indices = dataset.splits["val"]
    if not len(indices):
        return {}
    batches = [
        model.predict_on_batch(inputs.evaluation(batch)) for batch in _batches(indices, size)
    ]
    logits, labels = np.concatenate(batches), dataset.labels[indices]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    return {"val_loss": float(loss), MONITOR: float(np.mean(logits.argmax(axis=1) == labels))}


def _batches(indices: np.ndarray, size: int) -> list[np.ndarray]:
    return np.split(indices, range(size, len(indices), size))
