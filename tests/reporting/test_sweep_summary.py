"""The table of a sweep: mean, deviation and interval over seeds, difference to a baseline."""

import csv
import json

import pytest
from made_runs import finished_run, made_sweep
from PIL import Image

from conf.schema import PRIMARY_METRIC, Task
from errors import UserError
from reporting.finished_runs import read_runs
from reporting.sweep_summary import as_markdown, as_table, summarize, write


@pytest.fixture
def sweep(tmp_path):
    return made_sweep(tmp_path / "sweep")


def rows_of(*folders, **options) -> list[dict]:
    return summarize(read_runs(list(folders)), **options)


def test_runs_that_differ_only_in_seed_are_one_group(sweep):
    average, bilinear = rows_of(sweep)
    assert (average["settings"], average["n"]) == ({"head": "average"}, 2)
    assert average["val"]["mean"] == pytest.approx(0.6)
    assert average["test"]["std"] == pytest.approx(0.005**0.5)
    assert (bilinear["settings"], bilinear["n"]) == ({"head": "bilinear"}, 2)
    assert bilinear["test"]["mean"] == pytest.approx(0.85)


def test_the_first_group_is_the_baseline_unless_another_is_named(sweep):
    average, bilinear = rows_of(sweep)
    assert average["difference"] is None
    assert bilinear["difference"]["mean"] == pytest.approx(0.55)
    average, bilinear = rows_of(sweep, baseline={"head": "bilinear"})
    assert bilinear["difference"] is None
    assert average["difference"]["mean"] == pytest.approx(-0.55)


def test_a_baseline_that_matches_no_row_or_several_is_an_error_that_lists_the_rows(sweep):
    finished_run(sweep / "5", 0.5, optimizer__learning_rate=1.0)
    with pytest.raises(UserError, match=r"head=max: 0 rows have that, of: average, 10\.0; bilin"):
        rows_of(sweep, baseline={"head": "max"})
    with pytest.raises(UserError, match="head=bilinear: 2 rows"):
        rows_of(sweep, baseline={"head": "bilinear"})


def test_a_single_run_has_no_deviation_and_no_difference(tmp_path):
    finished_run(tmp_path / "0", test=0.5, val=0.25)
    assert as_table(rows_of(tmp_path)).splitlines()[-1].split() == [
        "default",
        "*",
        "1",
        "0.2500",
        "0.5000",
        "-",
    ]


def test_runs_without_validation_have_no_star(tmp_path):
    for seed in range(2):
        finished_run(tmp_path / str(seed), test=0.5, seed=seed)
    assert as_table(rows_of(tmp_path)).splitlines()[-1].split() == [
        "default",
        "2",
        "-",
        "0.5000",
        "±",
        "0.0000",
        "[0.5000,",
        "0.5000]",
    ]


def test_the_star_marks_the_best_by_validation(tmp_path):
    finished_run(tmp_path / "0", test=0.9, val=0.5, head__name="average")
    finished_run(tmp_path / "1", test=0.8, val=0.6)
    text = as_table(rows_of(tmp_path))
    assert "bilinear *" in text and text.count("*") == 1


@pytest.mark.parametrize("task", Task)
def test_the_table_shows_means_deviations_intervals_and_differences(tmp_path, task):
    for seed, (first, second) in enumerate([(0.2, 0.6), (0.3, 0.7), (0.4, 0.8)]):
        finished_run(tmp_path / f"a{seed}", first, 0.5, seed=seed, task=task, head__name="average")
        finished_run(tmp_path / f"b{seed}", second, 0.7, seed=seed, task=task)
    header, _, average, bilinear = as_table(rows_of(tmp_path)).splitlines()
    metric = PRIMARY_METRIC[task].replace("_", " ")
    assert " ".join(header.split()) == (
        f"head n val {metric} test {metric} 95% test - average, 95%"
    )
    assert (
        " ".join(average.split()) == "average 3 0.5000 ± 0.0000 0.3000 ± 0.1000 [0.0516, 0.5484] -"
    )
    assert (
        " ".join(bilinear.split()) == "bilinear * 3 0.7000 ± 0.0000 0.7000 ± 0.1000"
        " [0.4516, 0.9484] +0.4000 [+0.4000, +0.4000]"
    )


def test_every_setting_has_a_column(tmp_path):
    finished_run(tmp_path / "0", 0.5)
    finished_run(tmp_path / "1", 0.5, head__name="average", optimizer__learning_rate=1.0)
    finished_run(tmp_path / "2", 0.5, optimizer__learning_rate=1.0)
    text = as_table(rows_of(tmp_path))
    assert text.split()[:3] == ["head", "optimizer.learning_rate", "n"]
    assert text.splitlines()[3].split()[:3] == ["average", "1.0", "1"]


