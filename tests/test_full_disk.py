"""Each command names a file that it cannot write, in one line with advice."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import ROOT
from made_runs import made_sweep
from whole_runs import one_worker

import run_folder
from conf.schema import TrainerConfig
from data.datasets import open_dataset
from errors import UserError
from event_file import EventFile
from experiments.one_class import results
from models.saved_model import save_model
from reporting import finished_runs, projector, sweep_summary
from reporting.image_summary import write_png
from training.callbacks import MetricsLog
from training.checkpoints import Checkpoints

FILES = (
    "config.yaml",
    "splits.json",
    "classes.json",
    "head.weights.h5",
    "head.json",
    "model.keras",
    "predictions.csv",
    "metrics.json",
)


def small_model() -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def log_an_epoch(folder: Path) -> None:
    log = MetricsLog(folder / "metrics.jsonl", "head")
    log.set_model(small_model())
    log.on_epoch_end(0, {"loss": 0.5})


def finish_a_stage(folder: Path) -> None:
    config = TrainerConfig(checkpoint_seconds=0)
    Checkpoints(folder / "checkpoints", "head", 0, config, "accuracy", one_worker()).finish({})


def join(folder: Path) -> None:
    one = folder.parent / "one"
    one.mkdir()
    (one / "predictions.csv").write_text("target\n")
    results.join_predictions(folder, [one])


def summarize(folder: Path) -> None:
    runs = finished_runs.read_runs([made_sweep(folder.parent / "sweep")])
    sweep_summary.write(folder, sweep_summary.summarize(runs))


WRITERS = {
    "model.keras": lambda folder: save_model(folder, small_model()),
    "metrics.json": lambda folder: run_folder.write_json(folder / "metrics.json", {}),
    "metrics.jsonl": log_an_epoch,
    "checkpoints/head.json": finish_a_stage,
    "citation.bib": lambda folder: run_folder.write_citations(
        folder, SimpleNamespace(citation="@book")
    ),
    "roc.png": lambda folder: write_png(folder / "roc.png", np.zeros((2, 2, 3), np.uint8)),
    "predictions.csv": join,
    "summary.csv": summarize,
    "tensorboard/events.out": lambda folder: EventFile(folder / "tensorboard"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_names_its_file(tmp_path, name):
    (tmp_path / "run").touch()  # no folder can be there
    with pytest.raises(UserError) as caught:
        WRITERS[name](tmp_path / "run")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'run' / name}") and "\n" not in message
    assert re.search(r"writing failed \((Not a directory|File exists)\); make room", message)


def test_predictions_and_embeddings_are_explained_too(tmp_path, folder_config, image_folder_path):
    config = folder_config(image_folder_path)
    dataset = open_dataset(config.data, 0)
    (tmp_path / "run").touch()
    with pytest.raises(UserError, match=r"predictions\.csv: writing failed"):
        run_folder.write_predictions(
            tmp_path / "run/predictions.csv", dataset, "test", np.eye(6, 3)
        )
    with pytest.raises(UserError, match=r"vectors\.tsv: writing failed"):
        projector.write(tmp_path / "run", "test", np.eye(6), dataset, "test", config.data)


@pytest.fixture
def full_disk_at(monkeypatch):
    """`with full_disk_at("model.keras")`: the disk is full when this file is nearly written."""
    fsync = os.fsync

    @contextlib.contextmanager
    def fill(name: str) -> Iterator[None]:
        def fail(file: int) -> None:
            if Path(os.readlink(f"/proc/self/fd/{file}")).name == f"unfinished-{name}":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(file)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            yield

    return fill


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads names of files from /proc")
@pytest.mark.parametrize("name", FILES)
def test_a_run_on_a_full_disk_names_the_file_and_resumes(train, full_disk_at, name):
    with full_disk_at(name):
        outcome, folder = train()
    assert outcome.status == 2
    assert f"{name}: writing failed (No space left on device); make room" in outcome.error
    assert "start the run again with the same hydra.run.dir" in outcome.error
    assert not (folder / "metrics.json").exists()
    outcome, _ = train()
    assert outcome.status == 0, outcome.errors
    assert (folder / "metrics.json").exists()


@pytest.mark.slow
def test_a_job_whose_error_cannot_be_stored_does_not_end_the_sweep(train, full_disk_at):
    with full_disk_at("error.txt"):
        outcome, folder = train("-m", "backbone.tap=nowhere,block1_conv1", "trainer.epochs=1")
    assert "error.txt: writing failed (No space left on device)" in outcome.output
    assert len(list(folder.glob("*/metrics.json"))) == 1


@pytest.mark.slow
def test_a_summary_that_cannot_be_written_is_printed(train, full_disk_at):
    with full_disk_at("summary.csv"):
        outcome, _ = train("-m", "seed=0", "trainer.epochs=1")
    assert outcome.status == 1 and "test accuracy" in outcome.output
    assert "summary.csv: writing failed (No space left on device)" in outcome.errors


LIMITED = """
import resource, signal, sys
from pathlib import Path
import keras
from commands.running import run_command
from conf.schema import TrainerConfig
from models.saved_model import save_model
from training.checkpoints import Checkpoints
from whole_runs import one_worker

def main():
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(400)])
    limit = 100_000  # bytes a file
    if sys.argv[1] == "size":
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if sys.argv[3] == "model.keras":
        save_model(Path(sys.argv[2]), model)
    else:
        model.compile("sgd", "mse")
        config = TrainerConfig(checkpoint_seconds=0)
        checkpoints = Checkpoints(Path(sys.argv[2]), "head", 0, config, "accuracy", one_worker())
        checkpoints.set_model(model)
        checkpoints.on_epoch_end(0, {"val_accuracy": 1.0})

run_command(main)
"""


MOUNTS = shutil.which("unshare") is not None and not subprocess.call(
    ["unshare", "-rm", "true"], stderr=subprocess.DEVNULL
)


@pytest.mark.parametrize(
    "name", ["head.weights.h5", pytest.param("model.keras", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("size", "File too large"),
        pytest.param(
            "disk",
            "No space left on device",
            marks=pytest.mark.skipif(not MOUNTS, reason="this user may not mount a file system"),
        ),
    ],
)
def test_a_limit_of_the_system_is_one_line_and_leaves_nothing(tmp_path, limit, reason, name):
    """HDF5 would print a traceback and crash at the end, as it cannot close its file."""
    folder = tmp_path / "run"
    folder.mkdir()
    command = [sys.executable, "-c", LIMITED, limit, folder, name]
    if limit == "disk":
        script = 'mount -t tmpfs -o size=200k none "$0" && "$@"; status=$?; ls "$0"; exit $status'
        command = ["unshare", "-rm", "bash", "-c", script, folder, *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert f"error: {folder / name}: writing failed ({reason}); make room" in done.stderr
    assert "Traceback" not in done.stderr and not list(folder.iterdir())
