"""Losses and metrics of the whole batch; tests/test_strategy.py runs them on several replicas."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from training.distributed.global_batch import GlobalBatchModel, all_gather, whole_batch_norms
from training.distributed.keras_20585 import PatchedFit


def nested_model() -> keras.Model:
    """A model with a batch norm of its own and one in a model inside it."""
    inner = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(name="inner")])
    vector = keras.Input((2,))
    return keras.Model(vector, keras.layers.BatchNormalization(name="outer")(inner(vector)))


def test_batch_norms_are_synchronized_only_while_the_model_is_trained():
    model = nested_model()
    norms = [model.get_layer("outer"), model.layers[1].get_layer("inner")]
    with pytest.raises(KeyboardInterrupt), whole_batch_norms(model):
        assert [norm.synchronized for norm in norms] == [True, True]
        raise KeyboardInterrupt
    assert [norm.synchronized for norm in norms] == [False, False]


def test_with_one_replica_values_stay_unchanged():
    values = [np.arange(3), {"a": np.ones(2)}]
    assert all_gather(values) is values


@pytest.mark.parametrize("first", [PatchedFit, GlobalBatchModel])
def test_the_jobs_of_a_sweep_may_train_different_kinds_of_models(first):
    """Keras changes the bases of a class that is built functionally."""
    bases = [kind.__bases__ for kind in (PatchedFit, GlobalBatchModel)]
    model = first(nested_model())
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 2)), verbose=0)
    assert [kind.__bases__ for kind in (PatchedFit, GlobalBatchModel)] == bases


REMAINDERS = """
import sys
import keras
import numpy as np
import tensorflow as tf

replicas = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from losses import CenterLoss, TripletHardLoss, TripletSemiHardLoss
from training.distributed.global_batch import GlobalBatchModel
from training.distributed.keras_20585 import PatchedFit
from training.softmax_center import SoftmaxCenterModel


def network(outputs):
    draw = keras.initializers.GlorotUniform(0)
    vector = keras.Input((3,))
    embedding = keras.layers.Dense(2, kernel_initializer=draw)(vector)
    logits = keras.layers.Dense(3, kernel_initializer=draw)(embedding)
    return keras.Model(vector, embedding if outputs == 1 else [logits, embedding])


def center_loss():
    layer = CenterLoss(3)
    layer.build((None, 2))
    return layer


def one_hot(loss):
    return isinstance(loss, keras.losses.CategoricalCrossentropy)


def trained(strategy, make, loss, count):
    x = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
    y = np.arange(count) % 3
    with strategy.scope():
        model = make()
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    y = np.eye(3, dtype="float32")[y] if one_hot(loss) else y
    curve = model.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(curve).all(), (make, loss, count, curve)
    return [np.asarray(w) for w in model.get_weights()]


alone = tf.distribute.get_strategy()
several = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
crossentropy = keras.losses.CategoricalCrossentropy(from_logits=True)
for count in (9, 10, 11):  # of the last batch, some replicas have no part
    for loss in (TripletSemiHardLoss(), TripletHardLoss(), TripletHardLoss(soft=True)):
        trained(several, lambda: PatchedFit(network(1)), loss, count)
    for make, loss in (
        (lambda: GlobalBatchModel(network(1)), TripletSemiHardLoss()),
        (lambda: GlobalBatchModel(network(1)), TripletHardLoss()),
        (lambda: SoftmaxCenterModel(network(2), center_loss(), 0.1), crossentropy),
    ):
        for one, other in zip(*(trained(s, make, loss, count) for s in (alone, several))):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
"""


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [2, 3])
def test_fit_with_any_remainder_on_several_replicas(replicas):
    """Losses of the whole batch train as one device does; those of a part train on."""
    process = subprocess.run(
        [sys.executable, "-c", REMAINDERS, str(replicas)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
