"""`python train.py task=post_mortem`: heads with their faults, trained and timed."""

import json
from pathlib import Path

import pytest
from whole_runs import run_steps

import run_folder
from commands.evaluate import evaluate_run
from conf.schema import Task
from experiments.post_mortem import experiment
from experiments.post_mortem.faulty_head import VARIANTS
from reporting.tables import final_table

FEW = ("all faults", "all but rate 0.001", "only loops", "no fault")  # of all, as each takes time
OPTIONS = ("data.image_size=32", "trainer.epochs=2", "trainer.batch_size=8", "head.epsilon=1e-3")


def metrics(folder) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def accuracies(folder) -> dict:
    return {name: record["test"] for name, record in metrics(folder)["variants"].items()}


@pytest.fixture(scope="module", autouse=True)
def few_heads():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "VARIANTS", {name: VARIANTS[name] for name in FEW})
        yield


@pytest.fixture(scope="module")
def run_in(folder_config, image_folder_path, tmp_path_factory):
    """Runs a task on `picture_folder` in a folder, new or to go on in; returns the folder."""

    def run(folder: Path, *overrides: str) -> Path:
        folder.mkdir(exist_ok=True)
        features = tmp_path_factory.getbasetemp() / "features"
        config = folder_config(
            image_folder_path, *OPTIONS, f"trainer.feature_dir={features}", *overrides
        )
        run_steps(config, folder)
        return folder

    return run


@pytest.fixture(scope="module")
def finished(run_in, tmp_path_factory) -> Path:
    """The folder of a finished run; not to be changed."""
    return run_in(tmp_path_factory.mktemp("run"), "task=post_mortem")


def test_every_head_is_trained_timed_and_shown(finished):
    results = metrics(finished)
    assert tuple(results["variants"]) == FEW
    for record in results["variants"].values():
        assert 0 <= record["test"]["accuracy"] <= 1 and record["step_seconds"] > 0
        assert record["stages"]["head"]["epochs"] == 2  # fewer than 490 steps stay as they are
    lines = final_table(Task.post_mortem, results, finished).splitlines()
    assert [name for name in FEW if any(line.startswith(f"{name}  ") for line in lines)] == [*FEW]


def test_loops_take_time_and_change_no_metric(finished):
    looped, batched = (metrics(finished)["variants"][name] for name in ("only loops", "no fault"))
    assert looped["test"] == batched["test"]
    assert looped["step_seconds"] > 3 * batched["step_seconds"]


@pytest.mark.slow
def test_from_zero_the_head_without_a_fault_is_what_task_classification_trains(
    run_in, tmp_path, monkeypatch
):
    monkeypatch.setattr(experiment, "VARIANTS", {"no fault": VARIANTS["no fault"]})
    monkeypatch.setattr(experiment, "RANDOM_START", False)
    plain = metrics(run_in(tmp_path / "plain"))
    finished = run_in(tmp_path / "post_mortem", "task=post_mortem")
    assert metrics(finished)["test"] == pytest.approx(plain["test"], abs=2e-3)
    _, evaluated, _ = evaluate_run(finished, [], "test")
    assert evaluated == pytest.approx(plain["test"], abs=2e-3)


@pytest.mark.slow
def test_killed_and_started_again_it_goes_on_at_the_head_where_it_was(
    finished, run_in, tmp_path, monkeypatch
):
    save, saved = run_folder.write_json, []

    def killed(path, content):
        save(path, content)
        saved.append(path.name)
        if path.name == "record.json" and saved.count(path.name) == 2:  # of three heads
            raise SystemExit(75)

    monkeypatch.setattr(run_folder, "write_json", killed)
    with pytest.raises(SystemExit):
        run_in(tmp_path / "run", "task=post_mortem")
    folder = run_in(tmp_path / "run", "task=post_mortem")
    assert saved.count("record.json") == 3 and saved[-1] == "metrics.json"
    assert accuracies(folder) == accuracies(finished)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "solver=svm",
            "solver=svm: task=post_mortem requires solver=sgd",
        ),
        ("head=average", "requires head=improved_bilinear (it rebuilds this head)"),
        ("head.reduction=4", "requires head.reduction=null (it pools each"),
        ("head.embedding=8", "requires head.embedding=null (it classifies"),
        ("trainer.classes_per_batch=2", "requires trainer.classes_per_batch=null (it shuffles"),
        ("trainer.feature_store=false", "requires trainer.feature_store=true (it pools"),
        ("trainer.fine_tune_epochs=1", "requires trainer.fine_tune_epochs=0 (it has no"),
        ("trainer.stage_1_gib=0", "raise it, or set data.mirror=false or data.limit"),
        ("loss=triplet_hard", "task=post_mortem requires loss=softmax"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_would_be_right(train, override, said):
    outcome, _ = train("task=post_mortem", override)
    assert outcome.status == 2
    assert said in outcome.error
