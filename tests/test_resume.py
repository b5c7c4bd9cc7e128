"""Killed anywhere, a run that is started again in its folder ends as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
from conftest import ROOT

FINE_TUNED = (
    "trainer.epochs=6",
    "trainer.fine_tune_epochs=3",
    "trainer.checkpoint_seconds=0",
    "trainer.epoch_lines=true",
    "optimizer.fine_tune_learning_rate=1e-4",
    "head.dropout=0.3",
    "data.mirror=true",
    "trainer.early_stopping=null",
    "optimizer.warmup_epochs=1",
    "optimizer.schedule=plateau",
    "optimizer.plateau_epochs=1",
)


def metrics(folder) -> dict:
    """All of `metrics.json` but the seconds."""
    results = json.loads((folder / "metrics.json").read_text())
    for record in results["stages"].values():
        record.pop("seconds")
    results.pop("seconds")
    return results


def curves(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Interrupted(BaseException):
    pass


@pytest.fixture(scope="module")
def remembered() -> dict:
    return {}


@pytest.fixture
def whole(train, remembered) -> dict:
    """Figures and curves of a run that nothing interrupts: one for all tests that ask."""
    if not remembered:
        _, folder = train(*FINE_TUNED, name="whole")
        remembered.update(metrics=metrics(folder), curves=curves(folder))
    return remembered


@pytest.mark.parametrize(
    "stage, epoch",
    [
        pytest.param("head", 3, marks=pytest.mark.slow),
        pytest.param("head", 5, marks=pytest.mark.slow),
        ("fine_tune", 7),
    ],
)
def test_an_interrupted_stage_goes_on(train, whole, monkeypatch, stage, epoch):
    from training.callbacks import MetricsLog

    on_epoch_end = MetricsLog.on_epoch_end

    def interrupt(log, number, logs=None):
        on_epoch_end(log, number, logs)
        if (log.stage, number) == (stage, epoch):
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "on_epoch_end", interrupt)
        with pytest.raises(Interrupted):
            train(*FINE_TUNED)
    outcome, folder = train(*FINE_TUNED)
    assert outcome.status == 0, outcome.errors
    assert f"Epoch {epoch + 1}/" in outcome.output and "Epoch 1/" not in outcome.output
    assert metrics(folder) == whole["metrics"]
    assert curves(folder) == whole["curves"]


@pytest.mark.slow
def test_a_checkpoint_that_was_being_written_is_not_read(train, whole, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "unfinished-head.state.npz").write_bytes(b"half")
    assert metrics(train(*FINE_TUNED)[1]) == whole["metrics"]


def test_a_finished_run_is_reported_and_not_repeated(train, train_once):
    first, _ = train_once()
    again, _ = train()
    assert "is finished; force=true repeats it" in again.output and "epochs in" not in again.output
    assert first.output.splitlines()[-8:] == again.output.splitlines()[-8:]


@pytest.mark.slow
def test_the_folder_alone_is_enough(train_once, command):
    _, folder = train_once()
    before = metrics(folder)
    assert "is finished" in command("train.py", f"hydra.run.dir={folder}").output
    (folder / "metrics.json").unlink()
    outcome = command("train.py", f"hydra.run.dir={folder}")
    assert outcome.status == 0, outcome.errors
    assert metrics(folder) == before


@pytest.mark.slow
def test_force_repeats_a_finished_run(train, train_once):
    _, folder = train_once()
    before = metrics(folder)
    outcome, _ = train("force=true")
    assert "3/3 epochs in" in outcome.output
    assert metrics(folder) == before and len(curves(folder)) == 3


def test_a_folder_with_another_configuration_is_refused(train, train_once):
    train_once()
    outcome, _ = train("seed=2")
    assert outcome.status == 2
    assert "seed: 0" in outcome.error and "force=true" in outcome.error


@pytest.mark.slow
def test_an_interrupted_sweep_skips_what_is_finished(train):
    sweep = ("-m", "seed=0,1")
    _, folder = train(*sweep)
    shutil.rmtree(next(folder.glob("1-*")))
    outcome, _ = train(*sweep)
    assert outcome.output.count("is finished; force=true repeats it") == 1
    assert outcome.output.count("3/3 epochs in") == 1


@pytest.mark.slow
def test_a_full_disk_stops_cleanly_and_the_run_goes_on_later(train, whole, monkeypatch):
    savez, written = np.savez, []

    def fill_the_disk(path, **arrays):
        written.append(path)
        if len(written) == 4:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        savez(path, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fill_the_disk)
        outcome, _ = train(*FINE_TUNED)
    assert outcome.status == 2 and "No space left on device" in outcome.error
    assert metrics(train(*FINE_TUNED)[1]) == whole["metrics"]


# ---------------------------------------------------------------- as processes


def start(own_folder, tmp_path, name: str, *overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        [
            sys.executable,
            "train.py",
            "data=image_folder",
            f"data.path={own_folder}",
            "data.image_size=32",
            "backbone.tap=block1_conv2",
            *FINE_TUNED,
            f"trainer.feature_dir={tmp_path / name / 'features'}",
            f"hydra.run.dir={tmp_path / name / 'run'}",
            *overrides,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
    )


def wait_for_line(process: subprocess.Popen, start: str) -> None:
    for line in process.stdout:
        if line.startswith(start):
            return
    pytest.fail(f"the process ended without a line {start!r}: {process.stderr.read()}")


def test_sigterm_saves_and_exits_with_its_own_status(own_folder, tmp_path, train):
    overrides = ("trainer.epochs=2000", "trainer.checkpoint_seconds=1000")
    process = start(own_folder, tmp_path, "job", *overrides)
    wait_for_line(process, "Epoch 5/")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75 and "to resume: python train.py" in errors
    state = tmp_path / "job" / "run" / "checkpoints" / "head.state.npz"
    assert state.exists() and "Traceback" not in errors


def centers_in(folder, stage: str) -> np.ndarray:
    with h5py.File(folder / "checkpoints" / f"{stage}.weights.h5") as file:
        return file["center_loss/vars/0"][()]


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [4, 15])  # of either stage
def test_killed_a_run_goes_on_with_its_centers(own_folder, tmp_path, train, command, epoch):
    overrides = (
        *FINE_TUNED,
        "loss=softmax_center",
        "head.embedding=4",
        "loss.center_weight=0.1",
        "trainer.epochs=12",
        "trainer.fine_tune_epochs=8",
    )
    _, undisturbed = train(*overrides, name="undisturbed")
    process = start(own_folder, tmp_path, "killed", *overrides)
    wait_for_line(process, f"Epoch {epoch}/")
    assert process.poll() is None, "it had finished already"
    process.kill()
    process.communicate()
    folder = tmp_path / "killed" / "run"
    outcome = command("train.py", f"hydra.run.dir={folder}")
    assert outcome.status == 0 and "Epoch 1/" not in outcome.output, outcome.errors
    assert metrics(folder) == metrics(undisturbed) and curves(folder) == curves(undisturbed)
    for stage in ("head", "fine_tune"):
        assert np.abs(centers_in(undisturbed, stage)).max() > 0
        np.testing.assert_array_equal(centers_in(folder, stage), centers_in(undisturbed, stage))


@pytest.mark.slow
def test_killed_at_ten_random_moments_a_run_ends_with_the_same_metrics(own_folder, tmp_path):
    long = ("trainer.epochs=60", "trainer.fine_tune_epochs=30", "trainer.checkpoint_seconds=0.1")
    _, errors = (whole := start(own_folder, tmp_path, "whole", *long)).communicate(timeout=600)
    assert whole.returncode == 0, errors
    moments = random.Random(0)
    reached = []
    for kill in range(10):
        process = start(own_folder, tmp_path, "killed", *long)
        wait_for_line(process, str(tmp_path / "killed"))  # TensorFlow is there, the run begins
        time.sleep(0.2 * (kill + 1) * moments.random() + 0.1 * kill)  # extraction is hit early
        assert process.poll() is None, "it had finished already"
        process.kill()
        reached += process.communicate()[0].splitlines()[-1:]
    _, errors = (last := start(own_folder, tmp_path, "killed", *long)).communicate(timeout=600)
    assert last.returncode == 0, errors
    assert "Epoch 1/" in "".join(reached) or len(set(reached)) > 3, reached  # not all in one place
    assert metrics(tmp_path / "killed" / "run") == metrics(tmp_path / "whole" / "run")
    assert curves(tmp_path / "killed" / "run") == curves(tmp_path / "whole" / "run")
