"""Callbacks that Keras does not have."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from errors import UserError
from training.callbacks import MetricsLog, StopOnDivergence


def test_metrics_log_appends_a_line_an_epoch(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for stage, epochs in (("head", [0, 1]), ("fine_tune", [2])):
        log = MetricsLog(path, stage)
        log.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=np.float32(0.5))))
        for epoch in epochs:
            log.on_epoch_end(epoch, {"loss": np.float32(0.25), "val_accuracy": 1})
    metrics = {"loss": 0.25, "val_accuracy": 1.0, "learning_rate": 0.5}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"stage": "head", "epoch": 1, **metrics},
        {"stage": "head", "epoch": 2, **metrics},
        {"stage": "fine_tune", "epoch": 3, **metrics},
    ]


def test_a_full_disk_is_reported_with_what_to_do(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = MetricsLog(tmp_path / "metrics.jsonl", "head")
    log.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=np.float32(0.5))))
    with pytest.raises(UserError, match=r"metrics\.jsonl.*No space left on device.*make room"):
        log.on_epoch_end(0, {"loss": 1.0})


@pytest.fixture
def guard(tmp_path):
    guard = StopOnDivergence("head", tmp_path / "head.weights.h5")
    guard.on_epoch_begin(4)
    return guard


def test_a_finite_loss_of_any_size_goes_on(guard):
    guard.on_train_batch_end(0, {"loss": 1e30})


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_stops_with_place_and_advice(guard, loss):
    with pytest.raises(UserError) as caught:
        guard.on_train_batch_end(6, {"loss": np.float32(loss)})
    message = str(caught.value)
    assert message.startswith(f"the loss became {loss} in epoch 5, step 7 of stage 'head'; try")
    for remedy in ("optimizer.learning_rate", "optimizer.clip_norm=1", "trainer.precision=float32"):
        assert remedy in message


def test_a_good_checkpoint_is_named(guard):
    guard.checkpoint.touch()
    with pytest.raises(UserError, match=r"the best checkpoint is .*head\.weights\.h5; try"):
        guard.on_train_batch_end(0, {"loss": float("nan")})


def test_fit_stops_at_the_first_such_step(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.ones((6, 2), np.float32)
    x[3] = np.nan
    with pytest.raises(UserError, match="the loss became nan in epoch 1, step 4 of stage 'head'"):
        model.fit(
            x,
            np.ones(6),
            batch_size=1,
            shuffle=False,
            epochs=3,
            verbose=0,
            callbacks=[StopOnDivergence("head", tmp_path / "none.weights.h5")],
        )
