"""Entering a run's folder: a new run, a resumed one, another configuration, a finished run."""

import dataclasses

import pytest
import yaml
from omegaconf import OmegaConf

import run_folder
from commands import resuming
from data.datasets import open_dataset
from errors import UserError


def test_a_new_folder_holds_the_configuration(tmp_path, make_config):
    assert resuming.enter(tmp_path, make_config("seed=5")) is None
    assert run_folder.read_config(tmp_path, []) == make_config("seed=5")


@pytest.mark.parametrize("force", ["force=true", "++force=true", "force=True"])
def test_without_other_keys_the_folder_s_own_configuration_is_run(tmp_path, make_config, force):
    resuming.enter(tmp_path, make_config("seed=5"))
    composed = OmegaConf.structured(make_config(force))
    own = resuming.configuration(tmp_path, composed, [force])
    assert own == make_config("seed=5", "force=true")
    given = resuming.configuration(tmp_path, composed, [force, "seed=0"])
    assert given == make_config("force=true")


def test_a_finished_run_returns_its_results(tmp_path, make_config):
    resuming.enter(tmp_path, make_config())
    run_folder.write_json(tmp_path / "metrics.json", {"val": None, "test": {"accuracy": 0.5}})
    results = resuming.enter(tmp_path, make_config())
    assert results.val is None and results.record["test"] == {"accuracy": 0.5}
    assert resuming.enter(tmp_path, dataclasses.replace(make_config(), force=True)) is None


def test_a_run_resumes_with_other_memory_and_with_the_default_of_an_earlier_version(
    tmp_path, make_config
):
    resuming.enter(tmp_path, make_config())
    (tmp_path / "metrics.jsonl").write_text("{}\n")  # an epoch was trained
    resuming.enter(tmp_path, make_config("trainer.stage_1_gib=8"))
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("stage_1_gib: 2.0", "descriptor_gib: 4.0"))
    assert resuming.enter(tmp_path, make_config()) is None


def test_a_run_does_not_resume_on_other_images_unless_forced(tmp_path, own_folder, folder_config):
    config = folder_config(own_folder, "seed=2")
    for _ in range(2):
        resuming.enter(tmp_path, config)
        run_folder.write_data(tmp_path, open_dataset(config.data, config.seed))
        (tmp_path / "metrics.jsonl").write_text("{}\n")  # an epoch was trained
    kept = run_folder.read_splits(tmp_path)
    assert {name: len(keys) for name, keys in kept.items()} == {"train": 18, "val": 6, "test": 6}
    (own_folder / kept["test"][0]).unlink()
    changed = open_dataset(config.data, config.seed)
    with pytest.raises(UserError, match="the images changed since this run began"):
        run_folder.write_data(tmp_path, changed)
    resuming.enter(tmp_path, dataclasses.replace(config, force=True))
    run_folder.write_data(tmp_path, changed)
    assert run_folder.read_splits(tmp_path) != kept


def test_before_training_a_run_accepts_another_configuration_and_other_images(
    tmp_path, own_folder, folder_config, caplog
):
    config = folder_config(own_folder, "trainer.precision=auto")
    resuming.enter(tmp_path, config)
    run_folder.write_data(tmp_path, open_dataset(config.data, config.seed))
    precision = tmp_path / "checkpoints" / "precision.json"  # of another backbone
    precision.parent.mkdir()
    precision.touch()
    next((own_folder / "red").iterdir()).unlink()
    corrected = dataclasses.replace(config, seed=1)
    with caplog.at_level("INFO"):
        resuming.enter(tmp_path, corrected)
    run_folder.write_data(tmp_path, open_dataset(corrected.data, corrected.seed))
    assert "nothing was trained there; changed keys: seed: 0 -> 1" in caplog.text
    assert run_folder.read_config(tmp_path, []) == corrected and not precision.exists()


