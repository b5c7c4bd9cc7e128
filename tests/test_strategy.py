"""Several devices or workers train what one alone would: real processes on the loopback."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, SMALL, free_ports

from commands import train as train_command
from models.saved_model import load_model
from run_folder import Results
from training.distributed import workers
from training.distributed.workers import Workers

CLASSIFICATION = (
    *SMALL,
    "trainer.epochs=2",
    "trainer.fine_tune_epochs=2",
    "trainer.early_stopping=null",
    "trainer.batch_size=7",
    "trainer.fine_tune_batch_size=23",  # of 24: the last has only one
    "data.mirror=false",
    "data.train_crop=center",
    "optimizer.clip_norm=0.1",
    "optimizer.fine_tune_learning_rate=1e-4",
)
CENTER = (
    *CLASSIFICATION,
    "loss=softmax_center",
    "loss.center_weight=0.1",
    "head.embedding=8",
    "loss.center_normalization=half_sum",
)
TRIPLETS = (
    *CLASSIFICATION,
    "task=metric_learning",
    "head.embedding=8",
    "head.embedding_init=pca",
    "trainer.classes_per_batch=2",
    "trainer.pictures_per_class=3",
)
RUNS = {
    "classification": CLASSIFICATION,
    "batch_norm": (*CLASSIFICATION, "head.reduction=4"),
    "center": CENTER,
    "triplet_hard": (*TRIPLETS, "loss=triplet_hard"),
    "triplet_semi_hard": (*TRIPLETS, "loss=triplet_semi_hard"),
}


@dataclasses.dataclass
class Worker:
    """A run as a process: what it prints, and the losses of its steps."""

    process: subprocess.Popen
    folder: Path
    printed: Path

    @property
    def losses(self) -> list:
        path = self.folder.with_suffix(".losses")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def metrics(self) -> dict:
        results = json.loads((self.folder / "metrics.json").read_text())
        results.pop("backbone_digest")  # of every last digit
        for record in (results, *results["stages"].values()):
            record.pop("seconds")
        return results

    def weights(self) -> list[np.ndarray]:
        return load_model(self.folder).get_weights()

    def ends(self, status: int = 0, seconds: float = 1500) -> str:
        """Waits for its end; returns what it printed."""
        exit_status = self.process.wait(seconds)
        text = self.printed.read_text()
        assert exit_status == status, text
        return text


@pytest.fixture
def start(tmp_path, own_folder, draw_images):
    """Starts `train.py` as a worker, in a folder of a name: number `index` of the cluster at
    `ports`, or alone, with so many devices."""
    draw_images(own_folder / "white", 10, (220, 220, 220))
    started = []

    def run(name: str, *overrides: str, ports=(), index: int = 0, devices: int = 1) -> Worker:
        folder = tmp_path / f"{name}-{index}"
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment.pop("TF_CONFIG", None)
        if ports:
            addresses = [f"localhost:{port}" for port in ports]
            task = {"type": "worker", "index": index}
            environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        printed = tmp_path / f"{name}-{index}.txt"
        with printed.open("w") as file:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "tests/one_worker.py",
                    folder.with_suffix(".losses"),
                    str(devices),
                    "data=image_folder",
                    f"data.path={own_folder}",
                    f"trainer.feature_dir={tmp_path / 'features'}",
                    f"hydra.run.dir={folder}",
                    *overrides,
                ],
                cwd=ROOT,
                stdout=file,
                stderr=file,
                env=environment,
            )
        started.append(process)
        return Worker(process, folder, printed)

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def start_two(start):
    """Starts both workers of a cluster."""

    def run(name: str, *overrides: str) -> list[Worker]:
        ports = free_ports(2)
        return [start(name, *overrides, ports=ports, index=index) for index in range(2)]

    return run


def assert_same(worker: Worker, alone: Worker) -> None:
    """Losses of each step, metrics, final weights."""
    assert [line[:3] for line in worker.losses] == [line[:3] for line in alone.losses]
    expected = [line[3] for line in alone.losses]
    np.testing.assert_allclose([line[3] for line in worker.losses], expected, atol=1e-5)
    assert_close(worker.metrics, alone.metrics)
    for weight, its_own in zip(worker.weights(), alone.weights(), strict=True):
        # Relative too: a variance of a thousand, taken over replicas, is a difference of squares.
        np.testing.assert_allclose(weight, its_own, atol=1e-4, rtol=1e-4)


def assert_close(actual, expected) -> None:
    """The same names, texts and counts, and figures that differ by rounding at most."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for name in expected:
            assert_close(actual[name], expected[name])
    elif isinstance(expected, list):
        for one, other in zip(actual, expected, strict=True):
            assert_close(one, other)
    elif isinstance(expected, float):
        assert actual == pytest.approx(expected, abs=1e-5)
    else:
        assert actual == expected


