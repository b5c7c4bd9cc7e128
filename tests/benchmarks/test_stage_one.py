"""The benchmark of stage 1: what its tables say."""

import math

import pytest

from benchmarks import stage_one


def tables(output: str) -> list[list[dict[str, str]]]:
    """The lines of each Markdown table, as dictionaries from column to text."""
    parsed = []
    for block in output.strip().split("\n\n"):
        header, _, *lines = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        ]
        parsed.append([dict(zip(header, line, strict=True)) for line in lines])
    return parsed


def test_both_ways_train_the_same_classifier(capsys):
    stage_one.main(["--quick"])
    [[coordinates, descriptors]] = tables(capsys.readouterr().out)
    assert (coordinates["way"], descriptors["way"]) == ("coordinates", "descriptors")
    assert float(coordinates["loss"]) == pytest.approx(float(descriptors["loss"]), rel=1e-3)
    # Once for the inner products and once for the return; once for all epochs.
    assert (coordinates["described"], descriptors["described"]) == ("2.0", "1.0")


@pytest.fixture
def measured(monkeypatch):
    """Replaces the measurements: training takes a second for each thousand samples and epoch."""

    def measure(way, samples, size, classes, epochs, gib):
        values = dict.fromkeys([*stage_one.COLUMNS, "described in training"], math.nan)
        training = epochs * samples / 1000
        gram = samples**2 * size / 1e9
        return values | {
            "Gram or pooling": gram, "training": training, "total": gram + training,
            "described": 1 + epochs, "described in training": epochs,
        }  # fmt: skip

    monkeypatch.setattr(stage_one, "in_own_process", lambda function, *args: function(*args))
    monkeypatch.setattr(stage_one, "measure", measure)


def test_the_growth_is_fitted_to_all_cells(measured, capsys):
    stage_one.main(["--samples", "100", "400", "--dimensions", "1000", "5000"])
    _, growth = tables(capsys.readouterr().out)
    powers = {(line["way"], line["grows like n^p D^q"]): (line["p"], line["q"]) for line in growth}
    assert powers["coordinates", "Gram or pooling"] == ("2.00", "1.00")
    assert powers["descriptors", "training"] == ("1.00", "0.00")


def test_one_epoch_is_multiplied_if_all_take_too_long(measured, capsys):
    stage_one.main(["--samples", "1000", "4000", "--dimensions", "5000", "--longest", "100"])
    cells, _ = tables(capsys.readouterr().out)
    whole, multiplied = (cell for cell in cells if cell["way"] != "coordinates")
    assert (whole["way"], whole["training"], whole["total"]) == ("descriptors", "50.0", "55.0")
    assert (multiplied["way"], multiplied["training"]) == ("descriptors (1)", "200")
    assert (multiplied["total"], multiplied["described"]) == ("280", "51.0")


def test_coordinates_are_left_out_where_stage_1_does_not_use_them(measured, capsys):
    stage_one.main(["--samples", "1000", "--dimensions", "1000"])
    [cells] = tables(capsys.readouterr().out)
    assert [cell["way"] for cell in cells] == ["descriptors"]
