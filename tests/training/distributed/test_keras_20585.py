"""Keras' own `fit` fails under MultiWorkerMirroredStrategy. When this test fails, Keras has fixed
it, and training/distributed/keras_20585.py can be deleted."""

import json
import os
import subprocess
import sys

import keras
import pytest
from conftest import ROOT, free_ports

PROGRAM = """
import keras
import numpy as np
import tensorflow as tf

from training.distributed.keras_20585 import PatchedFit

strategy = tf.distribute.MultiWorkerMirroredStrategy()
x, y = np.ones((6, 2), "float32"), np.ones((6, 1), "float32")


def shares(context):
    return tf.data.Dataset.from_tensor_slices((x, y)).repeat().batch(3)


def fit(kind):
    with strategy.scope():
        vector = keras.Input((2,))
        model = kind(keras.Model(vector, keras.layers.Dense(1)(vector)))
        model.compile("sgd", "mse", metrics=["mae"])
    data = strategy.distribute_datasets_from_function(shares)
    return model.fit(data, epochs=1, steps_per_epoch=2, verbose=0, shuffle=False).history


print("patched:", sorted(fit(PatchedFit)), flush=True)
try:
    fit(lambda network: network)
except Exception as error:
    print("original:", type(error).__name__, error, flush=True)
"""


@pytest.mark.slow
def test_fit_fails_and_the_patched_one_does_not():
    workers = [f"localhost:{port}" for port in free_ports(2)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "",
                "PYTHONPATH": str(ROOT),
                "TF_CONFIG": json.dumps(
                    {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
                ),
            },
        )
        for index in range(2)
    ]
    try:
        for process in processes:
            output, errors = process.communicate(timeout=580)
            assert "patched: ['loss', 'mae']" in output, errors
            assert "original: ValueError Attempt to convert a value (PerReplica:" in output, errors
    finally:
        for process in processes:
            process.kill()


@pytest.mark.parametrize("name", ["_maybe_symbolic_build", "_symbolic_build", "_compile_loss"])
def test_keras_models_still_have_the_private_names_in_use(name):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert hasattr(model, name), (
        f"keras.Model has no {name} any more; adapt training/distributed/keras_20585.py"
    )
