"""Norms and histograms of gradients, updates and weights, as TensorBoard reads them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conf.schema import Optimizer, OptimizerConfig
from training.gradient_statistics import MOST_NUMBERS, GradientStatistics, _some
from training.optimizers import build_optimizer

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = X @ np.array([[1.0], [-2.0], [0.5]], np.float32)


def fitted(
    folder, policy="float32", epochs=3, every=2, rate=0.1, callbacks=(), **options
) -> EventAccumulator:
    """The events of a linear model's training: four steps of three samples an epoch."""
    inputs = keras.Input((3,))
    dense = keras.layers.Dense(1, use_bias=False, name="dense", dtype=policy)
    model = keras.Model(inputs, dense(inputs))
    dense.set_weights([np.zeros((3, 1))])
    config = OptimizerConfig(name=Optimizer.sgd, momentum=0.0, **options)
    model.compile(build_optimizer(config, rate), "mse", auto_scale_loss=policy == "mixed_float16")
    model.fit(
        X,
        Y,
        batch_size=3,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, GradientStatistics(folder, steps=4, every=every)],
    )
    return EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()


def curve(events: EventAccumulator, tag: str) -> dict[int, float]:
    return {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}


def by_hand(epochs=3) -> tuple[list, list, list]:
    """Gradient, update and weights of each epoch's last step."""
    w, kept = np.zeros((3, 1)), ([], [], [])
    for _ in range(epochs):
        for start in range(0, 12, 3):
            x, y = X[start : start + 3], Y[start : start + 3]
            gradient = 2 * x.T @ (x @ w - y) / 3
            w = w - 0.1 * gradient
        for values, new in zip(kept, (gradient, -0.1 * gradient, w), strict=True):
            values.append(float(np.linalg.norm(new)))
    return kept


def test_norms_are_those_of_each_epochs_last_step(tmp_path):
    events = fitted(tmp_path)
    gradients, updates, weights = by_hand()
    for name, wanted in [
        ("gradient norm/dense/kernel", gradients),
        ("gradient norm/all", gradients),
        ("update norm/dense/kernel", updates),
        ("weight norm/dense/kernel", weights),
        ("relative update/dense/kernel", np.divide(updates, weights)),
    ]:
        found = curve(events, name)
        assert list(found) == [0, 1, 2]
        assert list(found.values()) == pytest.approx(list(wanted), rel=1e-4)


def test_an_epoch_that_ended_early_has_no_last_step(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.epoch == 1

    assert list(curve(fitted(tmp_path, callbacks=[Stop()]), "gradient norm/all")) == [0]


def test_the_gradients_norm_is_that_before_clipping(tmp_path):
    events = fitted(tmp_path, clip_norm=1e-3, epochs=1)
    assert curve(events, "update norm/dense/kernel")[0] == pytest.approx(1e-4, rel=1e-3)
    assert curve(events, "gradient norm/all")[0] > 0.1


def test_histograms_come_every_so_many_epochs(tmp_path):
    events = fitted(tmp_path)
    for tag in ("weights/dense/kernel", "updates/dense/kernel"):
        assert [event.step for event in events.Tensors(tag)] == [0, 2]


def test_the_last_epoch_has_histograms_however_short_a_stage_is(tmp_path):
    events = fitted(tmp_path, every=5)
    assert [event.step for event in events.Tensors("weights/dense/kernel")] == [0, 2]


def test_a_scaled_loss_shows_unscaled_gradients(tmp_path):
    plain = curve(fitted(tmp_path / "plain", epochs=1), "gradient norm/all")[0]
    scaled = curve(fitted(tmp_path / "s", "mixed_float16", epochs=1), "gradient norm/all")[0]
    assert scaled == pytest.approx(plain, rel=0.02)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_norms_of_what_diverges_are_infinite_without_a_warning(tmp_path):
    events = fitted(tmp_path, epochs=1, rate=1e7)
    assert curve(events, "weight norm/dense/kernel")[0] == np.inf
    assert np.isnan(curve(events, "relative update/dense/kernel")[0])


def test_a_large_variable_is_thinned_for_its_histogram(tmp_path):
    assert MOST_NUMBERS / 2 < _some(np.zeros((300, 301))).size <= MOST_NUMBERS
    assert _some(np.ones(7)).size == 7
