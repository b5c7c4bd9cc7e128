"""Norms and histograms of gradients, updates and weights, as TensorBoard reads them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conf.schema import Optimizer, OptimizerConfig
from training.gradient_statistics import MAX_VALUES, GradientStatistics, _subsample
from training.optimizers import build_optimizer

X = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
Y = X @ np.array([[1.0], [-2.0], [0.5]], np.float32)


def fit(
    folder, policy="float32", epochs=3, every=2, rate=0.1, callbacks=(), **options
) -> EventAccumulator:
    """Returns the events of training a linear model with four steps of three samples an epoch."""
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
    """Returns the norms of gradient, update and weights at each epoch's last step."""
    w, norms = np.zeros((3, 1)), ([], [], [])
    for _ in range(epochs):
        for start in range(0, 12, 3):
            x, y = X[start : start + 3], Y[start : start + 3]
            gradient = 2 * x.T @ (x @ w - y) / 3
            w = w - 0.1 * gradient
        for values, new in zip(norms, (gradient, -0.1 * gradient, w), strict=True):
            values.append(float(np.linalg.norm(new)))
    return norms


def test_norms_are_those_of_each_epochs_last_step(tmp_path):
    events = fit(tmp_path)
    gradients, updates, weights = by_hand()
    for name, wanted in [
        ("gradient norm/dense/kernel", gradients),
        ("gradient norm/all", gradients),
        ("update norm/dense/kernel", updates),
        ("weight norm/dense/kernel", weights),
        ("relative update/dense/kernel", np.divide(updates, weights)),
    ]:
        logged = curve(events, name)
        assert list(logged) == [0, 1, 2]
        assert list(logged.values()) == pytest.approx(list(wanted), rel=1e-4)


def test_parts_have_a_norm_of_their_own(tmp_path):
    inputs = keras.Input((3,))
    backbone = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(2)], name="backbone")
    fixed = keras.Sequential([keras.layers.Dense(2)], name="fixed")
    linear = keras.layers.Dense(1)
    model = keras.Model(inputs, linear(fixed(backbone(inputs))))
    fixed.trainable = False
    model.compile(build_optimizer(OptimizerConfig(name=Optimizer.sgd), 0.1), "mse")
    statistics = GradientStatistics(tmp_path, 1, 1, parts=[backbone, fixed])
    model.fit(X, Y, batch_size=12, verbose=0, callbacks=[statistics])

    events = EventAccumulator(str(tmp_path)).Reload()
    norms = {
        variable.path: curve(events, f"gradient norm/{variable.path}")[0]
        for variable in model.trainable_variables
    }
    of_backbone = [norms[variable.path] for variable in backbone.trainable_variables]
    wanted = np.linalg.norm(of_backbone)
    assert curve(events, "gradient norm/backbone")[0] == pytest.approx(wanted, rel=1e-5)
    assert 0 < wanted < curve(events, "gradient norm/all")[0]
    assert "gradient norm/fixed" not in events.Tags()["tensors"]


def test_an_epoch_that_ends_early_is_not_logged(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = self.epoch == 1

    assert list(curve(fit(tmp_path, callbacks=[Stop()]), "gradient norm/all")) == [0]


def test_the_gradient_norm_is_measured_before_clipping(tmp_path):
    events = fit(tmp_path, clip_norm=1e-3, epochs=1)
    assert curve(events, "update norm/dense/kernel")[0] == pytest.approx(1e-4, rel=1e-3)
    assert curve(events, "gradient norm/all")[0] > 0.1


def test_histograms_are_written_every_few_epochs(tmp_path):
    events = fit(tmp_path)
    for tag in ("weights/dense/kernel", "updates/dense/kernel"):
        assert [event.step for event in events.Tensors(tag)] == [0, 2]


def test_the_last_epoch_of_a_short_stage_has_histograms(tmp_path):
    events = fit(tmp_path, every=5)
    assert [event.step for event in events.Tensors("weights/dense/kernel")] == [0, 2]


def test_gradients_of_a_scaled_loss_are_logged_unscaled(tmp_path):
    plain = curve(fit(tmp_path / "plain", epochs=1), "gradient norm/all")[0]
    scaled = curve(fit(tmp_path / "s", "mixed_float16", epochs=1), "gradient norm/all")[0]
    assert scaled == pytest.approx(plain, rel=0.02)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_norms_of_a_diverging_model_are_infinite_without_a_warning(tmp_path):
    events = fit(tmp_path, epochs=1, rate=1e7)
    assert curve(events, "weight norm/dense/kernel")[0] == np.inf
    assert np.isnan(curve(events, "relative update/dense/kernel")[0])


def test_a_histogram_uses_a_subsample_of_a_large_variable(tmp_path):
    assert MAX_VALUES / 2 < _subsample(np.zeros((300, 301))).size <= MAX_VALUES
    assert _subsample(np.ones(7)).size == 7
