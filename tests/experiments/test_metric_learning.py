"""`python train.py task=metric_learning`: an embedding, tested on classes that it has not seen."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import COLOURS, ROOT
from PIL import Image
from whole_runs import run_steps

from commands.evaluate import evaluate_run
from conf.schema import Task
from errors import UserError
from models.saved_model import load_model
from reporting.tables import final_table

MORE = {"violet": (140, 60, 200), "yellow": (200, 190, 40)}
TRIPLETS = (
    "task=metric_learning",
    "loss=triplet_semi_hard",
    "optimizer=adamw",
    "head.embedding=8",
    "trainer.classes_per_batch=3",
    "trainer.pictures_per_class=3",
    "trainer.batch_size=8",
)


@pytest.fixture(scope="module")
def images(tmp_path_factory, draw_images) -> Path:
    """Five classes of ten images each: three to train, two to test."""
    root = tmp_path_factory.mktemp("pictures")
    for name, colour in (COLOURS | MORE).items():
        draw_images(root / name, 10, colour)
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory, folder_config, images) -> Path:
    """The folder of a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    config = folder_config(
        images,
        *TRIPLETS,
        "data.image_size=32",
        "trainer.epochs=2",
        f"trainer.feature_dir={folder / 'features'}",
    )
    run_steps(config, folder)
    return folder


@pytest.fixture
def embed(train, images):
    """Runs `train.py` on the five classes."""

    def run(*overrides: str, name: str = "run"):
        shuffled = "trainer.classes_per_batch=null" in overrides
        options = [text for text in TRIPLETS if not (shuffled and "pictures_per_class" in text)]
        return train(*options, f"data.path={images}", *overrides, name=name)

    return run


def metrics(folder) -> dict:
    results = json.loads((folder / "metrics.json").read_text())
    for record in (results, *results["stages"].values()):
        record.pop("seconds")
    return results


# ---------------------------------------------------------------- a run and its folder


def test_a_run_tells_how_well_unseen_classes_are_retrieved(finished):
    record = metrics(finished)
    for name, images in (("val", 6), ("test", 20), ("untrained", 20)):
        assert record[name]["recall_at_1"] == 1.0  # colours are easy
        assert set(record[name]) == {
            "recall_at_1",
            "recall_at_2",
            "recall_at_4",
            "recall_at_8",
            "map_at_r",
            "nmi",
            "pictures",
        }
        assert record[name]["pictures"] == images
    assert record["stages"]["head"]["chosen_by"] == "best val_recall_at_1"
    assert record["data"] == {"train": 24, "val": 6, "test": 20, "classes": 5, "damaged": []}
    table = final_table(Task.metric_learning, record, finished)
    assert "test, untrained descriptors" in table and "MAP@R" in table
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert all({"loss", "val_recall_at_1", "learning_rate"} <= line.keys() for line in lines)


def test_the_test_classes_are_the_second_half(finished):
    indices = list(csv.DictReader((finished / "predictions.csv").open()))
    assert {index["label"] for index in indices} == set(MORE)
    assert all(index["nearest_label"] == index["label"] for index in indices)
    assert all(index["nearest"] != index["picture"] for index in indices)


def test_the_saved_model_embeds_images_on_the_unit_sphere(finished):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3)).astype(np.float32)
    record = load_model(finished).predict(pixels, verbose=0)
    assert record.shape == (4, 8)
    np.testing.assert_allclose(np.linalg.norm(record, axis=1), 1, rtol=1e-5)


