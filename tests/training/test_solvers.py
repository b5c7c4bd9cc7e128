"""`solver=svm` and `solver=logistic`: C given or chosen on the validation split, and whole runs."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.datasets import Dataset
from data.inputs import MemoryInputs
from errors import UserError
from training import solvers
from training.initialization import standardize
from training.solvers import PATH, fit_solver, given_strength

INDICES = np.arange(3, 33)  # some images are in no split, as with data.limit
LABELS = np.arange(40) % 3
SPLITS = {"train": INDICES[:18], "val": INDICES[18:24], "test": INDICES[24:]}


class Labelled:
    """The only attribute of images that is read."""

    labels = LABELS


DATASET = Dataset("made", Labelled(), ["ant", "bee", "cat"], SPLITS, "")
WITHOUT_VALIDATION = dataclasses.replace(DATASET, splits=SPLITS | {"val": INDICES[:0]})


@pytest.fixture
def configured(make_config):
    return lambda *overrides: make_config("data.mirror=false", *overrides)


def vectors(dimensions: int = 40) -> MemoryInputs:
    """Two views of overlapping classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1, (3, dimensions))[LABELS[INDICES]]
    array = 2 + centres + rng.normal(0, 1.5, (2, len(INDICES), dimensions))
    return MemoryInputs(INDICES, array.astype(np.float32))


def linear(inputs: MemoryInputs) -> keras.Model:
    vector = keras.Input(inputs.shape)
    x = keras.layers.Normalization(name="standardize")(vector)
    model = keras.Model(vector, keras.layers.Dense(3, name="classifier")(x))
    standardize(model, lambda batch: batch, inputs, SPLITS["train"], 8)
    return model


def never() -> dict:
    raise AssertionError("C is given")


@pytest.mark.parametrize(
    ("overrides", "strength"),
    [
        (["solver=svm"], 1.0),
        (["solver=svm", "solver_c=10"], 10.0),
        (["solver=svm", "solver_c=null"], None),
        (["solver=logistic"], None),
        (["solver=logistic", "solver_c=0.5"], 0.5),
    ],
)
def test_the_papers_svm_has_c_1_and_everything_else_is_chosen_unless_given(
    configured, overrides, strength
):
    assert given_strength(configured(*overrides), DATASET) == strength


@pytest.mark.parametrize("overrides", [["solver=svm", "solver_c=null"], ["solver=logistic"]])
def test_without_validation_c_must_be_given(configured, overrides):
    with pytest.raises(UserError, match="give a number, for example solver_c=100"):
        given_strength(configured(*overrides), WITHOUT_VALIDATION)


@pytest.mark.parametrize("strength", ["0", "-1", "nan", "large", "true"])
def test_c_is_a_positive_number(configured, strength):
    with pytest.raises(UserError, match=r"solver_c=.*: must be above 0"):
        configured("solver=svm", f"solver_c={strength}")


