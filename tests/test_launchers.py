"""Sweeps in several processes, and a search: with the plugins of requirements-launchers.txt."""

import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, SMALL

from commands.running import limit_threads

INSTALLED = {distribution.name for distribution in importlib.metadata.distributions()}


def needs(package: str):
    return pytest.mark.skipif(
        package not in INSTALLED, reason=f"{package}: pip install -r requirements-launchers.txt"
    )


@pytest.fixture
def sweep(own_folder, tmp_path):
    """Runs `train.py -m` as a process of its own; returns it and the sweep's folder."""

    def run(*overrides: str):
        done = subprocess.run(
            [
                sys.executable,
                "train.py",
                "-m",
                "data=image_folder",
                f"data.path={own_folder}",
                f"trainer.feature_dir={tmp_path / 'features'}",
                f"hydra.sweep.dir={tmp_path / 'sweep'}",
                *SMALL,
                *overrides,
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=900,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        return done, tmp_path / "sweep"

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("processes", marks=needs("hydra-joblib-launcher")),
        pytest.param("submitit_local", marks=needs("hydra-submitit-launcher")),
    ],
)
def test_runs_in_processes_end_with_the_table_and_the_one_that_failed(sweep, launcher):
    done, folder = sweep(
        f"hydra/launcher={launcher}", "backbone.tap=block1_conv1,nowhere", "seed=0,1"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(list(folder.glob("*/metrics.json"))) == 2
    assert done.stdout.count("failed: ") == 2 and "backbone.tap=nowhere" in done.stdout
    assert "2 of 4 jobs failed" in done.stderr and "Traceback" not in done.stderr
    assert "| 2 |" in (folder / "summary.md").read_text()


@pytest.mark.slow
@needs("hydra-optuna-sweeper")
def test_a_search_outlives_trials_that_fail_and_finds_the_best_of_the_others(sweep):
    done, folder = sweep(
        "hydra/sweeper=search",
        "hydra.sweeper.n_trials=5",
        "trainer.epochs=1",
        "loss.label_smoothing=choice(0.1,5.0)",  # 5 is no share
        "head.epsilon=1e-5",
    )
    finished = [json.loads(path.read_text()) for path in folder.glob("*/metrics.json")]
    assert finished and "failed: " in done.stdout and "Traceback" not in done.stderr
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    assert best["best_params"]["loss.label_smoothing"] == 0.1
    assert "head.epsilon=1e-5: fixed by the command line" in done.stdout
    assert "head.epsilon" not in best["best_params"]
    assert best["best_value"] == max(run["val"]["accuracy"] for run in finished)
    assert 0.1 <= best["best_params"]["optimizer.learning_rate"] <= 100


def test_runs_at_once_share_the_cores(monkeypatch):
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    for jobs, threads in [(2, "4"), (3, "2"), (16, "1"), (-1, "1")]:
        with monkeypatch.context() as patch:
            for name in names:
                patch.setenv(name, "")  # so that what follows is undone
                os.environ.pop(name)
            limit_threads(jobs)
            assert {os.environ.get(name) for name in names} == {threads}
    with monkeypatch.context() as patch:
        patch.delenv(names[0], raising=False)
        limit_threads(1)
        assert names[0] not in os.environ


def test_a_missing_plugin_is_reported_with_what_to_install(command, tmp_path):
    outcome = command(
        "train.py", "-m", "hydra/launcher=nothing", f"hydra.sweep.dir={tmp_path}", "seed=0"
    )
    assert outcome.status == 2 and "requirements-launchers.txt" in outcome.error
