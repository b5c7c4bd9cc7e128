"""How a command's process ends."""

import subprocess
import sys
from pathlib import Path

TERMINATED_WHILE_READING = """
import os, signal, threading, time
import keras, numpy as np, tensorflow as tf
from data.pipeline import user_errors
from experiments.commands import exit_when_terminated, run_command

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


def test_the_threads_that_read_pictures_do_not_outlive_the_interpreter():
    """They made it hang at its end, or crash."""
    process = subprocess.run(
        [sys.executable, "-c", TERMINATED_WHILE_READING], capture_output=True, timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert process.returncode == 75, process.stderr
