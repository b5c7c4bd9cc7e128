"""Curves as TensorBoard reads them: Keras' own, under the same names."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from training.epoch_scalars import EpochScalars

X, Y = np.arange(6, dtype=np.float32)[:, None], np.arange(6, dtype=np.float32)


def fitted(callback, epochs=3, first=0, **options) -> None:
    """Trains a line."""
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


def test_they_are_those_that_keras_own_callback_writes(tmp_path):
    fitted(EpochScalars(tmp_path / "ours"), validation_data=(X, Y))
    board = keras.callbacks.TensorBoard(tmp_path / "keras", write_graph=False)
    fitted(board, validation_data=(X, Y))
    ours, theirs = read(tmp_path / "ours" / "train"), read(tmp_path / "keras" / "train")
    assert set(ours) == set(theirs) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}
    for tag, curve in theirs.items():
        assert ours[tag] == pytest.approx(curve, rel=1e-5)
    ours, theirs = read(tmp_path / "ours" / "validation"), read(tmp_path / "keras" / "validation")
    assert set(ours) == {"epoch_loss", "epoch_mae"}
    for tag, curve in ours.items():
        assert curve == pytest.approx(theirs[tag], rel=1e-5)


def test_without_validation_there_is_no_curve_of_it(tmp_path):
    fitted(EpochScalars(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_what_was_written_is_there_before_training_ends(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    curves = EpochScalars(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fitted(keras.callbacks.CallbackList([curves, Stop()]))
    assert list(read(tmp_path / "train")["epoch_loss"]) == [0, 1]


def test_a_run_that_goes_on_draws_its_curves_on(tmp_path):
    fitted(EpochScalars(tmp_path), epochs=2)
    fitted(EpochScalars(tmp_path), epochs=4, first=2)
    assert list(read(tmp_path / "train")["epoch_loss"]) == [0, 1, 2, 3]
