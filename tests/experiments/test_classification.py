"""The calibration of a run: one temperature in the saved weights, and what the run says of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import COLOURS, SMALL
from whole_runs import run_steps

from commands.evaluate import evaluate_run
from experiments import classification
from models.saved_model import load_model
from reporting.tables import final_table


@pytest.fixture
def confused_folder(tmp_path, draw_images) -> Path:
    """Three classes of 25 images each, of which 5 have the colour of another class."""
    colours = list(COLOURS.values())
    for number, name in enumerate(COLOURS):
        draw_images(tmp_path / "images" / name, 20, colours[number])
        draw_images(tmp_path / "images" / name / "others", 5, colours[number - 1])
    return tmp_path / "images"


@pytest.fixture
def run(confused_folder, folder_config, tmp_path, monkeypatch):
    """Trains on `confused_folder`; returns the record and the run's folder."""

    monkeypatch.setattr(classification, "log_classification", lambda *_: None)  # takes seconds

    def train(name: str, *overrides: str) -> tuple[dict, Path]:
        features = f"trainer.feature_dir={tmp_path / 'features'}"
        config = folder_config(confused_folder, *SMALL, "head=average", features, *overrides)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        run_steps(config, folder)
        return json.loads((folder / "metrics.json").read_text()), folder

    return train


def classifier(folder: Path) -> list[np.ndarray]:
    """Kernel and bias of the saved model."""
    return load_model(folder).get_layer("linear").get_layer("classifier").get_weights()


def assert_saved_model_agrees(folder: Path, record: dict) -> None:
    for split in ("val", "test"):
        evaluated = evaluate_run(folder, [], split)
        assert evaluated[:2] == (split, pytest.approx(record[split], rel=1e-4))


# Stage 1 of the bilinear head, with more dimensions than samples, is trained on coordinates.
@pytest.mark.slow
@pytest.mark.parametrize("overrides", [("head=bilinear",), ("head=average", "solver=svm")])
def test_the_logits_of_the_saved_model_are_divided_by_the_temperature(run, overrides):
    calibrated, folder = run("calibrated", *overrides)
    plain, plain_folder = run("plain", *overrides, "trainer.calibrate=false")
    assert "calibration" not in plain
    temperature = calibrated["calibration"]["temperature"]
    assert temperature != 1
    for weights, before in zip(classifier(folder), classifier(plain_folder), strict=True):
        np.testing.assert_allclose(weights * temperature, before, rtol=1e-5)
    assert plain["val"] == plain["stages"]["head"]["val"] == calibrated["stages"]["head"]["val"]
    for split in ("val", "test"):
        before, after = (calibrated["calibration"][split][time] for time in ("before", "after"))
        for name in ("loss", "calibration_error"):
            assert before[name] == pytest.approx(plain[split][name], rel=1e-5)
            assert after[name] == calibrated[split][name]
        assert calibrated[split]["accuracy"] == plain[split]["accuracy"]
    assert calibrated["val"]["loss"] < plain["val"]["loss"]
    low, high = calibrated["calibration"]["test"]["chance_range"]
    assert 0 < low < high
    assert_saved_model_agrees(folder, calibrated)


@pytest.mark.slow
def test_a_model_that_was_fine_tuned_is_calibrated_for_the_mean_over_mirror_images(run):
    record, folder = run("run", "trainer.fine_tune_epochs=1", "data.average_mirror=true")
    before, after = (record["calibration"]["val"][time]["loss"] for time in ("before", "after"))
    assert before == record["stages"]["fine_tune"]["val"]["loss"]
    assert after < before
    assert_saved_model_agrees(folder, record)


@pytest.mark.slow
def test_a_run_that_stopped_after_its_calibration_is_not_calibrated_twice(run):
    record, folder = run("run")
    weights = classifier(folder)
    (folder / "metrics.json").unlink()  # which marks a finished run
    resumed, _ = run("run")
    assert {**resumed, "seconds": 0} == {**record, "seconds": 0}
    for weight, expected in zip(classifier(folder), weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_without_validation_images_the_temperature_is_1(run, folder_config, confused_folder):
    record, folder = run("run", "data.val_fraction=0")
    calibration = record["calibration"]
    assert calibration["temperature"] == 1 and calibration["val"] is record["val"] is None
    assert calibration["test"]["before"] == calibration["test"]["after"]
    task = folder_config(confused_folder).task
    assert "calibrated no: no validation images" in final_table(task, record, folder)
