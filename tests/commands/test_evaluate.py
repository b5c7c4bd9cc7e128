"""Metrics of a finished run, on its own data, on data that changed, and on other data."""

import csv
import json
import shutil
import unicodedata

import keras
import numpy as np
import pytest
from conftest import COLOURS
from hydra.errors import OverrideParseException
from PIL import Image

import run_folder
from commands import resuming
from commands.evaluate import evaluate_run
from data.content import hash_images
from data.datasets import open_dataset
from errors import UserError

SHOWN = {"blue": (45, 65, 205), "green": (45, 205, 65), "red": (205, 65, 45)}  # not the run's


def make_older(run) -> None:
    """Makes it a run of an earlier version, without content hashes."""
    (run / "content.json").unlink()


def evaluated(run, *overrides: str, split: str | None = None) -> int:
    """The number of images that are evaluated."""
    return evaluate_run(run, list(overrides), split)[1]["pictures"]


@pytest.mark.parametrize(("split", "images"), [("train", 15), ("val", 3), ("test", 6), ("all", 24)])
def test_a_finished_run_is_evaluated_on_its_own_splits(finished_run, capsys, split, images):
    name, metrics, _ = evaluate_run(finished_run, [], split)
    assert (name, metrics["accuracy"], metrics["pictures"]) == (split, 1.0, images)
    assert not capsys.readouterr().err


def test_metrics_have_intervals(finished_run):
    _, metrics, intervals = evaluate_run(finished_run, [])
    assert intervals["accuracy"] == intervals["macro_f1"] == (1.0, 1.0)
    low, high = intervals["loss"]
    assert low < metrics["loss"] < high


def test_another_k_is_chosen_by_its_key(finished_run):
    metrics = evaluate_run(finished_run, ["report.top_k=2"]).metrics
    assert metrics["top2_accuracy"] == metrics["top5_accuracy"] == 1.0
    assert "top2_accuracy" not in evaluate_run(finished_run, []).metrics
    with pytest.raises(UserError, match=r"report\.top_k=0: must be at least 1"):
        evaluate_run(finished_run, ["report.top_k=0"])


def test_the_metrics_of_each_class_are_written_as_csv(finished_run, other, tmp_path):
    path = tmp_path / "folder" / "classes.csv"
    data = other({"blue": 3, "red": 1})
    shutil.copy(tmp_path / "other" / "red" / "0.png", tmp_path / "other" / "blue" / "red.png")
    metrics = evaluate_run(finished_run, [data], per_class=path).metrics
    blue, green, red = csv.DictReader(path.open(newline=""))
    assert blue == {
        "class": "blue", "images": "4", "accuracy": "0.75", "precision": "1.0",
        "f1": blue["f1"], "confused_with": "red", "confused": "1",
    }  # fmt: skip
    assert float(blue["f1"]) == pytest.approx(6 / 7)
    assert list(green.values()) == ["green", "0", "", "", "", "", "0"]
    assert (red["accuracy"], red["precision"]) == ("1.0", "0.5")
    assert metrics["macro_accuracy"] == pytest.approx((0.75 + 1) / 2)


def test_a_table_of_classes_that_cannot_be_written_is_named(finished_run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"classes\.csv: writing failed.*evaluate the run again"):
        evaluate_run(finished_run, [], per_class=tmp_path / "file" / "classes.csv")


@pytest.fixture
def changing(tmp_path, finished_run, image_folder_path, folder_config):
    """The same run on a folder of images that a test may change, and this folder."""
    run, images = tmp_path / "run", tmp_path / "images"
    shutil.copytree(image_folder_path, images)
    shutil.copytree(finished_run, run)
    config = folder_config(images, "data.image_size=16", "seed=3", "force=true")
    resuming.enter(run, config)
    dataset = open_dataset(config.data, config.seed)
    run_folder.write_data(run, dataset)
    hash_images(dataset, dataset.indices)
    run_folder.write_content(run, dataset)
    shutil.copy(finished_run / "model.keras", run)
    return run, images


def add_blue_images(folder, draw_images) -> None:
    """Adds five blue images to the class red."""
    for path in draw_images(folder.parent / "more", 5, SHOWN["blue"]):
        path.rename(folder / "red" / f"0{path.name}")  # sorted first, with a wrong label


# The run's own data