@pytest.mark.parametrize("solver", ["svm", "logistic"])
def test_it_learns_the_inputs_of_the_last_layer_and_the_mirrored_images(
    configured, tmp_path, solver
):
    inputs = vectors()
    model = linear(inputs)
    config = configured(f"solver={solver}", "solver_c=2", "data.mirror=true")
    record = fit_solver(config, model, inputs, WITHOUT_VALIDATION, tmp_path, never)
    assert record["chosen_by"] == f"{solver}, C=2" and record["c"] == 2
    both = np.concatenate([inputs.evaluation(SPLITS["train"], view) for view in (False, True)])
    standardized = model.get_layer("standardize")(both).numpy()
    labels = np.tile(LABELS[SPLITS["train"]], 2)
    ((kernel, biases),) = solvers.SOLVERS[config.solver](standardized, labels, 3, [2.0])
    expected = standardized @ kernel + biases
    np.testing.assert_allclose(model.predict(both, verbose=0), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("accuracies", "losses", "chosen"),
    [
        ([0.5, 0.9, 0.8, 0.7, 0.6, 0.5], [5, 4, 3, 2, 1, 0], 1),
        ([0.9, 0.9, 0.8, 0.7, 0.6, 0.5], [5, 4, 3, 2, 1, 0], 1),
        ([0.9, 0.9, 0.9, 0.7, 0.6, 0.5], [3, 4, 5, 2, 1, 0], 0),
    ],
)
def test_the_best_validation_accuracy_decides_and_then_the_least_loss(
    configured, tmp_path, accuracies, losses, chosen
):
    inputs = vectors()
    model, points, kernels = linear(inputs), iter(zip(accuracies, losses, strict=True)), []

    def validate() -> dict:
        kernels.append(model.get_layer("classifier").get_weights()[0])
        accuracy, loss = next(points)
        return {"accuracy": accuracy, "loss": loss}

    record = fit_solver(configured("solver=logistic"), model, inputs, DATASET, tmp_path, validate)
    assert record["c"] == PATH[chosen]
    assert [point["c"] for point in record["path"]] == PATH
    assert [point["accuracy"] for point in record["path"]] == accuracies
    np.testing.assert_array_equal(model.get_layer("classifier").get_weights()[0], kernels[chosen])
    events = EventAccumulator(str(tmp_path / "tensorboard" / "validation")).Reload()
    curves = {
        tag: [event.tensor_proto for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }
    assert set(curves) == {f"path of C/{name}" for name in ("accuracy", "loss", "log10 of C")}
    assert {len(values) for values in curves.values()} == {len(PATH)}


# Runs


@pytest.mark.parametrize("solver", ["svm", pytest.param("logistic", marks=pytest.mark.slow)])
def test_a_run_reports_metrics_and_its_saved_model_agrees(train, command, solver):
    outcome, folder = train(f"solver={solver}", "solver_c=1", "data.average_mirror=true")
    assert outcome.status == 0, outcome.errors
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["stages"]["head"]["chosen_by"] == f"{solver}, C=1"
    stage, calibration = metrics["stages"]["head"]["val"], metrics["calibration"]["val"]
    assert {name: stage[name] for name in calibration["before"]} == calibration["before"]
    assert {name: metrics["val"][name] for name in calibration["after"]} == calibration["after"]
    assert stage["accuracy"] == metrics["val"]["accuracy"]
    assert metrics["test"]["accuracy"] == 1.0  # colours are easy
    again = json.loads(command("evaluate.py", folder, "--json").output.splitlines()[-1])
    assert again.pop("intervals") and again == pytest.approx(metrics["test"], rel=1e-4)


@pytest.mark.slow
def test_the_path_is_printed_and_stored(train):
    outcome, folder = train("solver=logistic")
    assert outcome.status == 0, outcome.errors
    head = json.loads((folder / "metrics.json").read_text())["stages"]["head"]
    assert [point["c"] for point in head["path"]] == PATH
    assert head["chosen_by"].endswith(", chosen by validation accuracy")
    for strength in PATH:
        assert f"C={strength:g}: validation accuracy" in outcome.output + outcome.errors


@pytest.mark.slow
def test_fine_tuning_starts_from_its_weights(train):
    outcome, folder = train("solver=svm", "trainer.fine_tune_epochs=1")
    assert outcome.status == 0, outcome.errors
    assert set(json.loads((folder / "metrics.json").read_text())["stages"]) == {"head", "fine_tune"}


@pytest.mark.parametrize(
    "override",
    [
        "trainer.feature_store=false",
        "trainer.stage_1_gib=1e-9 head=compact_bilinear head.output_dim=2",  # fewer than samples
    ],
)
def test_an_unsuitable_configuration_is_refused(train, override):
    outcome, _ = train("solver=svm", *override.split())
    assert outcome.status != 0
    assert "solver=svm" in outcome.error and override.split("=")[0] in outcome.error


def test_without_validation_the_run_ends_before_features_are_computed(train):
    outcome, _ = train("solver=logistic", "data.val_fraction=0")
    assert "solver_c=auto: solver=logistic chooses C on the validation" in outcome.error
