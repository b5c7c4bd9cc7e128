"""Only one process trains in a run's folder; processes of their own hold the lock."""

import os
import socket
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL
from lock_holder import holding

import run_folder
from commands import resuming
from commands.run_lock import RunInProgress, in_progress, run_lock
from errors import UserError


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path` until its standard input is closed."""
    with holding("commands.run_lock", "run_lock", tmp_path) as process:
        yield process


def enter(folder, config):
    with resuming.entered(folder, config) as results:
        return results


def test_the_second_process_says_who_holds_the_folder(tmp_path, holder, make_config):
    who = rf"in use by process {holder.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\d "
    for _ in range(2):  # the first attempt leaves the holder's entry
        with pytest.raises(RunInProgress, match=who):
            enter(tmp_path, make_config())
    assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]  # no configuration
    with pytest.raises(RunInProgress, match=who):
        enter(tmp_path, make_config("force=true"))
    holder.communicate()
    assert enter(tmp_path, make_config()) is None
    assert not (tmp_path / "run.lock").exists()


def test_a_killed_process_keeps_nobody_out(tmp_path, holder, make_config):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run.lock").exists()
    assert enter(tmp_path, make_config()) is None


def test_a_finished_run_is_reported_without_the_lock(tmp_path, make_config, holder):
    resuming.enter(tmp_path, make_config())
    run_folder.write_json(tmp_path / "metrics.json", {"val": None, "test": {"accuracy": 0.5}})
    assert enter(tmp_path, make_config()).record["test"] == {"accuracy": 0.5}
    with pytest.raises(RunInProgress):  # which would delete it
        enter(tmp_path, make_config("force=true"))


def test_a_left_lock_file_is_no_trained_run(tmp_path, make_config):
    resuming.enter(tmp_path, make_config())
    (tmp_path / "run.lock").write_text("process 1 on elsewhere")
    assert enter(tmp_path, make_config("seed=1")) is None  # another configuration replaces it
    assert run_folder.read_config(tmp_path, []).seed == 1


def test_runs_in_different_folders_of_a_sweep_do_not_meet(tmp_path, holder):
    (tmp_path / "1-average-seed0").mkdir()
    with run_lock(tmp_path / "1-average-seed0"):
        assert len(in_progress(tmp_path)) == 2
    assert in_progress(tmp_path) == [tmp_path]
    holder.communicate()
    assert in_progress(tmp_path) == []


@pytest.mark.parametrize("number", [38, 37, 95])  # ENOSYS, ENOLCK, EOPNOTSUPP
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, caplog, number):
    def without_locks(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", without_locks)
    with run_lock(tmp_path):
        pass
    [message] = caplog.messages
    assert message.startswith(f"warning: {tmp_path}: no file locks there ({os.strerror(number)})")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", "/proc"):
        with pytest.raises(UserError, match=r"run\.lock: writing failed"), run_lock(ROOT / folder):
            pytest.fail("locked")


@pytest.mark.slow
def test_a_second_train_py_ends_with_one_line_and_the_first_goes_on(own_folder, tmp_path):
    command = [
        sys.executable,
        "train.py",
        "data=image_folder",
        f"data.path={own_folder}",
        f"trainer.feature_dir={tmp_path / 'features'}",
        *SMALL,
        "trainer.epochs=400",
        "trainer.epoch_lines=true",
    ]
    run = f"hydra.run.dir={tmp_path / 'run'}"
    with subprocess.Popen([*command, run], cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        assert any(line.startswith("Epoch 2/") for line in first.stdout)
        second = subprocess.run([*command, run], cwd=ROOT, capture_output=True, text=True)
        assert second.returncode == 2
        assert f"error: {tmp_path / 'run'}: in use by process {first.pid} on" in second.stderr
        first.communicate()
    assert first.returncode == 0 and (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "run.lock").exists()