@pytest.mark.parametrize(("split", "images"), [("train", 15), ("test", 6), ("all", 24)])
def test_images_that_were_added_after_the_run_are_ignored_and_counted(
    changing, draw_images, capsys, split, images
):
    run, folder = changing
    add_blue_images(folder, draw_images)
    _, metrics, _ = evaluate_run(run, [], split)
    assert (metrics["accuracy"], metrics["pictures"]) == (1.0, images)
    assert "5 images that were added after the run are ignored" in capsys.readouterr().err


def test_images_that_were_added_after_the_run_are_evaluated_on_request(changing, draw_images):
    run, folder = changing
    add_blue_images(folder, draw_images)
    _, metrics, _ = evaluate_run(run, [], "new")
    assert (metrics["accuracy"], metrics["pictures"]) == (0, 5)


def test_a_split_with_missing_images_is_rejected_and_the_others_are_not(changing):
    run, folder = changing
    missing = run_folder.read_splits(run)["test"][2]
    (folder / missing).unlink()
    with pytest.raises(UserError, match=f"1 of the 6 .*test split .*{missing}"):
        evaluate_run(run, [], "test")
    assert evaluated(run, split="train") == 15


def test_an_image_that_was_replaced_is_missing(changing):
    run, folder = changing
    test, train = (run_folder.read_splits(run)[split][2] for split in ("test", "train"))
    shutil.copy(folder / train, folder / test)
    with pytest.raises(UserError, match=f"1 of the 6 .*test split .*have changed.*{test}"):
        evaluate_run(run, [], "test")


def test_a_renamed_image_keeps_its_split(changing):
    run, folder = changing
    for split in ("test", "train"):
        path = folder / run_folder.read_splits(run)[split][2]
        path.rename(path.with_name(f"renamed-{split}.png"))
    assert evaluated(run, split="test") == 6
    assert evaluated(run, split="train") == 15


def test_a_run_without_its_splits_is_an_error(changing):
    run, _ = changing
    (run / "splits.json").unlink()
    with pytest.raises(UserError, match=r"it has no splits\.json"):
        evaluate_run(run, [], "test")


@pytest.mark.parametrize(
    ("override", "images"),
    [
        ("data.val_fraction=0", 6),
        ("data.val_fraction=0.7", 6),
        ("data.test_fraction=0.6", 6),
        ("data.skip_damaged=true", 6),
        ("data.limit_classes=2", 4),
        ("data.limit=1", 3),
    ],
)
def test_changed_settings_move_no_trained_image_into_the_test_split(changing, override, images):
    run, folder = changing
    make_older(run)  # its images may be replaced
    for key in run_folder.read_splits(run)["train"]:  # the model errs on them
        Image.new("RGB", (20, 20)).save(folder / key)
    _, metrics, _ = evaluate_run(run, [override])
    assert (metrics["accuracy"], metrics["pictures"]) == (1.0, images)


def test_a_fraction_that_is_not_read_is_named(finished_run, capsys):
    assert evaluated(finished_run, "data.val_fraction=0", split="val") == 3
    assert "data.val_fraction: not read" in capsys.readouterr().err


def test_an_empty_split_is_rejected(changing):
    run, _ = changing
    with pytest.raises(UserError, match="the new split is empty"):
        evaluate_run(run, [], "new")
    splits = run_folder.read_splits(run)
    run_folder.write_json(run / "splits.json", splits | {"val": []})
    with pytest.raises(UserError, match="the val split is empty"):
        evaluate_run(run, [], "val")


# The run's images in another folder


@pytest.fixture
def moved(changing, tmp_path):
    """The run, whose folder of images is gone, and a copy of this folder."""
    run, images = changing
    return run, images.rename(tmp_path / "moved")


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("split", [None, "test"])
def test_the_splits_of_the_run_decide_wherever_its_folder_lies(
    moved, draw_images, capsys, older, split
):
    run, folder = moved
    if older:
        make_older(run)
    add_blue_images(folder, draw_images)
    name, metrics, _ = evaluate_run(run, [f"data.path={folder}"], split)
    assert (name, metrics["accuracy"], metrics["pictures"]) == ("test", 1.0, 6)
    [line] = capsys.readouterr().err.splitlines()
    assert "5 images that were added after the run are ignored" in line
    assert ("by name only" in line) is older


def test_all_of_a_copied_folder_is_what_was_not_trained_on(moved, draw_images, capsys):
    run, folder = moved
    add_blue_images(folder, draw_images)
    assert evaluated(run, f"data.path={folder}", split="all") == 6 + 5
    assert "18 images that the run has trained on are left out" in capsys.readouterr().err
    assert evaluated(run, f"data.path={folder}", split="new") == 5
    assert evaluated(run, f"data.path={folder}", split="train") == 15