@pytest.mark.parametrize(
    "trained",
    [
        "metrics.jsonl",
        "checkpoints/head.weights.h5",
        "variants/correct/record.json",
        "targets/003-red/metrics.jsonl",
    ],
)
def test_a_trained_run_is_not_lost_to_another_configuration(tmp_path, make_config, trained):
    resuming.enter(tmp_path, make_config())
    (tmp_path / trained).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / trained).touch()
    changed = r"\(seed: 0 -> 1, head\.epsilon: 1e-05 -> 0\.5\)"
    with pytest.raises(UserError, match=rf"another configuration {changed}"):
        resuming.enter(tmp_path, make_config("seed=1", "head.epsilon=0.5"))
    assert (tmp_path / trained).exists()


def test_a_run_of_an_earlier_version_without_a_key_is_resumed(tmp_path, make_config):
    resuming.enter(tmp_path, make_config())
    (tmp_path / "metrics.jsonl").touch()
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("  early_stopping: null\n", ""))
    assert resuming.enter(tmp_path, make_config()) is None
    with pytest.raises(UserError, match=r"\(trainer\.early_stopping: None -> 3\)"):
        resuming.enter(tmp_path, make_config("trainer.early_stopping=3"))


@pytest.mark.parametrize("text", ["lr: 0.1\n", "[]\n", "", "task: classification\n"])
def test_another_program_s_folder_is_not_changed(tmp_path, make_config, text):
    theirs = {"config.yaml": text, "splits.json": "[]", "checkpoints/last.pt": "weights"}
    (tmp_path / "checkpoints").mkdir()
    for name, content in theirs.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml: belongs to another program"):
        resuming.enter(tmp_path, make_config())
    assert {name: (tmp_path / name).read_text() for name in theirs} == theirs


def stored_path(run, key: str, path: str) -> None:
    """Changes a path in a run's `config.yaml`, and makes the run look trained."""
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    group, name = key.split(".")
    config[group][name] = path
    (run / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    (run / "metrics.jsonl").touch()


@pytest.mark.parametrize("stored", ["pictures", "./pictures/", "../{}/pictures", "link"])
def test_a_relative_path_of_an_earlier_version_is_the_same_folder(
    tmp_path, own_folder, folder_config, monkeypatch, stored
):
    (tmp_path / "link").symlink_to(own_folder)
    (tmp_path / "run").mkdir()
    config = folder_config(own_folder)
    resuming.enter(tmp_path / "run", config)
    stored_path(tmp_path / "run", "data.path", stored.format(tmp_path.name))
    monkeypatch.chdir(tmp_path)
    assert resuming.enter(tmp_path / "run", config) is None
    assert run_folder.stored_config(tmp_path / "run").data.path == str(own_folder)


def test_images_that_moved_are_the_same_and_other_images_are_not(
    tmp_path, own_folder, folder_config, draw_images
):
    run = tmp_path / "run"
    run.mkdir()
    resuming.enter(run, folder_config(own_folder))
    stored_path(run, "data.path", "/gone/pictures")
    resuming.enter(run, folder_config(own_folder))
    assert run_folder.stored_config(run).data.path == str(own_folder)
    draw_images(tmp_path / "others", 1)
    with pytest.raises(UserError, match=r"another configuration \(data\.path: .*others\)"):
        resuming.enter(run, folder_config(tmp_path / "others"))


def test_another_feature_folder_is_no_other_configuration(tmp_path, make_config):
    resuming.enter(tmp_path, make_config("trainer.feature_dir=/old/features"))
    (tmp_path / "metrics.jsonl").touch()
    assert resuming.enter(tmp_path, make_config("trainer.feature_dir=/new/features")) is None


@pytest.mark.parametrize(
    "name",
    ["a ${b}", "${seed}", "${", "\\${x}", "a\\\\${x}\\", "é # ${oc.env:HOME}", "1e5", "true"],
)
def test_a_path_keeps_its_characters_in_the_stored_configuration(tmp_path, make_config, name):
    path = f"/images/{name}"
    config = make_config()
    config.data.path = path
    config.one_class.target = name
    resuming.enter(tmp_path, config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))["data"]["path"] == path
    assert run_folder.read_config(tmp_path, []) == config
    (tmp_path / "metrics.jsonl").touch()
    assert resuming.enter(tmp_path, config) is None


def test_the_command_line_may_hold_the_characters_of_a_reference(make_config):
    assert make_config('data.path="/a/\\${b}"').data.path == "/a/${b}"
