"""Callbacks that Keras does not have."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from errors import UserError
from training.callbacks import MetricsLog, StopOnDivergence, ValidationMetrics


def test_metrics_log_appends_one_line_an_epoch(tmp_path):
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


def test_a_full_disk_is_reported_with_advice(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    log = MetricsLog(tmp_path / "metrics.jsonl", "head")
    log.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=np.float32(0.5))))
    with pytest.raises(UserError, match=r"metrics\.jsonl.*No space left on device.*make room"):
        log.on_epoch_end(0, {"loss": 1.0})


def test_metrics_log_drops_lines_of_epochs_that_are_repeated_and_half_written_ones(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [
        {"stage": stage, "epoch": epoch}
        for stage, epoch in (("head", 9), ("fine_tune", 10), ("fine_tune", 11))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "fine')
    MetricsLog(path, "fine_tune", first_epoch=10).on_train_begin()
    assert [json.loads(line) for line in path.read_text().splitlines()] == lines[:2]


def test_validation_metrics_are_added_to_the_logs():
    model, logs = keras.Sequential(), {"loss": 1.0}
    callback = ValidationMetrics(lambda predictor: {"same": float(predictor is model)}, model)
    callback.on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "val_same": 1.0}


@pytest.fixture
def guard(tmp_path):
    guard = StopOnDivergence("head", tmp_path / "head.weights.h5")
    guard.on_epoch_begin(4)
    return guard


def test_a_large_but_finite_loss_does_not_stop_training(guard):
    guard.on_train_batch_end(0, {"loss": 1e30})


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_training_with_place_and_advice(guard, loss):
    with pytest.raises(UserError) as caught:
        guard.on_train_batch_end(6, {"loss": np.float32(loss)})
    message = str(caught.value)
    assert message.startswith(f"the loss became {loss} in epoch 5, step 7 of stage 'head'; try")
    for remedy in ("optimizer.learning_rate", "optimizer.clip_norm=1", "trainer.precision=float32"):
        assert remedy in message


def test_the_advice_for_stage_2_names_its_own_options(tmp_path):
    guard = StopOnDivergence("fine_tune", tmp_path / "none.weights.h5")
    with pytest.raises(
        UserError, match=r"a smaller optimizer\.fine_tune_learning_rate, "
    ) as caught:
        guard.on_train_batch_end(0, {"loss": float("nan")})
    assert "optimizer.fine_tune_clip_norm=1" in str(caught.value)


def test_clipped_gradients_are_not_advised_to_be_clipped(tmp_path):
    guard = StopOnDivergence("fine_tune", tmp_path / "none.weights.h5", clipped=True)
    with pytest.raises(UserError, match=r"a smaller optimizer\.fine_tune_learning_rate, a larger"):
        guard.on_train_batch_end(0, {"loss": float("nan")})


def test_the_message_names_an_existing_checkpoint(guard):
    guard.checkpoint.touch()
    with pytest.raises(UserError, match=r"the best checkpoint is .*head\.weights\.h5; try"):
        guard.on_train_batch_end(0, {"loss": float("nan")})


@pytest.mark.parametrize(
    ("val_loss", "weight", "message"),
    [
        (float("inf"), 1.0, "the validation loss became inf in epoch 5 of stage 'head'; try"),
        (1.0, np.nan, "the sum of weights .*kernel became nan in epoch 5 of stage 'head'; try"),
    ],
)
def test_an_epoch_s_validation_loss_and_weights_are_checked(guard, val_loss, weight, message):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    guard.set_model(model)
    guard.on_epoch_end(4, {"loss": 1.0, "val_loss": 1.0})
    model.trainable_weights[0].assign([[weight]])
    with pytest.raises(UserError, match=message):
        guard.on_epoch_end(4, {"loss": 1.0, "val_loss": val_loss})


def test_fit_stops_at_the_first_step_whose_loss_is_nan(tmp_path):
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
