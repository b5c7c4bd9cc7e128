"""Metrics of a finished run, on its own data and on other data."""

import shutil

import pytest
from conftest import COLOURS

import run_folder
from commands import resuming
from commands.evaluate import evaluate_run
from data.datasets import open_dataset
from errors import UserError


@pytest.mark.parametrize(("split", "images"), [("train", 15), ("val", 3), ("test", 6), ("all", 24)])
def test_a_finished_run_is_evaluated_on_its_own_splits(finished_run, split, images):
    metrics = evaluate_run(finished_run, [], split)
    assert metrics["accuracy"] == 1.0
    assert metrics["pictures"] == images


@pytest.fixture
def changing(tmp_path, finished_run, image_folder_path, folder_config):
    """The same run on a folder of images that a test may change, and this folder."""
    run, images = tmp_path / "run", tmp_path / "images"
    shutil.copytree(image_folder_path, images)
    shutil.copytree(finished_run, run)
    config = folder_config(images, "data.image_size=16", "seed=3", "force=true")
    resuming.enter(run, config)
    run_folder.write_data(run, open_dataset(config.data, config.seed))
    shutil.copy(finished_run / "model.keras", run)
    return run, images


@pytest.mark.parametrize(("split", "images"), [("train", 15), ("test", 6), ("all", 24)])
def test_images_that_were_added_after_the_run_are_ignored_and_counted(
    changing, draw_images, capsys, split, images
):
    run, folder = changing
    for path in draw_images(folder / "more", 5, COLOURS["blue"]):
        path.rename(folder / "red" / f"0{path.name}")  # sorted first, with a wrong label
    (folder / "more").rmdir()
    metrics = evaluate_run(run, [], split)
    assert (metrics["accuracy"], metrics["pictures"]) == (1.0, images)
    assert "5 images that were added after the run are ignored" in capsys.readouterr().err


def test_a_split_with_missing_images_is_rejected_and_the_others_are_not(changing):
    run, folder = changing
    missing = run_folder.read_splits(run)["test"][2]
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"1 of the 6 .*test split .*{missing}"):
        evaluate_run(run, [], "test")
    assert evaluate_run(run, [], "train")["pictures"] == 15


def test_a_run_without_its_splits_is_an_error(changing):
    run, _ = changing
    (run / "splits.json").unlink()
    with pytest.raises(UserError, match=r"it has no splits\.json"):
        evaluate_run(run, [], "test")


def test_overrides_select_other_data(finished_run, tmp_path, draw_images):
    for name, shown in (("blue", "blue"), ("green", "green"), ("red", "blue")):
        draw_images(tmp_path / name, 4, COLOURS[shown])
    metrics = evaluate_run(finished_run, [f"data.path={tmp_path}"], "all")
    assert metrics["pictures"] == 12
    assert metrics["accuracy"] == pytest.approx(2 / 3)


def test_other_classes_are_rejected_and_named(finished_run, tmp_path, draw_images):
    for name in ("blue", "green", "orange"):
        draw_images(tmp_path / name, 4)
    with pytest.raises(UserError, match=r"trained on other classes.*\['orange', 'red'\]"):
        evaluate_run(finished_run, [f"data.path={tmp_path}"], "all")


def test_an_empty_split_is_rejected(finished_run):
    with pytest.raises(UserError, match="the val split is empty"):
        evaluate_run(finished_run, ["data.val_fraction=0"], "val")
