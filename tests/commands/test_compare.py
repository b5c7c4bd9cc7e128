"""The paired comparison of finished runs, from files that are written by hand."""

import csv
import json
import shutil
import unicodedata

import pytest

import run_folder
from commands.compare import compare_runs
from errors import UserError
from run_folder import PREDICTIONS

CLASSES = ["ant", "bee"]
KEYS = [f"{name}/{number}.png" for name in CLASSES for number in range(5)]
LABELS = [key.split("/")[0] for key in KEYS]
A = ["ant", "ant", "ant", "ant", "bee", "bee", "bee", "ant", "ant", "ant"]  # 6 right
B = ["ant", "bee", "ant", "ant", "bee", "bee", "bee", "bee", "bee", "ant"]  # 7 right


@pytest.fixture
def make_run(tmp_path, make_config):
    """Writes the files of a finished run that a comparison reads."""

    def make(
        name: str,
        predicted: list[str],
        keys: list[str] = KEYS,
        labels: list[str] = LABELS,
        overrides: tuple[str, ...] = (),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.yaml").write_text(run_folder.as_yaml(make_config(*overrides)))
        run_folder.write_json(folder / "classes.json", CLASSES)
        run_folder.write_json(folder / "splits.json", {"train": [], "val": [], "test": keys})
        hashes = {key: f"content of {key}" for key in keys}
        run_folder.write_json(folder / "content.json", {"train": {}, "val": {}, "test": hashes})
        run_folder.write_json(folder / "metrics.json", {"val": None, "test": {}})
        lines = zip(keys, labels, predicted, strict=True)
        with (folder / "predictions.csv").open("w", newline="") as file:
            csv.writer(file).writerows([PREDICTIONS, *([*line, "0.500000"] for line in lines)])
        return folder

    return make


def change(path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_two_runs_are_compared_image_by_image(make_run):
    c = compare_runs(make_run("a", A), make_run("b", B))
    assert (c.both, c.only_a, c.only_b, c.neither) == (5, 1, 2, 2)
    assert (c.accuracy_a, c.accuracy_b) == (0.6, 0.7)
    assert c.difference == pytest.approx(-0.1)
    assert c.interval[0] < c.difference < c.interval[1]
    assert c.p_value == 1.0  # 1 of 3


def test_images_are_matched_by_key_in_whatever_order(make_run):
    other = make_run("b", B[::-1], KEYS[::-1], LABELS[::-1])
    run_folder.write_json(other / "classes.json", CLASSES[::-1])
    c = compare_runs(make_run("a", A), other)
    assert (c.both, c.only_a, c.only_b, c.neither) == (5, 1, 2, 2)


def test_keys_are_compared_in_one_unicode_form(make_run):
    a, b = (
        make_run(form, ["ant"], [unicodedata.normalize(form, "ant/é.png")], ["ant"])
        for form in ("NFC", "NFD")
    )
    shutil.copy(a / "content.json", b)
    assert compare_runs(a, b).both == 1


def test_a_prediction_with_a_nan_is_wrong(make_run):
    a = make_run("a", A)
    change(a / "predictions.csv", "ant/0.png,ant,ant,0.500000", "ant/0.png,ant,ant,nan")
    assert compare_runs(a, make_run("b", B)).accuracy_a == 0.5


def test_a_run_does_not_differ_from_itself(make_run, capsys):
    a = make_run("a", A)
    c = compare_runs(a, a)
    assert (c.difference, c.interval, c.p_value) == (0, (0, 0), 1)
    assert not capsys.readouterr().err


def test_without_content_hashes_images_are_recognised_by_name(make_run, capsys):
    a, b = make_run("a", A), make_run("b", B)
    (b / "content.json").unlink()
    assert compare_runs(a, b).neither == 2
    assert "by name only" in capsys.readouterr().err


def other_split(b):
    change(b / "splits.json", "ant/0.png", "ant/9.png")


def other_content(b):
    change(b / "content.json", "content of bee/3.png", "something else")


def other_classes(b):
    run_folder.write_json(b / "classes.json", [*CLASSES, "cat"])


def other_label(b):
    change(b / "predictions.csv", "bee/4.png,bee,", "bee/4.png,ant,")


def unfinished(b):
    (b / "metrics.json").unlink()


def without_predictions(b):
    (b / "predictions.csv").unlink()


def without_splits(b):
    (b / "splits.json").unlink()


def missing_line(b):
    change(b / "predictions.csv", "ant/0.png,ant,ant,0.500000\n", "")


def missing_cell(b):
    change(b / "predictions.csv", "ant/0.png,ant,ant,0.500000", "ant/0.png,ant,ant")


def other_columns(b):
    change(b / "predictions.csv", "prediction", "nearest")


def empty_predictions(b):
    (b / "predictions.csv").write_text("")


def no_text(b):
    (b / "predictions.csv").write_bytes(b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_split, r"another test split .*9 images are in both, of 10 and 10.*same seed"),
        (other_content, r"1 test images have the name .*other content, such as bee/3\.png"),
        (other_classes, r"other classes .*1 are only in one of both, such as cat in .*b\)"),
        (other_label, r"1 test images have another label .*such as bee/4\.png"),
        (unfinished, r"has no metrics\.json; the run has not finished"),
        (without_predictions, r"predictions\.csv: there is no such file"),
        (without_splits, r"has no splits\.json"),
        (missing_line, "one line for each of the 10 test images"),
        (missing_cell, "one line for each of the 10 test images"),
        (other_columns, "the columns picture,label,prediction,probability"),
        (empty_predictions, "the columns picture,label,prediction,probability"),
        (no_text, "the columns picture,label,prediction,probability"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_line(make_run, damage, message):
    a, b = make_run("a", A), make_run("b", B)
    damage(b)
    with pytest.raises(UserError, match=message) as caught:
        compare_runs(a, b)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError):
        compare_runs(b, a)


ONE_CLASS = ("task=one_class", "loss=compactness", "data@reference=drawn_birds")


def test_a_task_that_predicts_no_classes_is_refused(make_run):
    a, b = make_run("a", A), make_run("b", B, overrides=ONE_CLASS)
    with pytest.raises(UserError, match=r"task=one_class; only runs of task=classification"):
        compare_runs(a, b)


def test_a_folder_of_no_run_is_refused(make_run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a run's folder"):
        compare_runs(make_run("a", A), tmp_path / "empty")


# The command


def test_the_command_prints_a_table_or_json(make_run, command):
    runs = make_run("a", A), make_run("b", B)
    shown = command("evaluate.py", "--compare", *runs)
    assert shown.status == 0, shown.errors
    for text in (*map(str, runs), "0.6000", "0.7000", "-0.1000", "McNemar's exact test, p"):
        assert text in shown.output
    values = json.loads(command("evaluate.py", "--json", "--compare", *runs).output)
    assert (values["accuracy_a"], values["only_b"], values["p_value"]) == (0.6, 2, 1)
    assert len(values["interval"]) == 2


@pytest.mark.parametrize("more", [("RUN",), ("data.limit=1",), ("--split", "all")])
def test_the_command_names_what_a_comparison_does_not_read(make_run, command, more):
    runs = make_run("a", A), make_run("b", B)
    assert "it takes no third RUN" in command("evaluate.py", "--compare", *runs, *more).error


def test_a_run_is_required_without_a_comparison(command):
    outcome = command("evaluate.py")
    assert outcome.status == 2 and "required: RUN" in outcome.errors
