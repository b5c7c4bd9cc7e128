"""Checkpoints from which a stage resumes; tests/test_resume.py runs whole interrupted stages."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from conf.schema import TrainerConfig
from training.checkpoints import Checkpoints
from training.distributed.global_batch import GlobalBatchModel
from training.distributed.keras_20585 import PatchedFit
from training.distributed.workers import Workers

NAN = float("nan")


def compiled() -> keras.Model:
    vector = keras.Input((2,))
    hidden = keras.layers.Dropout(0.5, seed=1)(keras.layers.BatchNormalization()(vector))
    model = keras.Model(vector, keras.layers.Dense(1)(hidden))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    return model


def checkpoints_in(folder, **options) -> Checkpoints:
    config = TrainerConfig(**{"checkpoint_seconds": 0, **options})
    workers = Workers(tf.distribute.get_strategy())
    return Checkpoints(folder / "checkpoints", "head", 10, config, "accuracy", workers)


def all_values(model: keras.Model) -> list[np.ndarray]:
    return [variable.numpy() for variable in (*model.variables, *model.optimizer.variables)]


def test_weights_random_state_optimizer_and_history_are_restored(tmp_path):
    x, model, checkpoints = np.ones((6, 2)), compiled(), checkpoints_in(tmp_path)
    model.fit(x, x[:, :1], epochs=12, initial_epoch=10, verbose=0, callbacks=[checkpoints])
    resumed, other = checkpoints_in(tmp_path), compiled()
    assert resumed.restore(other) == 12
    assert resumed.history == checkpoints.history and len(resumed.history) == 2
    for actual, desired in zip(all_values(other), all_values(model), strict=True):
        np.testing.assert_array_equal(actual, desired)


def test_without_a_saved_state_the_stage_starts(tmp_path):
    assert checkpoints_in(tmp_path).restore(compiled()) == 10


def test_the_weights_of_the_best_epoch_are_chosen(tmp_path):
    checkpoints, model = checkpoints_in(tmp_path), compiled()
    checkpoints.set_model(model)
    for epoch, accuracy in enumerate((0.2, 0.6, NAN, 0.5)):
        model.layers[-1].bias.assign([epoch])
        checkpoints.on_epoch_end(10 + epoch, {"val_accuracy": accuracy})
    assert checkpoints.choose(model) == (2, {"val_accuracy": 0.6})
    np.testing.assert_array_equal(model.layers[-1].bias, [1])


@pytest.mark.parametrize(("accuracies", "bias"), [((0.2, 0.4), -1), ((0.2, 0.7), 1)])
def test_the_state_before_the_first_epoch_is_a_candidate_after_resuming_too(
    tmp_path, accuracies, bias
):
    checkpoints, model = checkpoints_in(tmp_path), compiled()
    model.layers[-1].bias.assign([-1])
    model.optimizer.build(model.trainable_variables)
    checkpoints.begin(model, {"val_accuracy": 0.5})
    for epoch, accuracy in enumerate(accuracies):
        checkpoints.set_model(model)
        model.layers[-1].bias.assign([epoch])
        checkpoints.on_epoch_end(10 + epoch, {"val_accuracy": accuracy})
        checkpoints = checkpoints_in(tmp_path)
        assert checkpoints.restore(model) == 11 + epoch
    number, metrics = checkpoints.choose(model)
    assert number == max(0, bias + 1) and metrics == {"val_accuracy": max(0.5, *accuracies)}
    np.testing.assert_array_equal(model.layers[-1].bias, [bias])


@pytest.mark.parametrize("on_several", [PatchedFit, GlobalBatchModel])
@pytest.mark.parametrize("several_first", [True, False])
def test_one_device_and_several_read_each_other_s_checkpoints(tmp_path, on_several, several_first):
    networks = [compiled(), compiled()]
    networks[0].layers[-1].bias.assign([7])
    models = [
        network if number == several_first else on_several(network)
        for number, network in enumerate(networks)
    ]
    writer, reader = checkpoints_in(tmp_path), checkpoints_in(tmp_path)
    writer.set_model(models[0])
    models[0].compile(keras.optimizers.SGD(0.1), "mse")
    writer.on_epoch_end(10, {"val_accuracy": 0.5})
    reader.load(models[1])
    np.testing.assert_array_equal(networks[1].layers[-1].bias, [7])


@pytest.mark.parametrize(("early_stopping", "stops"), [(None, False), (3, False), (2, True)])
def test_early_stopping_counts_epochs_since_the_best_one(tmp_path, early_stopping, stops):
    checkpoints = checkpoints_in(tmp_path, early_stopping=early_stopping)
    checkpoints.set_model(compiled())
    for epoch, accuracy in enumerate((0.2, 0.6, 0.5, 0.5)):
        checkpoints.on_epoch_end(10 + epoch, {"val_accuracy": accuracy})
    assert checkpoints.stopped_early() is stops
    assert bool(getattr(checkpoints.model, "stop_training", False)) is stops


def test_a_finished_stage_keeps_its_record_and_deletes_its_state(tmp_path):
    checkpoints = checkpoints_in(tmp_path)
    checkpoints.set_model(compiled())
    checkpoints.on_epoch_end(10, {"val_accuracy": 0.5})
    assert checkpoints.state.exists() and checkpoints.finished() is None
    checkpoints.finish({"epochs": 1})
    assert checkpoints_in(tmp_path).finished() == {"epochs": 1}
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"head.json", "head.weights.h5"}
