"""`python evaluate.py RUN`: metrics of a finished run."""

import json
import shutil

import pytest
from conftest import SMALL
from made_releases import make_cub200, make_grocery_store, make_nabirds


def parse(outcome) -> dict:
    assert outcome.status == 0, outcome.errors
    return json.loads(outcome.output.splitlines()[-1])


@pytest.fixture
def run(train_once):
    return train_once()[1]


def test_the_saved_model_has_the_metrics_of_the_run(run, command):
    evaluated = parse(command("evaluate.py", run, "--json"))
    intervals = evaluated.pop("intervals")
    low, high = intervals["accuracy"]
    assert 0 <= low <= evaluated["accuracy"] <= high <= 1
    first = json.loads((run / "metrics.json").read_text())["test"]
    assert evaluated == pytest.approx(first, rel=1e-5)


def test_other_images_of_the_same_classes(run, command, tmp_path, draw_images):
    shown = {"blue": (41, 60, 200), "green": (41, 200, 60), "red": (42, 60, 200)}
    for name, colour in shown.items():
        draw_images(tmp_path / "other" / name, 4, colour)
    metrics = parse(
        command("evaluate.py", run, f"data.path={tmp_path / 'other'}", "--split", "all", "--json")
    )
    assert metrics["pictures"] == 12
    assert metrics["accuracy"] == pytest.approx(2 / 3)  # the images of "red" are blue


def test_averaging_over_the_mirror_image_changes_the_loss_slightly(run, command):
    plain = parse(command("evaluate.py", run, "--json"))
    mirrored = parse(command("evaluate.py", run, "data.average_mirror=true", "--json"))
    assert plain["loss"] != mirrored["loss"]
    assert plain["loss"] == pytest.approx(mirrored["loss"], rel=0.2)


def test_the_default_output_is_a_table_of_metrics_with_intervals(run, command):
    lines = [line.split("  ") for line in command("evaluate.py", run).output.splitlines()]
    names = [line[0] for line in lines]
    assert {"test", "accuracy", "macro f1", "top5 accuracy", "calibration error"} <= set(names)
    assert " to " in lines[names.index("accuracy")][-1]
    assert lines[names.index("calibration error")][-1].strip() == "-"


def test_the_metrics_of_each_class_go_to_a_file(run, command, tmp_path):
    outcome = command("evaluate.py", run, "--per-class", tmp_path / "classes.csv")
    assert outcome.status == 0, outcome.errors
    header, *classes = (tmp_path / "classes.csv").read_text().splitlines()
    assert header == "class,images,accuracy,precision,f1,confused_with,confused"
    assert [line.split(",")[0] for line in classes] == ["blue", "green", "red"]


def test_other_classes_are_rejected(run, command, own_folder):
    (own_folder / "red").rename(own_folder / "orange")
    assert "orange" in command("evaluate.py", run).error


def test_an_unfinished_run_is_rejected(run, command, tmp_path):
    (run / "model.keras").unlink()
    assert "has not finished" in command("evaluate.py", run).error
    shutil.rmtree(run)
    assert "not a run's folder" in command("evaluate.py", run).error


def test_an_unknown_key_is_rejected(run, command):
    assert "image_size" in command("evaluate.py", run, "data.imge_size=3").error


@pytest.mark.slow
def test_coarse_accuracy_beside_the_fine_one(command, draw_images, tmp_path):
    release, run = make_grocery_store(tmp_path / "release", draw_images), tmp_path / "run"
    outcome = command(
        "train.py", "data=grocery_store", f"data.path={release}", *SMALL, "data.val_fraction=0",
        f"trainer.feature_dir={tmp_path / 'features'}", f"hydra.run.dir={run}",
    )  # fmt: skip
    assert outcome.status == 0, outcome.errors
    assert "coarse accuracy" in outcome.output
    record = json.loads((run / "metrics.json").read_text())
    assert (record["val"]["classes"], record["test"]["classes"]) == (2, 3)
    assert 0 <= record["test"]["accuracy"] <= record["test"]["coarse_accuracy"] <= 1
    evaluated = parse(command("evaluate.py", run, "--json"))
    assert "coarse_accuracy" in evaluated.pop("intervals")
    assert evaluated == pytest.approx(record["test"], rel=1e-5)
    # Another folder, with one class and without coarse classes of its own.
    draw_images(tmp_path / "other" / "Anjou", 3, (41, 60, 200))
    other = ("data.name=image_folder", f"data.path={tmp_path / 'other'}", "--json")
    metrics = parse(command("evaluate.py", run, *other))
    assert (metrics["pictures"], metrics["classes"]) == (3, 1)
    assert metrics["coarse_accuracy"] == metrics["accuracy"]  # Anjou is the only pear


@pytest.mark.parametrize(
    ("make", "crop"),
    [(make_cub200, "box"), (make_nabirds, "image")],
    ids=["cub200", "nabirds"],
)
@pytest.mark.slow
def test_a_run_on_a_release_is_evaluated_where_the_release_lies_then(make, crop, command, tmp_path):
    """The lists decide about the test split, and the hierarchy gives coarse accuracies."""
    name, release, run = make.__name__[5:], make(tmp_path / "release"), tmp_path / "run"
    outcome = command(
        "train.py", f"data={name}", f"data.path={release}", f"data.crop={crop}", *SMALL,
        f"trainer.feature_dir={tmp_path / 'features'}", f"hydra.run.dir={run}",
    )  # fmt: skip
    assert outcome.status == 0, outcome.errors
    record = json.loads((run / "metrics.json").read_text())["test"]
    assert (record["pictures"], record["classes"]) == (3, 3)
    coarse = {key for key in record if key.endswith("_accuracy")} - {"top5_accuracy"}
    levels = {"species_accuracy", "family_accuracy", "order_accuracy"}
    assert coarse >= levels if name == "nabirds" else not coarse & levels
    evaluated = parse(command("evaluate.py", run, "--json"))
    assert evaluated.pop("intervals") and evaluated == pytest.approx(record, rel=1e-5)
    # A copy elsewhere, by its parent folder.
    archive = {"cub200": "CUB_200_2011", "nabirds": "nabirds"}[name]
    shutil.move(release, tmp_path / "parent" / archive)
    moved = parse(command("evaluate.py", run, f"data.path={tmp_path / 'parent'}", "--json"))
    assert moved.pop("intervals") and moved == pytest.approx(record, rel=1e-5)
