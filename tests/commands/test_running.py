"""How a command's process ends."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from commands.running import resume_hint, run_command
from errors import UserError

ROOT = Path(__file__).parents[2]
MISTAKE = UserError("data.path=none: is no folder")

TERMINATED_WHILE_READING = """
import os, signal, threading, time
import keras, numpy as np, tensorflow as tf
from data.pipeline import user_errors
from commands.running import exit_when_terminated, run_command

def read(_):
    for _ in range(3):
        time.sleep(0.001)  # lets go of Python's lock, as reading a picture does
    return np.ones((8, 4), np.float32)

def load(number):
    samples = tf.ensure_shape(tf.numpy_function(read, [number], tf.float32), (8, 4))
    return samples, tf.zeros((8, 1))

def main():
    batches = tf.data.Dataset.counter().map(load, num_parallel_calls=8).prefetch(8)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with user_errors():
        model.fit(batches, steps_per_epoch=5, epochs=100_000, verbose=0)

with exit_when_terminated():
    run_command(main)
"""

OTHERS_GONE = """
import atexit
from errors import UserError
from commands.running import run_command

class Lost(UserError):
    status = 75

def main():
    atexit.register(print, "waited for them")
    raise SystemExit(Lost("another worker has ended"))

run_command(main)
"""


@pytest.fixture(autouse=True)
def not_debugging(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as each command sets it: to be undone
    monkeypatch.delenv("HYDRA_FULL_ERROR")


@pytest.mark.parametrize("raised", [MISTAKE, SystemExit(MISTAKE)], ids=["itself", "through Hydra"])
def test_a_mistake_is_one_line_unless_one_debugs(raised, capsys):
    def main():
        raise raised

    with pytest.raises(SystemExit, match=r"^2$"):
        run_command(main)
    assert capsys.readouterr().err == "error: data.path=none: is no folder\n"
    with pytest.raises(UserError):  # the first has set HYDRA_FULL_ERROR
        run_command(main)


@pytest.mark.parametrize("status", [0, 75, "1 of 2 jobs failed"])
def test_any_other_exit_keeps_its_status(status):
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: sys.exit(status))
    assert ended.value.code == status


def test_a_worker_whose_others_are_gone_waits_for_nothing():
    done = subprocess.run(
        [sys.executable, "-c", OTHERS_GONE], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == "error: another worker has ended\n"


@pytest.mark.slow
def test_the_threads_that_read_images_do_not_outlive_the_interpreter():
    """They made it hang at its end, or crash."""
    process = subprocess.run(
        [sys.executable, "-c", TERMINATED_WHILE_READING], capture_output=True, timeout=300, cwd=ROOT
    )
    assert process.returncode == 75, process.stderr


def test_there_is_nothing_to_resume_before_the_run_has_a_folder(monkeypatch):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("config", return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(composed)
    assert resume_hint() == ""