def test_a_copied_folder_may_lack_images(moved, capsys):
    run, folder = moved
    for key in run_folder.read_splits(run)["test"][:2]:
        (folder / key).unlink()
    assert evaluated(run, f"data.path={folder}") == 4
    assert "only 4 of the 6 images of the run's test are there" in capsys.readouterr().err


def rename_all(folder) -> None:
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        path.rename(path.with_name(f"x{number:03d}.png"))


def divide_again(folder) -> None:
    """Moves the images into train/ and test/, so that trained ones are in test/."""
    for number, path in enumerate(sorted(folder.rglob("*.png"))):
        target = folder / ("train" if number % 2 else "test") / path.parent.name
        target.mkdir(parents=True, exist_ok=True)
        path.rename(target / path.name)
    for name in COLOURS:
        (folder / name).rmdir()


def join_class_and_name(folder) -> None:
    """Renames class/0.png to class/class-0.png."""
    for path in folder.rglob("*.png"):
        path.rename(path.with_name(f"{path.parent.name}-{path.name}"))


@pytest.mark.parametrize("change", [rename_all, divide_again, join_class_and_name])
@pytest.mark.parametrize("split", [None, "test"])
def test_images_with_other_names_are_recognised_by_their_content(moved, change, split):
    run, folder = moved
    change(folder)
    assert evaluated(run, f"data.path={folder}", split=split) == 6
    assert evaluated(run, f"data.path={folder}", split="train") == 15
    assert evaluated(run, f"data.path={folder}", split="all") == 6


def test_copies_of_trained_images_in_other_data_are_left_out(
    changing, tmp_path, draw_images, capsys
):
    run, folder = changing
    for name, colour in SHOWN.items():
        draw_images(tmp_path / "other" / name, 4, colour)
    trained = run_folder.read_splits(run)["train"]
    for number, key in enumerate(trained[:3]):
        shutil.copy(folder / key, tmp_path / "other" / "red" / f"copy-{number}.png")
    for split in (None, "all"):
        assert evaluated(run, f"data.path={tmp_path / 'other'}", split=split) == 12
        assert "3 images that the run has trained on are left out" in capsys.readouterr().err


def test_other_images_with_the_names_of_the_run_s_are_new(changing, tmp_path, draw_images, capsys):
    run, _ = changing
    for name, colour in SHOWN.items():
        draw_images(tmp_path / "other" / name, 8, colour)
    assert evaluate_run(run, [f"data.path={tmp_path / 'other'}"])[1]["pictures"] == 24
    assert (
        "24 images have the name of an image of the run and other content"
        in capsys.readouterr().err
    )
    make_older(run)
    assert evaluate_run(run, [f"data.path={tmp_path / 'other'}"])[1]["pictures"] == 6
    assert "recognised by name only" in capsys.readouterr().err


def test_data_that_the_run_has_only_trained_on_are_rejected(moved):
    run, folder = moved
    splits = run_folder.read_splits(run)
    for key in splits["test"]:
        (folder / key).unlink()
    for split in (None, "all", "new"):
        with pytest.raises(UserError, match=r"the \w+ split is empty"):
            evaluate_run(run, [f"data.path={folder}"], split)


# Other data


@pytest.fixture
def other(tmp_path, draw_images):
    """Draws images in class folders below a folder of its own: `other({"red": 3})`."""

    def draw(counts: dict[str, int]) -> str:
        for name, count in counts.items():
            draw_images(tmp_path / "other" / name, count, SHOWN[name.split("/")[-1]])
        return f"data.path={tmp_path / 'other'}"

    return draw


def test_all_images_of_other_data_are_evaluated(finished_run, tmp_path, draw_images, capsys):
    for name, shown in (("blue", "blue"), ("green", "green"), ("red", "blue")):
        draw_images(tmp_path / name, 4, np.array(SHOWN[shown]) + (name == "red"))
    for split in (None, "all"):
        name, metrics, _ = evaluate_run(finished_run, [f"data.path={tmp_path}"], split)
        assert (name, metrics["pictures"]) == ("all", 12)
        assert metrics["accuracy"] == pytest.approx(2 / 3)
        noted = "no image of the run's test split is there: all 12 are evaluated"
        assert (noted in capsys.readouterr().err) is (split is None)


