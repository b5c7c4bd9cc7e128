"""Curves as TensorBoard reads them: the same as those of Keras's own callback."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.epoch_scalars import EpochScalars

X, Y = np.arange(6, dtype=np.float32)[:, None], np.arange(6, dtype=np.float32)


def fit(callback, epochs=3, first=0, **options) -> None:
    """Trains a linear model."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(inputs))
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    model.fit(
        X,
        Y + 1,
        batch_size=2,
        epochs=epochs,
        initial_epoch=first,
        shuffle=False,
        verbose=0,
        callbacks=[callback],
        **options,
    )


def read(folder) -> dict[str, dict[int, float]]:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def test_curves_equal_those_of_keras_own_callback(tmp_path):
    fit(EpochScalars(tmp_path / "ours"), validation_data=(X, Y))
    board = keras.callbacks.TensorBoard(tmp_path / "keras", write_graph=False)
    fit(board, validation_data=(X, Y))
    ours, theirs = read(tmp_path / "ours" / "train"), read(tmp_path / "keras" / "train")
    assert set(ours) == set(theirs) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}
    for tag, curve in theirs.items():
        assert ours[tag] == pytest.approx(curve, rel=1e-5)
    ours, theirs = read(tmp_path / "ours" / "validation"), read(tmp_path / "keras" / "validation")
    assert set(ours) == {"epoch_loss", "epoch_mae"}
    for tag, curve in ours.items():
        assert curve == pytest.approx(theirs[tag], rel=1e-5)


def test_without_validation_there_are_only_training_curves(tmp_path):
    fit(EpochScalars(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_an_epoch_can_be_read_before_training_ends(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    curves = EpochScalars(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(keras.callbacks.CallbackList([curves, Stop()]))
    assert list(read(tmp_path / "train")["epoch_loss"]) == [0, 1]


def test_a_resumed_run_continues_its_curves(tmp_path):
    fit(EpochScalars(tmp_path), epochs=2)
    fit(EpochScalars(tmp_path), epochs=4, first=2)
    assert list(read(tmp_path / "train")["epoch_loss"]) == [0, 1, 2, 3]