def test_tensorboard_gets_curves_neighbours_and_the_projector(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = finished / "tensorboard"
    assert "test/neighbours" in EventAccumulator(str(logs)).Reload().Tags()["tensors"]
    curves = EventAccumulator(str(logs / "validation")).Reload().Tags()["tensors"]
    assert "epoch_recall_at_1" in curves
    assert (logs / "projector_config.pbtxt").exists()
    assert Image.open(finished / "neighbours.png").size[0] > 400


def test_evaluate_measures_it_again_from_the_saved_model(finished):
    _, evaluated, intervals = evaluate_run(finished, [], "test")
    assert not intervals
    with pytest.raises(UserError, match="task=metric_learning, which predicts no classes"):
        evaluate_run(finished, [], per_class=finished / "classes.csv")
    assert evaluated == pytest.approx(metrics(finished)["test"], abs=1e-4)


def test_evaluate_takes_classes_that_the_run_has_never_heard_of(finished, tmp_path, draw_images):
    for number, colour in enumerate((COLOURS | MORE).values()):
        draw_images(tmp_path / str(number), 3, np.array(colour) + 1)
    _, record, _ = evaluate_run(finished, [f"data.path={tmp_path}"])
    assert (record["pictures"], record["recall_at_1"]) == (15, 1.0)


@pytest.mark.slow
def test_evaluate_works_in_a_process_of_its_own(finished):
    """A new process has imported none of the layers of the saved model."""
    done = subprocess.run(
        [sys.executable, "evaluate.py", str(finished)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "R@1" in done.stdout


def test_predict_says_that_there_are_no_classes_to_name(finished, command, images):
    assert (
        "task=metric_learning, which predicts no classes"
        in command("predict.py", finished, images).error
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        (
            "loss=triplet_hard",
            "loss.soft=true",
            "head.embedding_l2=false",
            "trainer.classes_per_batch=null",
        ),
        (
            "head.embedding_init=whitening",
            "head.standardize=false",
            "data.mirror=true",
            "data.val_fraction=0",
        ),
        (
            "head=isqrt_cov",
            "head.reduction=4",
            "loss.distance_metric=squared_l2",
            "trainer.pictures_per_class=1",
        ),  # no positive, ever
        (
            "trainer.feature_store=false",
            "data.average_mirror=true",
            "loss.distance_metric=angular",
            "trainer.classes_per_batch=1",
        ),  # no negative
        ("trainer.classes_per_batch=1", "trainer.pictures_per_class=1"),
    ],
    ids=" ".join,
)
def test_what_may_be_chosen_trains(embed, overrides):
    outcome, folder = embed("trainer.epochs=1", *overrides)
    assert outcome.status == 0, outcome.errors
    [line] = (folder / "metrics.jsonl").read_text().splitlines()
    assert np.isfinite(json.loads(line)["loss"])


# ---------------------------------------------------------------- resumed


@pytest.mark.slow
def test_killed_and_started_again_it_ends_the_same(embed, monkeypatch):
    """In stage 1, and again in stage 2."""
    options = (
        "loss=triplet_hard",
        "trainer.epochs=3",
        "trainer.fine_tune_epochs=2",
        "trainer.checkpoint_seconds=0",
        "head.dropout=0.3",
        "optimizer.learning_rate=1e-4",
        "optimizer.fine_tune_learning_rate=1e-5",
    )
    _, whole = embed(*options, name="whole")
    train_begin, epochs = keras.callbacks.CallbackList.on_epoch_begin, []

    def killed(self, epoch, logs=None):
        epochs.append(epoch)
        if len(epochs) in (2, 6):
            raise SystemExit(75)
        train_begin(self, epoch, logs)

    monkeypatch.setattr(keras.callbacks.CallbackList, "on_epoch_begin", killed)
    assert [embed(*options)[0].status for _ in range(2)] == [75, 75]
    outcome, folder = embed(*options)
    assert outcome.status == 0, outcome.errors
    assert epochs == [0, 1, 1, 2, 3, 4, 4]
    assert list(metrics(folder)["stages"]) == ["head", "fine_tune"]
    assert metrics(folder) == metrics(whole)
    assert (folder / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss=softmax", "task=metric_learning requires loss=triplet_hard"),
        ("task=classification", "task=classification requires loss=softmax"),
        ("head.embedding=null", "for example 512"),
        (
            "head.reduction=4 head.embedding_init=pca",
            "head.embedding_init=pca requires head.reduction=null",
        ),
        ("solver=svm", "task=metric_learning requires solver=sgd"),
        ("trainer.classes_per_batch=4", "there are only 3 classes to train on"),
        ("trainer.pictures_per_class=0", "must be at least 1"),
        ("data.limit_classes=3", "needs at least 4; the data has 3"),
        ("data.val_fraction=0.95", "too few images (10 left)"),
        ("loss.margin=-1", "loss.margin=-1.0: must be at least 0"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_would_be_right(embed, override, said):
    outcome, _ = embed(*override.split())
    assert outcome.status == 2
    assert said in outcome.error