@pytest.mark.parametrize(
    ("counts", "images"),
    [
        ({"blue": 1, "green": 1, "red": 1}, 3),
        ({"green": 3, "red": 2}, 5),
        ({"red": 4}, 4),
        ({"test/blue": 2, "test/red": 1}, 3),
        ({"test/red": 1}, 1),
        ({"val/red": 2, "test/blue": 2}, 4),
        ({"train/red": 2, "test/blue": 2, "test/red": 1}, 5),
    ],
)
def test_other_data_need_no_split_and_not_every_class(finished_run, other, counts, images):
    _, metrics, _ = evaluate_run(finished_run, [other(counts)])
    assert (metrics["accuracy"], metrics["pictures"]) == (1.0, images)


def test_a_class_folder_without_images_is_ignored(finished_run, other, tmp_path):
    path = other({"red": 2})
    for name in ("blue", "orange"):
        (tmp_path / "other" / name).mkdir()
    assert evaluated(finished_run, path) == 2


def test_a_split_of_other_data_is_evaluated_on_request(finished_run, other, capsys):
    path = other({"test/blue": 2, "test/red": 1, "train/red": 3})
    assert evaluated(finished_run, path, split="test") == 3
    assert "it is that of the data" in capsys.readouterr().err


def test_a_split_that_other_data_do_not_define_is_drawn(finished_run, other):
    path = other({"blue": 10, "green": 10, "red": 10})
    assert evaluated(finished_run, path, split="test") == 6
    assert evaluated(finished_run, path, split="train") == 18


def test_data_too_small_to_be_divided_are_evaluated_as_a_whole(finished_run, other):
    with pytest.raises(UserError, match=r"too few images.*--split all"):
        evaluate_run(finished_run, [other({"blue": 1, "green": 1, "red": 1})], "test")


@pytest.mark.parametrize("names", [("blue", "orange"), ("test/orange",), ("orange", "pink")])
def test_classes_that_the_run_does_not_know_are_named(finished_run, tmp_path, draw_images, names):
    for name in names:
        draw_images(tmp_path / name, 2)
    with pytest.raises(UserError, match="trained on other classes, not on orange") as caught:
        evaluate_run(finished_run, [f"data.path={tmp_path}"])
    assert "blue" not in str(caught.value)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_class_names_and_keys_are_compared_in_one_unicode_form(changing, draw_images, forms):
    run, folder = changing
    ours, theirs = (unicodedata.normalize(form, "grün") for form in forms)
    for name in ("classes.json", "splits.json", "content.json"):
        text = (run / name).read_text().replace("green", json.dumps(ours)[1:-1])
        (run / name).write_text(text)
    (folder / "green").rename(folder / theirs)
    _, metrics, _ = evaluate_run(run, [])
    assert (metrics["accuracy"], metrics["pictures"]) == (1.0, 6)


def test_labels_follow_the_order_of_the_run_s_classes(changing, other):
    run, _ = changing
    model = keras.models.load_model(run / "model.keras")
    dense = model.layers[-1]
    kernel, bias = dense.get_weights()
    dense.set_weights([kernel[:, ::-1], bias])
    model.save(run / "model.keras")
    run_folder.write_json(run / "classes.json", ["red", "green", "blue"])
    assert evaluate_run(run, [other({"blue": 2, "red": 1})])[1]["accuracy"] == 1.0


# The arguments


def test_a_value_means_the_same_as_in_train(changing, tmp_path, other):
    run, _ = changing
    other({"red": 1})
    for name in ("set # 2", "a, b", "007", "~", "x: y", "[1]"):
        folder = shutil.copytree(tmp_path / "other", tmp_path / name)
        assert evaluated(run, f'data.path="{folder}"') == 1


def test_a_value_that_is_not_quoted_is_refused_and_not_cut(finished_run, other, tmp_path):
    shutil.copytree(tmp_path / other({"red": 1}).partition("=")[2], tmp_path / "set")
    with pytest.raises(OverrideParseException, match=r"data\.path=.*set # 2"):
        evaluate_run(finished_run, [f"data.path={tmp_path}/set # 2"])


@pytest.mark.parametrize("text", ["data.image_size=32", "head=average", "seed=1", "data=birds"])
def test_keys_of_the_trained_model_cannot_change(finished_run, text):
    with pytest.raises(UserError, match=rf"^{text}: the model is already trained"):
        evaluate_run(finished_run, [text])
