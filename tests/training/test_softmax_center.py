"""Softmax and center loss together, on made vectors."""

import json

import h5py
import keras
import numpy as np
import pytest

from conf.schema import LossConfig
from losses import CenterLoss
from training.objectives import classification_objective
from training.softmax_center import SoftmaxCenterModel

LABELS = np.arange(24) % 3
ONE_HOT = np.eye(3, dtype="float32")[LABELS]
X = (ONE_HOT + np.random.default_rng(0).normal(0, 0.3, (24, 3))).astype("float32")


def network() -> keras.Model:
    vector = keras.Input((3,))
    draw = keras.initializers.GlorotUniform
    embedding = keras.layers.Dense(4, kernel_initializer=draw(0))(vector)
    logits = keras.layers.Dense(3, kernel_initializer=draw(1))(embedding)
    return keras.Model(vector, [logits, embedding])


def training_model(weight=0.1, steps=None, batch_size=8, epochs=2, **options):
    """A trained model, its network and its history."""
    center_loss = CenterLoss(3, accumulation_steps=steps, **options)
    center_loss.build((None, 4))
    model = SoftmaxCenterModel(network(), center_loss, weight)
    objective = classification_objective(LossConfig(), 3)
    model.compile(
        keras.optimizers.SGD(0.1, gradient_accumulation_steps=steps),
        objective.loss,
        metrics=list(objective.metrics),
    )
    history = model.fit(
        X,
        ONE_HOT,
        validation_data=(X, ONE_HOT),
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
    )
    return model, history.history


def test_the_loss_is_the_weighted_sum_and_both_terms_have_curves():
    _, curves = training_model(weight=0.1, batch_size=7, epochs=3)  # the last batch is smaller
    for split in ("", "val_"):
        total, softmax, center = (
            np.array(curves[split + name]) for name in ("loss", "softmax_loss", "center_loss")
        )
        np.testing.assert_allclose(total, softmax + 0.1 * center, rtol=1e-5)
    assert {"accuracy", "top5_accuracy", "val_accuracy"} <= set(curves)


def test_the_terms_are_those_of_the_embeddings_and_logits():
    model, _ = training_model()
    logits, embeddings = model.network.predict(X, verbose=0)
    logs = model.evaluate(X, ONE_HOT, verbose=0, return_dict=True)
    distances = np.sum((embeddings - model.center_loss.centers.numpy()[LABELS]) ** 2, axis=1)
    assert logs["center_loss"] == pytest.approx(distances.mean() / 2, rel=1e-4)
    assert logs["accuracy"] == pytest.approx(np.mean(logits.argmax(axis=1) == LABELS))


def test_evaluation_leaves_the_centers_alone():
    model, _ = training_model()
    before = model.center_loss.centers.numpy()
    model.evaluate(X, ONE_HOT, verbose=0)
    np.testing.assert_array_equal(model.center_loss.centers.numpy(), before)


@pytest.mark.slow
def test_its_weight_pulls_embeddings_together():
    ends = [training_model(weight=weight, epochs=8)[1]["center_loss"][-1] for weight in (0.0, 1.0)]
    assert ends[1] < 0.7 * ends[0]


@pytest.mark.parametrize("rule", ["wen", "facenet"])
def test_batches_of_one_sample_train_on(rule):
    model, curves = training_model(batch_size=1, rule=rule)
    assert np.isfinite(curves["loss"] + curves["val_loss"]).all()
    assert np.isfinite(model.center_loss.centers.numpy()).all()


@pytest.mark.slow
def test_accumulated_batches_are_one_large_batch():
    whole, parts = training_model()[0], training_model(steps=2, batch_size=4)[0]
    np.testing.assert_allclose(
        parts.center_loss.centers.numpy(), whole.center_loss.centers.numpy(), rtol=1e-4, atol=1e-6
    )
    for one, other in zip(parts.network.weights, whole.network.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)


# A whole run


JOINT = ("loss=softmax_center", "head.embedding=4", "loss.center_weight=0.1", "optimizer=adamw")
BOTH_STAGES = (
    *JOINT,
    "trainer.fine_tune_epochs=2",
    "trainer.checkpoint_seconds=0",
    "trainer.epoch_lines=true",
    "optimizer.accumulation_steps=2",
    "trainer.batch_size=4",
    "trainer.fine_tune_batch_size=4",
)


def centers_in(folder, stage: str) -> np.ndarray:
    """The centers of the stage's weights file."""
    with h5py.File(folder / "checkpoints" / f"{stage}.weights.h5") as file:
        return file["center_loss/vars/0"][()]


def lines_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("store", ["true", "false"])
def test_a_run_saves_a_plain_classifier_and_shows_both_terms(train, store):
    outcome, folder = train(*JOINT, f"trainer.feature_store={store}")
    assert outcome.status == 0, outcome.errors
    model = keras.saving.load_model(folder / "model.keras")
    assert len(model.outputs) == 1 and not any("center" in w.path for w in model.weights)
    for line in lines_of(folder):
        assert line["loss"] == pytest.approx(
            line["softmax_loss"] + 0.1 * line["center_loss"], rel=1e-4
        )
        assert "val_center_loss" in line and "val_softmax_loss" in line
    assert np.abs(centers_in(folder, "head")).max() > 0


class Interrupted(BaseException):
    pass


@pytest.mark.slow
def test_a_run_interrupted_in_both_stages_ends_with_the_same_centers(train, monkeypatch):
    from training.callbacks import MetricsLog

    _, whole = train(*BOTH_STAGES, name="whole")
    on_epoch_end, moments = MetricsLog.on_epoch_end, [("head", 1), ("fine_tune", 3)]

    def interrupt(log, number, logs=None):
        on_epoch_end(log, number, logs)
        if moments and (log.stage, number) == moments[0]:
            moments.pop(0)
            raise Interrupted

    monkeypatch.setattr(MetricsLog, "on_epoch_end", interrupt)
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(*BOTH_STAGES)
    outcome, folder = train(*BOTH_STAGES)
    assert outcome.status == 0 and "Epoch 1/" not in outcome.output, outcome.errors
    assert lines_of(folder) == lines_of(whole)
    for name in ("head", "fine_tune"):
        np.testing.assert_array_equal(centers_in(folder, name), centers_in(whole, name))


@pytest.mark.slow
def test_fine_tuning_goes_on_with_the_centers_of_the_chosen_epoch(train, monkeypatch):
    began = []

    def fit(model, *args, **options):
        began.append(model.center_loss.centers.numpy())
        return keras.Model.fit(model, *args, **options)

    monkeypatch.setattr(SoftmaxCenterModel, "fit", fit)
    _, folder = train(*BOTH_STAGES)
    np.testing.assert_array_equal(began[0], 0)
    np.testing.assert_array_equal(began[1], centers_in(folder, "head"))
    assert np.abs(began[1]).max() > 0


@pytest.mark.slow
def test_what_it_needs_is_reported(train):
    for number, (overrides, reported) in enumerate(
        [
            (("loss=softmax_center",), "head.embedding"),
            ((*JOINT, "solver=svm"), "solver=sgd"),
            ((*JOINT, "loss.center_alpha=2"), "loss.center_alpha=2"),
        ]
    ):
        outcome, _ = train(*overrides, name=f"run{number}")
        assert outcome.status == 2 and reported in outcome.error
