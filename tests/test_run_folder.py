"""What a run leaves behind."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from omegaconf.errors import OmegaConfBaseException

import run_folder
from data.datasets import Dataset, open_dataset
from errors import UserError


def test_json_is_whole_or_absent(tmp_path):
    path = tmp_path / "metrics.json"
    run_folder.write_json(path, {"accuracy": 0.5})
    with pytest.raises(TypeError):
        run_folder.write_json(path, {"accuracy": object()})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize(
    "overrides",
    [
        ("head=isqrt_cov", "optimizer=adamw", "data.train_crop=random", "seed=5"),
        ("trainer.precision=mixed_bfloat16", "optimizer.clip_norm=1", "data.path=a folder"),
    ],
)
def test_a_configuration_is_read_as_it_was_written(tmp_path, make_config, overrides):
    config = make_config(*overrides)
    run_folder.enter(tmp_path, config)
    assert run_folder.read_config(tmp_path, []) == config


def test_overrides_change_single_values(tmp_path, make_config):
    run_folder.enter(tmp_path, make_config("seed=5"))
    config = run_folder.read_config(tmp_path, ["data.image_size=64", "data.train_crop=random"])
    assert config.seed == 5
    assert config == make_config("seed=5", "data.image_size=64", "data.train_crop=random")


@pytest.mark.parametrize("override", ["data.imagesize=64", "data.image_size=large"])
def test_overrides_are_checked_against_the_schema(tmp_path, make_config, override):
    run_folder.enter(tmp_path, make_config())
    with pytest.raises(OmegaConfBaseException, match=r"image_?size"):
        run_folder.read_config(tmp_path, [override])


def test_class_names_are_read_in_their_order(tmp_path):
    run_folder.write_json(tmp_path / "classes.json", ["tulip", "crocus", "Schlüsselblume"])
    assert run_folder.read_classes(tmp_path) == ["tulip", "crocus", "Schlüsselblume"]


def test_a_run_does_not_go_on_with_other_images_unless_forced(tmp_path, own_folder, folder_config):
    config = folder_config(own_folder, "seed=2")
    for _ in range(2):
        run_folder.enter(tmp_path, config)
        run_folder.write_data(tmp_path, open_dataset(config.data, config.seed))
        (tmp_path / "metrics.jsonl").write_text("{}\n")  # an epoch was trained
    kept = run_folder.read_splits(tmp_path)
    assert {name: len(keys) for name, keys in kept.items()} == {"train": 18, "val": 6, "test": 6}
    (own_folder / kept["test"][0]).unlink()
    changed = open_dataset(config.data, config.seed)
    with pytest.raises(UserError, match="the pictures changed since this run began"):
        run_folder.write_data(tmp_path, changed)
    run_folder.enter(tmp_path, dataclasses.replace(config, force=True))
    run_folder.write_data(tmp_path, changed)
    assert run_folder.read_splits(tmp_path) != kept


def test_before_anything_was_trained_a_run_takes_another_configuration_and_other_images(
    tmp_path, own_folder, folder_config, capsys
):
    config = folder_config(own_folder, "trainer.precision=auto")
    run_folder.enter(tmp_path, config)
    run_folder.write_data(tmp_path, open_dataset(config.data, config.seed))
    chosen = tmp_path / "checkpoints" / "precision.json"  # of another backbone
    chosen.parent.mkdir()
    chosen.touch()
    next((own_folder / "red").iterdir()).unlink()
    mended = dataclasses.replace(config, seed=1)
    run_folder.enter(tmp_path, mended)
    run_folder.write_data(tmp_path, open_dataset(mended.data, mended.seed))
    assert "nothing was trained there; what changed is taken (seed: 0 -> 1)" in (
        capsys.readouterr().out
    )
    assert run_folder.read_config(tmp_path, []) == mended and not chosen.exists()


@pytest.mark.parametrize(
    "left",
    [
        "metrics.jsonl",
        "checkpoints/head.weights.h5",
        "variants/correct/record.json",
        "targets/003-red/metrics.jsonl",
    ],
)
def test_what_was_trained_is_not_lost_to_another_configuration(tmp_path, make_config, left):
    run_folder.enter(tmp_path, make_config())
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).touch()
    changed = r"\(seed: 0 -> 1, head\.epsilon: 1e-05 -> 0\.5\)"
    with pytest.raises(UserError, match=rf"another configuration {changed}"):
        run_folder.enter(tmp_path, make_config("seed=1", "head.epsilon=0.5"))
    assert (tmp_path / left).exists()


def test_a_key_that_an_earlier_configuration_lacks_is_named(tmp_path, make_config):
    run_folder.enter(tmp_path, make_config())
    (tmp_path / "metrics.jsonl").touch()
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("  early_stopping: null\n", ""))
    with pytest.raises(UserError, match=r"\(trainer\.early_stopping: unset -> None\)"):
        run_folder.enter(tmp_path, make_config())


def test_another_program_s_folder_is_left_as_it_is(tmp_path, make_config):
    theirs = {"config.yaml": "lr: 0.1\n", "splits.json": "[]", "checkpoints/last.pt": "weights"}
    (tmp_path / "checkpoints").mkdir()
    for name, text in theirs.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"another program's config\.yaml"):
        run_folder.enter(tmp_path, make_config())
    assert {name: (tmp_path / name).read_text() for name in theirs} == theirs


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda folder: run_folder.read_config(folder, []), "not a run's folder"),
        (run_folder.read_classes, "not a finished run's folder"),
    ],
)
def test_what_an_unfinished_run_lacks_is_named(tmp_path, read, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert str(tmp_path) in str(caught.value)


class Named:
    labels = np.array([0, 1, 1])

    def name(self, index):
        return f"wood, old/{index}.png"


def test_predictions_are_a_line_a_image(tmp_path):
    splits = {"test": np.array([0, 2])}
    dataset = Dataset("made", Named(), ["ash", "oak"], splits, "")
    path = tmp_path / "predictions.csv"
    run_folder.write_predictions(path, dataset, "test", np.array([[0.25, 0.75], [0.1, 0.9]]))
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {
                "picture": "wood, old/0.png",
                "label": "ash",
                "prediction": "oak",
                "probability": "0.750000",
            },
            {
                "picture": "wood, old/2.png",
                "label": "oak",
                "prediction": "oak",
                "probability": "0.900000",
            },
        ]
