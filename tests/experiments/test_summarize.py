"""A sweep as a table: mean and standard deviation over seeds."""

import csv
import json
import shutil

import pytest

from experiments import summarize
from experiments.summarize import as_table, failures, read_runs, write_csv


def run_in(folder, overrides: list[str], test: float, val: float | None = None) -> None:
    """What a finished run leaves behind, as far as a summary reads it."""
    (folder / ".hydra").mkdir(parents=True)
    lines = "".join(f"- {override}\n" for override in overrides)
    (folder / ".hydra" / "overrides.yaml").write_text(lines or "[]\n")
    figures = {"test": {"accuracy": test}, "val": None if val is None else {"accuracy": val}}
    (folder / "metrics.json").write_text(json.dumps(figures))


@pytest.fixture
def sweep(tmp_path):
    """Two heads with two seeds each, and a job that failed."""
    run_in(tmp_path / "0", ["head=average", "seed=0"], test=0.25, val=0.5)
    run_in(tmp_path / "1", ["head=average", "seed=1"], test=0.35, val=0.7)
    run_in(tmp_path / "2", ["head=bilinear", "seed=0"], test=0.8, val=0.9)
    run_in(tmp_path / "3", ["head=bilinear", "seed=1"], test=0.9, val=0.8)
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "error.txt").write_text("backbone.tap=nowhere: no such layer\n")
    return tmp_path


def test_runs_that_differ_in_seed_alone_are_one_group(sweep):
    average, bilinear = summarize.summarize(read_runs([sweep]))
    assert average == {
        "head": "average", "runs": 2,
        "val_mean": pytest.approx(0.6), "val_std": pytest.approx(0.02**0.5),
        "test_mean": pytest.approx(0.3), "test_std": pytest.approx(0.005**0.5),
    }
    assert (bilinear["head"], bilinear["runs"]) == ("bilinear", 2)
    assert bilinear["test_mean"] == pytest.approx(0.85)


def test_a_single_run_has_no_deviation(tmp_path):
    run_in(tmp_path, ["head=average"], test=0.5, val=0.25)
    (group,) = summarize.summarize(read_runs([tmp_path]))
    assert (group["test_mean"], group["test_std"]) == (0.5, None)
    assert as_table([group]).splitlines()[-1].split() == ["default", "*", "1", "0.2500", "0.5000"]


def test_runs_without_validation_are_summarized_and_none_is_starred(tmp_path):
    for number in range(2):
        run_in(tmp_path / str(number), [f"seed={number}"], test=0.5)
    (group,) = summarize.summarize(read_runs([tmp_path]))
    assert (group["val_mean"], group["val_std"], group["runs"]) == (None, None, 2)
    assert as_table([group]).splitlines()[-1].split() == [
        "default", "2", "-", "0.5000", "±", "0.0000",
    ]


def test_a_setting_that_only_some_runs_have_makes_groups_of_its_own(tmp_path):
    run_in(tmp_path / "0", [], test=0.5)
    run_in(tmp_path / "1", ["head=average"], test=0.6)
    run_in(tmp_path / "2", ["data.path=a=b", "head=average"], test=0.7)
    groups = summarize.summarize(read_runs([tmp_path]))
    assert [(group["head"], group["data.path"]) for group in groups] == [
        ("", ""), ("average", ""), ("average", "a=b"),
    ]


def test_a_deleted_default_is_a_setting_like_any_other(tmp_path):
    run_in(tmp_path / "0", ["'~experiment'"], test=0.5)
    (group,) = summarize.summarize(read_runs([tmp_path]))
    assert group["runs"] == 1


def test_several_folders_are_one_table(sweep):
    runs = read_runs([sweep / "0", sweep / "2"])
    assert [pairs["head"] for pairs, _ in runs] == ["average", "bilinear"]


def test_the_best_by_validation_not_by_test_carries_the_star(tmp_path):
    run_in(tmp_path / "0", ["head=average"], test=0.9, val=0.5)
    run_in(tmp_path / "1", ["head=bilinear"], test=0.8, val=0.6)
    text = as_table(summarize.summarize(read_runs([tmp_path])))
    assert "bilinear *" in text and text.count("*") == 1


def test_the_table_shows_means_and_deviations(sweep):
    lines = as_table(summarize.summarize(read_runs([sweep]))).splitlines()
    assert lines[0].split() == ["head", "runs", "val", "accuracy", "test", "accuracy"]
    assert lines[2].split() == ["average", "2", "0.6000", "±", "0.1414", "0.3000", "±", "0.0707"]


def test_the_table_is_written_as_csv_too(sweep):
    groups = summarize.summarize(read_runs([sweep]))
    write_csv(sweep / "summary.csv", groups)
    with (sweep / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["head"] for row in rows] == ["average", "bilinear"]
    assert float(rows[0]["val_mean"]) == pytest.approx(0.6)


def test_failures_are_the_runs_that_a_mistake_ended(sweep):
    assert failures([sweep]) == [(sweep / "4", "backbone.tap=nowhere: no such layer")]


def test_a_finished_folder_that_was_asked_for_another_configuration_is_a_failure(sweep):
    finished = len(read_runs([sweep]))
    (sweep / "0" / "error.txt").write_text("holds a run of another configuration\n")
    assert [folder for folder, _ in failures([sweep])] == [sweep / "0", sweep / "4"]
    assert len(read_runs([sweep])) == finished - 1  # its figures are not those of its overrides


def test_of_runs_with_the_same_overrides_the_last_counts(sweep):
    finished = len(read_runs([sweep]))
    shutil.copytree(sweep / "0", sweep / "9")
    assert len(read_runs([sweep])) == finished


def test_the_command_prints_the_table(sweep, capsys):
    summarize.main([str(sweep)])
    assert "bilinear *" in capsys.readouterr().out


def test_the_command_says_that_there_are_no_runs(tmp_path, capsys):
    summarize.main([str(tmp_path)])
    assert capsys.readouterr().out == "no finished runs here\n"
