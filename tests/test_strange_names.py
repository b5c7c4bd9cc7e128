"""Runs on folders whose names no program expects: bytes that are not UTF-8, formulas, scripts."""

import csv
import json
from pathlib import Path

import pytest

STRANGE = {
    "blue": "caf\udce9",  # the byte E9, which is not UTF-8
    "green": "$\\frac{a|b}$ 鳥",
    "red": "a\nb; 'c' \"d\", #e",
}


@pytest.fixture
def strange_folder(own_folder) -> Path:
    """`own_folder` with strange names of classes and images."""
    for old, new in STRANGE.items():
        for image in (own_folder / old).iterdir():
            image.rename(image.with_name(f"{new}-{image.name}"))
        (own_folder / old).rename(own_folder / new)
    return own_folder


def unescaped(text: str) -> str:
    if "\\u" not in text and "\\n" not in text:
        return text
    return text.encode("latin-1", "backslashreplace").decode("unicode_escape")


@pytest.mark.slow
def test_a_run_finishes_and_its_files_hold_every_name(strange_folder, train, command):
    outcome, folder = train()
    assert outcome.status == 0, outcome.errors
    assert json.loads((folder / "metrics.json").read_text())["test"]["pictures"] == 6
    predictions = list(csv.DictReader((folder / "predictions.csv").open(encoding="utf-8")))
    for line in predictions:
        assert (strange_folder / unescaped(line["picture"])).is_file()
        assert unescaped(line["label"]) in STRANGE.values()
    splits = json.loads((folder / "splits.json").read_text())
    assert set(splits["test"]) == {line["picture"] for line in predictions}
    evaluated = command("evaluate.py", folder, "--json")
    assert evaluated.status == 0, evaluated.errors
    predicted = command("predict.py", folder, strange_folder, "--csv", "--top", "1")
    assert predicted.status == 0 and len(predicted.output.splitlines()) == 31


@pytest.mark.slow
def test_a_sweep_and_its_table_finish(strange_folder, train):
    outcome, folder = train("-m", "seed=0,1")
    assert outcome.status == 0, outcome.errors
    assert {path.name for path in folder.glob("summary.*")} == {
        "summary.csv",
        "summary.md",
        "summary.png",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["$", "a $x$ {", "new\udce9\nline"],
)
def test_a_one_class_run_on_a_strange_name_finishes(own_folder, train, draw_images, tmp_path, name):
    (own_folder / "red").rename(own_folder / name)
    draw_images(tmp_path / "reference" / "grey", 10, (90, 90, 90))
    draw_images(tmp_path / "reference" / "white", 10, (220, 220, 220))
    outcome, folder = train(
        "task=one_class",
        "loss=compactness",
        "data@reference=image_folder",
        f"reference.path={tmp_path / 'reference'}",
        "reference.image_size=32",
        "one_class.target=0" if name.startswith(("$", "a")) else "one_class.target=2",
        "one_class.templates=4",
    )
    assert outcome.status == 0, outcome.errors
    assert (folder / "metrics.json").is_file()
    assert list(folder.rglob("roc.png"))
