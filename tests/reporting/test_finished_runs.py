"""Reading the runs of a sweep: those that finished and those that failed."""

import shutil

import yaml
from made_runs import failed_run, finished_run

from reporting.finished_runs import read_failures, read_runs, what_varied


def test_a_run_has_a_seed_settings_as_text_and_metrics(tmp_path):
    finished_run(tmp_path / "0", 0.5, seed=3)
    (run,) = read_runs([tmp_path])
    assert (run.folder, run.seed) == (tmp_path / "0", 3)
    assert run.metrics["test"] == {"accuracy": 0.5}
    assert (run.config["head.name"], run.config["head.root"]) == ("bilinear", "null")
    assert (run.config["head.l2"], run.config["optimizer.learning_rate"]) == ("true", "10.0")
    assert not {"seed", "force", "trainer.feature_dir"} & set(run.config)


def test_runs_are_in_the_order_in_which_they_were_started(tmp_path):
    for number in range(12):
        finished_run(tmp_path / f"{number}-bilinear", number, seed=number)
    assert [run.seed for run in read_runs([tmp_path])] == list(range(12))


def test_runs_of_several_sweeps_and_single_ones_are_read_together(tmp_path):
    finished_run(tmp_path / "sweep" / "0", 0.5, seed=0)
    finished_run(tmp_path / "single", 0.5, seed=1)
    assert [run.seed for run in read_runs([tmp_path / "sweep", tmp_path / "single"])] == [0, 1]


def test_the_last_of_several_runs_with_the_same_configuration_counts(tmp_path):
    finished_run(tmp_path / "0", 0.5)
    shutil.copytree(tmp_path / "0", tmp_path / "1")
    finished_run(tmp_path / "2", 0.75)
    (run,) = read_runs([tmp_path])
    assert run.metrics["test"]["accuracy"] == 0.75


def test_a_finished_folder_that_refused_another_configuration_is_a_failure(tmp_path):
    finished_run(tmp_path / "0", 0.5)
    failed_run(tmp_path / "0", "holds a run of another configuration")
    assert not read_runs([tmp_path])  # its metrics are not those of the requested configuration
    assert [folder for folder, _ in read_failures([tmp_path])] == [tmp_path / "0"]


def test_a_failure_is_reported_by_the_last_line_of_its_reason(tmp_path):
    failed_run(tmp_path / "10", "backbone.tap=nowhere: no such layer")
    failed_run(tmp_path / "9", "Traceback\n  ...\nRuntimeError: out of memory")
    failed_run(tmp_path / "11", "")
    assert [(run.name, reason) for run, reason in read_failures([tmp_path])] == [
        ("9", "RuntimeError: out of memory"),
        ("10", "backbone.tap=nowhere: no such layer"),
        ("11", "no reason given"),
    ]


def varied(folder, *runs: dict) -> list[str]:
    for number, changes in enumerate(runs):
        finished_run(folder / str(number), 0.5, **changes)
    return what_varied(read_runs([folder]))


def test_keys_that_varied_are_named_except_the_seed(tmp_path):
    assert varied(tmp_path, {"seed": 0}, {"seed": 1}, {"optimizer__learning_rate": 1.0}) == [
        "optimizer.learning_rate"
    ]


def without(path, group: str, name: str, **more) -> None:
    """Turns a run into an older one, whose configuration lacks a key or has a removed one."""
    config = yaml.safe_load((path / "config.yaml").read_text())
    config[group].pop(name)
    (path / "config.yaml").write_text(yaml.safe_dump(config | more))


def test_a_key_that_older_runs_lack_has_its_default(tmp_path):
    finished_run(tmp_path / "0", 0.5)
    without(tmp_path / "0", "head", "l2")  # whose default is true
    assert varied(tmp_path / "new", {}, {"seed": 1}) == []
    assert what_varied(read_runs([tmp_path])) == []
    finished_run(tmp_path / "1", 0.5, head__l2=False)
    assert what_varied(read_runs([tmp_path])) == ["head.l2"]


def test_a_key_that_only_older_runs_have_is_not_named(tmp_path):
    finished_run(tmp_path / "0", 0.5)
    finished_run(tmp_path / "1", 0.5, seed=1)
    without(tmp_path / "0", "head", "l2", removed_key=3)
    assert what_varied(read_runs([tmp_path])) == []


def test_keys_that_follow_from_the_name_of_their_group_are_not_named(tmp_path):
    assert varied(tmp_path, {}, {"head__name": "mpn_cov", "head__root": "exact"}) == ["head.name"]


def test_a_sweep_over_augmentations_has_one_column(tmp_path):
    strong = {"augment__name": "strong", "augment__operations": 2, "augment__mixup": 0.2}
    assert varied(tmp_path, {}, strong) == ["augment.name"]


def test_keys_that_vary_within_a_group_or_with_another_one_are_named(tmp_path):
    assert varied(
        tmp_path, {}, {"head__root": "exact"}, {"head__name": "average", "trainer__epochs": 5}
    ) == ["head.name", "head.root", "trainer.epochs"]
