"""The linear SVM of frozen features agrees with a direct solution of the primal problem."""

import json

import keras
import numpy as np
import pytest
from scipy.optimize import minimize

from data.datasets import Dataset
from data.inputs import MemoryInputs
from training import gram_matrix
from training.initialization import standardize
from training.svm import C, fit_svm

CLASSES = ["ant", "bee", "cat"]
INDICES = np.arange(3, 33)  # some images are in no split, as with data.limit
LABELS = np.arange(40) % 3
TRAIN = INDICES[:18]


class Labelled:
    """The only attribute of images that is read."""

    labels = LABELS


DATASET = Dataset("made", Labelled(), CLASSES, {"train": TRAIN, "test": INDICES[18:]}, "")


def vectors(dimensions: int, seed: int = 0) -> MemoryInputs:
    """Two views of overlapping classes."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1, (3, dimensions))[LABELS[INDICES]]
    array = 2 + centres + rng.normal(0, 1.5, (2, len(INDICES), dimensions))
    return MemoryInputs(INDICES, array.astype(np.float32))


def linear(inputs: MemoryInputs, standardized: bool = False) -> keras.Model:
    vector = keras.Input(inputs.shape)
    x = keras.layers.Normalization(name="standardize")(vector) if standardized else vector
    model = keras.Model(vector, keras.layers.Dense(3, name="classifier")(x))
    if standardized:
        standardize(model, lambda batch: batch, inputs, TRAIN, 8)
    return model


def primal_decisions(samples, labels, asked) -> np.ndarray:
    """Decision values from min |w|^2 / 2 + C sum(slack), label (wx + b) >= 1 - slack >= 1 - ..."""
    count, dimensions = samples.shape
    decisions = []
    for label in range(3):
        signs = np.where(labels == label, 1.0, -1.0)
        margins = np.hstack([signs[:, None] * samples, signs[:, None], np.eye(count)])
        solution = minimize(
            lambda v: 0.5 * v[:dimensions] @ v[:dimensions] + C * v[dimensions + 1 :].sum(),
            np.r_[np.zeros(dimensions + 1), np.ones(count)],
            jac=lambda v: np.r_[v[:dimensions], 0.0, np.full(count, C)],
            bounds=[(None, None)] * (dimensions + 1) + [(0, None)] * count,
            constraints={
                "type": "ineq",
                "fun": lambda v, margins=margins: margins @ v - 1,
                "jac": lambda v, margins=margins: margins,
            },
            method="SLSQP",
            options={"maxiter": 500, "ftol": 1e-10},
        )
        assert solution.success, solution.message
        decisions.append(asked @ solution.x[:dimensions] + solution.x[dimensions])
    return np.stack(decisions, axis=1)


@pytest.mark.parametrize("dimensions", [4, 40], ids=["fewer dimensions", "fewer samples"])
@pytest.mark.parametrize("mirror", [False, True])
def test_decision_values_are_those_of_the_primal_problem(dimensions, mirror):
    inputs = vectors(dimensions)
    model = linear(inputs)
    fit_svm(model, inputs, DATASET, mirror)
    views = (0, 1) if mirror else (0,)
    samples = np.concatenate([inputs.evaluation(TRAIN, bool(view)) for view in views])
    expected = primal_decisions(
        samples.astype(np.float64), np.tile(LABELS[TRAIN], len(views)), inputs.evaluation(INDICES)
    )
    decisions = model.predict(inputs.evaluation(INDICES), verbose=0)
    np.testing.assert_allclose(decisions, expected, rtol=2e-3, atol=5e-3)


def test_it_learns_the_standardised_inputs_of_the_last_layer():
    inputs = vectors(40)
    model = linear(inputs, standardized=True)
    fit_svm(model, inputs, DATASET, mirror=False)
    samples = inputs.evaluation(TRAIN).astype(np.float64)
    centred = samples - samples.mean(axis=0)
    scale = np.sqrt(np.mean(np.sum(centred**2, axis=1)))
    asked = (inputs.evaluation(INDICES) - samples.mean(axis=0)) / scale
    expected = primal_decisions(centred / scale, LABELS[TRAIN], asked)
    decisions = model.predict(inputs.evaluation(INDICES), verbose=0)
    np.testing.assert_allclose(decisions, expected, rtol=2e-3, atol=5e-3)


def test_descriptors_are_read_block_by_block(monkeypatch):
    inputs = vectors(41)
    whole, in_blocks = linear(inputs, True), linear(inputs, True)
    fit_svm(whole, inputs, DATASET, mirror=True)
    monkeypatch.setattr(gram_matrix, "BLOCK", 7)  # the last block has 6 dimensions
    fit_svm(in_blocks, inputs, DATASET, mirror=True)
    for one, other in zip(whole.get_weights(), in_blocks.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


# Runs


def test_a_run_reports_metrics_and_its_saved_model_agrees(train, command):
    outcome, folder = train("solver=svm", "data.average_mirror=true")
    assert outcome.status == 0, outcome.errors
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stages"]["head"]["chosen_by"] == "svm, C=1"
    assert metrics["stages"]["head"]["val"] == metrics["val"]
    assert metrics["test"]["accuracy"] == 1.0  # colours are easy
    again = json.loads(command("evaluate.py", folder, "--json").output.splitlines()[-1])
    assert again == pytest.approx(metrics["test"], rel=1e-4)


def test_fine_tuning_starts_from_its_weights(train):
    outcome, folder = train("solver=svm", "trainer.fine_tune_epochs=1")
    assert outcome.status == 0, outcome.errors
    assert set(json.loads((folder / "metrics.json").read_text())["stages"]) == {"head", "fine_tune"}


@pytest.mark.parametrize(
    "override",
    [
        "trainer.feature_store=false",
        "head.reduction=8",
        "head.embedding=8",
        "loss=softmax_center head.embedding=8",
        "trainer.descriptor_gib=1e-6",
    ],
)
def test_an_unsuitable_configuration_is_refused(train, override):
    outcome, _ = train("solver=svm", *override.split())
    assert outcome.status != 0
    assert "solver=svm" in outcome.error and override.split("=")[0] in outcome.error