def test_each_variant_of_a_post_mortem_is_a_row_with_its_fastest_step(tmp_path):
    for seed, seconds in enumerate([0.5, 0.25]):
        finished_run(tmp_path / str(seed), 0.75, seed=seed)
        heads = {
            name: {"val": None, "test": {"accuracy": accuracy}, "step_seconds": seconds}
            for name, accuracy in (("all faults", 0.25), ("no fault", 0.75))
        }
        metrics = {"val": None, "test": {"accuracy": 0.75}, "variants": heads}
        (tmp_path / str(seed) / "metrics.json").write_text(json.dumps(metrics))
    rows = rows_of(tmp_path)
    assert [row["settings"] for row in rows] == [{"variant": "all faults"}, {"variant": "no fault"}]
    assert [(row["n"], row["step_seconds"]) for row in rows] == [(2, 0.25), (2, 0.25)]
    assert rows[1]["difference"]["mean"] == 0.5
    header, _, _, none = as_table(rows).splitlines()
    assert "s/step" in header and " 0.250 " in none


def test_numbers_with_many_digits_are_rounded_in_the_table_but_not_in_csv(tmp_path):
    finished_run(tmp_path / "0", 0.5, optimizer__learning_rate=1.7826497151386944)
    finished_run(tmp_path / "1", 0.5, optimizer__learning_rate=1.7826497151386945e-5)
    rows = rows_of(tmp_path)
    assert [line.split()[0] for line in as_table(rows).splitlines()[2:]] == ["1.783", "1.783e-05"]
    write(tmp_path, rows)
    assert "1.7826497151386944," in (tmp_path / "summary.csv").read_text()


def test_csv_has_every_number_and_markdown_the_table(sweep):
    rows = rows_of(sweep)
    write(sweep, rows)
    with (sweep / "summary.csv").open(newline="") as file:
        average, bilinear = csv.DictReader(file)
    assert (average["head"], average["n"], average["baseline"]) == ("average", "2", "True")
    assert (bilinear["best"], bilinear["figure"]) == ("True", "accuracy")
    assert float(bilinear["difference_mean"]) == pytest.approx(0.55)
    assert float(bilinear["test_low"]) == rows[1]["test"]["low"]
    markdown = (sweep / "summary.md").read_text()
    assert markdown == as_markdown(rows) and markdown.count("\n") == 4
    assert markdown.startswith("| head | n | val accuracy | test accuracy | 95% | test - average")
    with Image.open(sweep / "summary.png") as image:
        assert image.width > 300


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("diverged", [0, 1, 2])  # a seed of the baseline, of another, or both
def test_a_table_with_a_metric_that_is_not_finite_is_written_whole(tmp_path, diverged, value):
    for index, head in enumerate(["average", "bilinear"]):
        for seed in range(2):
            bad = seed == 0 and diverged in (index, 2)
            metrics = {"test": value, "val": value} if bad else {"test": 0.5, "val": 0.4}
            finished_run(tmp_path / f"{index}{seed}", seed=seed, head__name=head, **metrics)
    rows = rows_of(tmp_path)
    write(tmp_path, rows)
    with (tmp_path / "summary.csv").open() as file:
        means = [float(line["test_mean"]) for line in csv.DictReader(file)]
    for index, mean in enumerate(means):
        expected = value if diverged in (index, 2) else 0.5
        assert mean == pytest.approx(expected, nan_ok=True)
        assert rows[index]["best"] == (expected == 0.5)  # the star is that of a finite metric
    for text in (as_table(rows), (tmp_path / "summary.md").read_text()):
        assert f"{value:.4f}" in text
    with Image.open(tmp_path / "summary.png") as image:
        image.load()
        assert image.width > 100


def test_the_accuracy_of_coarse_classes_has_a_column(tmp_path):
    for seed, (fine, coarse) in enumerate([(0.5, 0.75), (0.25, 0.5)]):
        finished_run(tmp_path / str(seed), fine, seed=seed)
        path = tmp_path / str(seed) / "metrics.json"
        record = json.loads(path.read_text())
        record["test"] |= {"macro_accuracy": 0.5, "top3_accuracy": 1.0, "coarse_accuracy": coarse}
        path.write_text(json.dumps(record))
    finished_run(tmp_path / "other", 0.5, head__name="average")  # of data without coarse classes
    rows = rows_of(tmp_path)
    header, _, *lines = as_table(rows).splitlines()
    assert "test coarse accuracy" in header
    assert "macro" not in header and "top" not in header  # no levels of classes
    assert "0.6250 ± 0.1768" in lines[0]
    write(tmp_path, rows)
    written = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [line["test_coarse_accuracy_mean"] for line in written] == ["0.625", ""]