# Equal to one worker


def both_equal_one(start, start_two, kind: str) -> None:
    alone = start("alone", *RUNS[kind])
    chief, other = start_two("together", *RUNS[kind])
    alone.ends()
    assert "waiting for the others" in chief.ends()
    other.ends()
    assert_same(chief, alone)
    np.testing.assert_array_equal(chief.losses, other.losses)
    left = {path.name for path in other.folder.rglob("*") if path.is_file()}
    assert left <= {"config.yaml", "hydra.yaml", "overrides.yaml", "one_worker.log"}


@pytest.mark.slow
def test_two_workers_train_a_classifier_as_one_does(start, start_two):
    both_equal_one(start, start_two, "classification")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in RUNS if kind != "classification"])
def test_two_workers_train_as_one_does(start, start_two, kind):
    both_equal_one(start, start_two, kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_two_devices_of_one_worker_train_as_one_does(start, kind):
    alone = start("alone", *RUNS[kind])
    alone.ends()
    mirrored = start("mirrored", *RUNS[kind], "trainer.strategy=mirrored", devices=2)
    mirrored.ends()
    assert_same(mirrored, alone)


@pytest.mark.slow
def test_triplets_of_a_replica_s_own_part_are_another_loss(start):
    """The parts hold one class each, and so no negative: every loss is 0."""
    own = start(
        "own",
        *RUNS["triplet_hard"],
        "trainer.strategy=mirrored",
        "loss.global_mining=false",
        devices=2,
    )
    own.ends()
    assert {loss for *_, loss in own.losses} == {0.0}


# A worker that dies


def in_stage_2(worker: Worker, seconds: float = 1500) -> None:
    """Waits until some steps of stage 2 are done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and worker.process.poll() is None:
        if sum(stage == "fine_tune" for stage, *_ in worker.losses) > 5:
            return
        time.sleep(0.2)
    pytest.fail(worker.printed.read_text())


@pytest.mark.slow
@pytest.mark.parametrize("killed", [1, 0], ids=["other", "chief"])
@pytest.mark.parametrize("then", ["two", "one"])
def test_a_killed_worker_stops_the_other_and_both_go_on(start, start_two, killed, then):
    long = (*CLASSIFICATION, "trainer.fine_tune_epochs=12", "trainer.checkpoint_seconds=0")
    undisturbed = start("alone", *long)
    undisturbed.ends()
    workers = start_two("killed", *long)
    in_stage_2(workers[0])
    workers[killed].process.send_signal(signal.SIGKILL)
    said = workers[1 - killed].ends(status=75, seconds=60)
    assert "error: another worker has ended or cannot be reached" in said
    assert "Traceback" not in said
    chief = workers[0]
    chief.folder.with_suffix(".losses").unlink()
    if then == "one":
        start("killed", *long).ends()
    else:
        for worker in start_two("killed", *long):
            worker.ends()
    assert all(stage == "fine_tune" for stage, *_ in chief.losses)
    assert_close(chief.metrics, undisturbed.metrics)


# Its share of the cores


def test_a_worker_takes_its_share_of_the_cores_before_tensorflow_is_there(train, monkeypatch):
    began = []
    monkeypatch.setattr(train_command, "limit_threads", lambda jobs: began.append("cores"))
    monkeypatch.setattr(train_command, "import_tensorflow", lambda: began.append("tensorflow"))
    monkeypatch.setattr(workers, "connect", lambda *_: Workers(None, 1, 2))
    monkeypatch.setattr(
        train_command,
        "_train_together",
        lambda *_: began.append("experiment") or Results(None, None),
    )
    cluster = {"worker": ["localhost:1", "localhost:2"]}
    task = {"type": "worker", "index": 1}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    outcome, _ = train()
    assert outcome.status == 0, outcome.errors
    assert began == ["cores", "tensorflow", "experiment"]


# Mistakes


@pytest.mark.slow
def test_workers_with_other_configurations_say_so(start):
    ports = free_ports(2)
    chief = start("chief", *SMALL, ports=ports)
    other = start("other", *SMALL, "seed=1", ports=ports, index=1)
    assert "error: worker 2 has another seed than the first one" in other.ends(status=2)
    assert "error: another worker has ended" in chief.ends(status=75)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("trainer.strategy=multi_worker",), "neither TF_CONFIG nor Slurm describes several"),
        (("trainer.strategy=mirrored",), "requires several devices, and /device:CPU:0 is the only"),
        (
            ("experiment=birds_one_class", "trainer.strategy=mirrored"),
            "task=one_class: requires trainer.strategy=none",
        ),
    ],
)
def test_a_strategy_that_cannot_be_is_a_mistake(train, overrides, said):
    outcome, _ = train(*overrides)
    assert outcome.status == 2
    assert said in outcome.error
