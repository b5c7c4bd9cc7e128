"""Training what reads descriptors in memory, without the curves and checkpoints of a stage.

A dozen such trainings take the time of one `fit_stage`, whose order, views, rates and choice of an
epoch they share.
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
from training.epoch_selection import best_epoch, selection_record
from training.optimizers import build_optimizer
from training.schedules import LearningRateSchedule

MONITOR = "val_accuracy"


def fit_in_memory(
    model: keras.Model, inputs: MemoryInputs, dataset: Dataset, config: Config
) -> dict:
    """Trains `model` by softmax cross-entropy and leaves it with the weights of the best epoch by
    validation accuracy, or of the last one without a validation split.

    A loss that is not finite ends it early: it is a figure here, not a mistake.

    Args:
        model: from descriptors to logits.
        inputs: the descriptors.
        dataset: whose training and validation splits are read.
        config: `optimizer`, `trainer.batch_size`, `trainer.epochs`, `trainer.early_stopping`,
            `loss.label_smoothing` and `seed`.

    Returns:
        The record: epochs run, the epoch chosen and how, seconds, and "history", the mean loss and
        the validation accuracy of each epoch.
    """
    started, size, epochs = time.perf_counter(), config.trainer.batch_size, config.trainer.epochs
    train = dataset.splits["train"]
    optimizer = build_optimizer(config.optimizer, config.optimizer.learning_rate)
    step = tf.function(
        training_step(model, optimizer, config.loss.label_smoothing), reduce_retracing=True
    )
    schedule = LearningRateSchedule(
        config.optimizer, config.optimizer.learning_rate, steps(train, size), 0, epochs
    )
    schedule.set_model(keras.Model(model.inputs, model.outputs))
    schedule.model.compile(optimizer)
    history = []
    for epoch in range(epochs):
        schedule.on_epoch_begin(epoch)
        order = tf.random.experimental.stateless_shuffle(train, [config.seed, epoch]).numpy()
        losses = []
        for number, start in enumerate(range(0, len(order), size)):
            indices = order[start : start + size]
            schedule.on_train_batch_begin(number)
            losses.append(
                step(inputs.training(indices, config.seed, epoch), dataset.labels[indices])
            )
        logs = {"loss": float(np.mean(losses)), **_validated(model, inputs, dataset, size)}
        schedule.on_epoch_end(epoch, logs)
        history.append(logs)
        best = best_epoch(history, MONITOR)
        if best == epoch:
            weights = model.get_weights()
        patience = config.trainer.early_stopping
        if not math.isfinite(logs["loss"]) or (patience is not None and epoch - best >= patience):
            break
    model.set_weights(weights)
    seconds = time.perf_counter() - started
    return {**selection_record(history, MONITOR, seconds), "history": history}


def training_step(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, label_smoothing: float = 0.0
) -> Callable:
    """One step as a function of (samples, integer labels) that returns the loss."""
    classes, variables = model.output.shape[-1], model.trainable_variables
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    optimizer.build(variables)

    def step(samples, labels):
        with tf.GradientTape() as tape:
            value = loss(tf.one_hot(labels, classes), model(samples, training=True))
        optimizer.apply(tape.gradient(value, variables), variables)
        return value

    return step


def _validated(model: keras.Model, inputs: MemoryInputs, dataset: Dataset, size: int) -> dict:
    indices = dataset.splits["val"]
    if not len(indices):
        return {}
    logits = np.concatenate(
        [
            model.predict_on_batch(inputs.evaluation(indices[start : start + size]))
            for start in range(0, len(indices), size)
        ]
    )
    labels = dataset.labels[indices]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)
    right = logits.argmax(axis=1) == labels
    return {"val_loss": float(loss), MONITOR: float(np.mean(right))}
