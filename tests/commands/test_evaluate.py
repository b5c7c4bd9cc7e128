"""Figures of a trained model on one split."""

import math
import shutil

import keras
import numpy as np
import pytest
from conftest import COLOURS

import run_folder
from commands.evaluate import evaluate_run
from data.datasets import Dataset, open_dataset
from data.inputs import ArrayInputs
from errors import UserError
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_split

# Metrics, against numbers worked out by hand


def test_accuracy_and_loss():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1]])
    found = classification_metrics(probabilities, np.array([0, 1, 2]))
    assert found == {
        "accuracy": pytest.approx(2 / 3),
        "top5_accuracy": 1.0,  # there are only three classes
        "loss": pytest.approx(-(math.log(0.7) + math.log(0.5) + math.log(0.1)) / 3),
        "pictures": 3,
    }


def test_top5_accuracy_counts_labels_among_the_five_most_probable():
    probabilities = np.tile(np.array([0.30, 0.25, 0.20, 0.12, 0.08, 0.04, 0.01]), (7, 1))
    found = classification_metrics(probabilities, np.arange(7))
    assert found["accuracy"] == pytest.approx(1 / 7)
    assert found["top5_accuracy"] == pytest.approx(5 / 7)


def test_a_label_of_no_probability_costs_much_but_not_infinitely():
    found = classification_metrics(np.array([[1.0, 0.0]]), np.array([1]))
    assert found["accuracy"] == 0.0
    assert found["loss"] == pytest.approx(-math.log(1e-12))


def test_predictions_that_are_no_numbers_are_not_right():
    found = classification_metrics(np.full((3, 7), np.nan), np.array([1, 2, 3]))
    assert found["accuracy"] == found["top5_accuracy"] == 0.0


# Predictions of a split


class Labelled:
    labels = np.array([0, 1, 0, 1, 1])


def doubled_model() -> keras.Model:
    vector = keras.Input((2,))
    return keras.Model(vector, keras.layers.Rescaling(2.0)(vector))


@pytest.mark.parametrize(("average_mirror", "expected"), [(False, 0), (True, 5)])
def test_predictions_come_in_the_split_s_order_and_may_average_the_mirror_image(
    average_mirror, expected
):
    def take(indices, views):  # the mirrored view is larger by 5
        return np.stack([indices + 5.0 * views, views], axis=-1).astype(np.float32)

    inputs = ArrayInputs(np.arange(5), take, (2,), np.float32, 2)
    splits = {"train": np.arange(2), "val": np.arange(0), "test": np.array([2, 3, 4])}
    dataset = Dataset("made", Labelled(), ["ant", "bee"], splits, "")
    found = predict_split(doubled_model(), inputs, dataset, "test", 2, average_mirror)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[:, 0], [4 + expected, 6 + expected, 8 + expected])


# A finished run, measured again


@pytest.mark.parametrize(("split", "images"), [("train", 15), ("val", 3), ("test", 6), ("all", 24)])
def test_a_finished_run_is_measured_on_its_own_splits(finished_run, split, images):
    found = evaluate_run(finished_run, [], split)
    assert found["accuracy"] == 1.0
    assert found["pictures"] == images


@pytest.fixture
def changing(tmp_path, finished_run, image_folder_path, folder_config):
    """The same run on a folder of pictures that may change, and this folder."""
    run, images = tmp_path / "run", tmp_path / "images"
    shutil.copytree(image_folder_path, images)
    shutil.copytree(finished_run, run)
    config = folder_config(images, "data.image_size=16", "seed=3", "force=true")
    run_folder.enter(run, config)
    run_folder.write_data(run, open_dataset(config.data, config.seed))
    shutil.copy(finished_run / "model.keras", run)
    return run, images


@pytest.mark.parametrize(("split", "images"), [("train", 15), ("test", 6), ("all", 24)])
def test_images_that_came_since_are_left_out_and_counted(
    changing, draw_images, capsys, split, images
):
    run, folder = changing
    for path in draw_images(folder / "more", 5, COLOURS["blue"]):
        path.rename(folder / "red" / f"0{path.name}")  # listed first, and wrong
    (folder / "more").rmdir()
    found = evaluate_run(run, [], split)
    assert (found["accuracy"], found["pictures"]) == (1.0, images)
    assert "5 pictures that came since the run are left out" in capsys.readouterr().err


def test_a_split_whose_images_are_gone_is_refused_and_the_others_are_not(changing):
    run, folder = changing
    gone = run_folder.read_splits(run)["test"][2]
    (folder / gone).unlink()
    with pytest.raises(
        UserError, match=f"1 of the 6 images .* test split are gone, such as {gone}"
    ):
        evaluate_run(run, [], "test")
    assert evaluate_run(run, [], "train")["pictures"] == 15


def test_an_older_run_s_data_are_divided_anew_and_that_is_said(changing, capsys):
    run, _ = changing
    (run / "splits.json").unlink()
    assert evaluate_run(run, [], "all")["pictures"] == 24
    assert "no splits.json" in capsys.readouterr().err


def test_overrides_name_other_data(finished_run, tmp_path, draw_images):
    for name, shown in (("blue", "blue"), ("green", "green"), ("red", "blue")):
        draw_images(tmp_path / name, 4, COLOURS[shown])
    found = evaluate_run(finished_run, [f"data.path={tmp_path}"], "all")
    assert found["pictures"] == 12
    assert found["accuracy"] == pytest.approx(2 / 3)


def test_other_classes_are_refused_and_named(finished_run, tmp_path, draw_images):
    for name in ("blue", "green", "orange"):
        draw_images(tmp_path / name, 4)
    with pytest.raises(UserError, match=r"trained on other classes.*\['orange', 'red'\]"):
        evaluate_run(finished_run, [f"data.path={tmp_path}"], "all")


def test_an_empty_split_is_refused(finished_run):
    with pytest.raises(UserError, match="the val split is empty"):
        evaluate_run(finished_run, ["data.val_fraction=0"], "val")
