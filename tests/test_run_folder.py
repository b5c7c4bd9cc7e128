"""The files of a run's folder."""

import csv
import json

import numpy as np
import pytest
from omegaconf.errors import OmegaConfBaseException

import run_folder
from commands import resuming
from conf.schema import Optimizer
from data.datasets import Dataset
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
    resuming.enter(tmp_path, config)
    assert run_folder.read_config(tmp_path, []) == config


def test_overrides_change_single_values(tmp_path, make_config):
    resuming.enter(tmp_path, make_config("seed=5"))
    config = run_folder.read_config(tmp_path, ["data.image_size=64", "data.train_crop=random"])
    assert config.seed == 5
    assert config == make_config("seed=5", "data.image_size=64", "data.train_crop=random")


@pytest.mark.parametrize("override", ["data.imagesize=64", "data.image_size=large"])
def test_overrides_are_checked_against_the_schema(tmp_path, make_config, override):
    resuming.enter(tmp_path, make_config())
    with pytest.raises(OmegaConfBaseException, match=r"image_?size"):
        run_folder.read_config(tmp_path, [override])


def test_class_names_are_read_in_their_order(tmp_path):
    run_folder.write_json(tmp_path / "classes.json", ["tulip", "crocus", "Schlüsselblume"])
    assert run_folder.read_classes(tmp_path) == ["tulip", "crocus", "Schlüsselblume"]


def test_keys_that_no_longer_exist_are_ignored_with_one_line(tmp_path, make_config, caplog):
    resuming.enter(tmp_path, make_config("seed=5"))
    path = tmp_path / "config.yaml"
    text = path.read_text().replace("trainer:\n", "trainer:\n  replay: 3\n")
    path.write_text(f"{text}colour: blue\n")
    assert run_folder.read_config(tmp_path, []) == make_config("seed=5")
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: ignored keys that no longer exist: trainer.replay, colour"
    ]


def test_a_key_that_did_not_exist_yet_has_its_default(tmp_path, make_config):
    resuming.enter(tmp_path, make_config())
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("  early_stopping: null\n", ""))
    assert run_folder.read_config(tmp_path, []) == make_config()


def test_a_key_of_an_earlier_version_is_read_under_its_new_name(tmp_path, make_config, caplog):
    resuming.enter(tmp_path, make_config())
    path = tmp_path / "config.yaml"
    text = path.read_text().replace("stage_1_gib: 2.0", "descriptor_gib: 8.0")
    path.write_text(text)
    assert run_folder.read_config(tmp_path, []) == make_config("trainer.stage_1_gib=8")
    assert not caplog.records and path.read_text() == text


@pytest.mark.parametrize(
    ("epochs", "expected"), [(2, (Optimizer.sgd, 5.0, 3.0)), (0, (Optimizer.adamw, 1.0, 6.0))]
)
def test_stage_2_of_an_earlier_version_had_optimizer_clipping_and_warm_up_of_stage_1(
    tmp_path, make_config, epochs, expected
):
    options = "optimizer.clip_norm=5", "optimizer.warmup_epochs=3"
    resuming.enter(tmp_path, make_config(f"trainer.fine_tune_epochs={epochs}", *options))
    path = tmp_path / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    new = ("fine_tune_name", "fine_tune_clip_norm", "fine_tune_warmup_epochs")
    path.write_text("".join(line for line in lines if not line.strip().startswith(new)))
    optimizer = run_folder.read_config(tmp_path, []).optimizer
    assert tuple(getattr(optimizer, name) for name in new) == expected


@pytest.mark.parametrize(("epochs", "expected"), [(2, (0, 0.0, 0.0)), (0, (None, 0.5, 1.0))])
def test_stage_2_of_an_earlier_version_froze_no_block_softened_no_logits_and_averaged_no_weights(
    tmp_path, make_config, epochs, expected
):
    resuming.enter(tmp_path, make_config(f"trainer.fine_tune_epochs={epochs}"))
    path = tmp_path / "config.yaml"
    text = path.read_text().replace("  frozen_blocks: null\n", "")
    text = text.replace("  fine_tune_average_epochs: 1.0\n", "")
    path.write_text(text.replace("  fine_tune_start_loss: 0.5\n", ""))
    config = run_folder.read_config(tmp_path, [])
    stage_2 = config.trainer.frozen_blocks, config.trainer.fine_tune_start_loss
    assert (*stage_2, config.optimizer.fine_tune_average_epochs) == expected


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


def test_predictions_are_read_back_by_key(tmp_path):
    splits = {"test": np.array([0, 2])}
    names = ["ash, a tree", 'the "oak"']
    dataset = Dataset("made", Named(), names, splits, "")
    run_folder.write_json(tmp_path / "splits.json", {"test": ["first", "second"]})
    probabilities = np.array([[0.25, 0.75], [np.nan, 0.9]])
    run_folder.write_predictions(tmp_path / "predictions.csv", dataset, "test", probabilities)
    assert run_folder.read_predictions(tmp_path) == {
        "first": run_folder.Prediction(names[0], names[1]),
        "second": run_folder.Prediction(names[1], None),
    }


def test_predictions_in_another_order_are_refused(tmp_path):
    dataset = Dataset("made", Named(), ["ash", "oak"], {"test": np.array([1, 2])}, "")
    keys = [dataset.images.name(2), dataset.images.name(1)]
    run_folder.write_json(tmp_path / "splits.json", {"test": keys})
    run_folder.write_predictions(tmp_path / "predictions.csv", dataset, "test", np.eye(2))
    with pytest.raises(UserError, match=r"one line for each of the 2 test images .* in their or"):
        run_folder.read_predictions(tmp_path)


def test_class_names_of_an_earlier_version_are_in_the_composed_unicode_form(tmp_path):
    names = ["e\u0301cole", "o\u0308l", "\u1112\u1161\u11ab", "plain"]
    run_folder.write_json(tmp_path / "classes.json", names)
    assert run_folder.read_classes(tmp_path) == ["\u00e9cole", "\u00f6l", "\ud55c", "plain"]
