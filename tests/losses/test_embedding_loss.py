"""Batches of any size, inputs that do not fit, and input types, for every loss."""

import functools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from layer_references import compiled, value_and_gradient

from losses import CenterLoss, CompactnessLoss, TripletHardLoss, TripletSemiHardLoss

ROOT = Path(__file__).parents[2]
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
LABELS = np.array([0, 0, 1, 1, 2, 2], "int32")
METRICS = ("L2", "squared-L2", "angular")
TRIPLETS = {
    "hard": TripletHardLoss,
    "soft": lambda **options: TripletHardLoss(soft=True, **options),
    "semi-hard": TripletSemiHardLoss,
}
LOSSES = {**TRIPLETS, "compactness": CompactnessLoss}


def in_graph(function, jit_compile=False):
    """Compile `function` of embeddings and labels for batches of any size, on TensorFlow."""
    import tensorflow as tf

    shapes = [tf.TensorSpec([None, 3], "float32"), tf.TensorSpec([None], "int32")]
    return tf.function(function, input_signature=shapes, jit_compile=jit_compile)


MODES = {"eager": lambda function: function, "compiled": compiled}
if ON_TENSORFLOW:
    MODES["graph of any batch"] = in_graph
    MODES["XLA of any batch"] = lambda function: in_graph(function, jit_compile=True)


def check_empty(loss, mode):
    function = MODES[mode](lambda x, labels: loss(labels, x))
    labels = keras.ops.convert_to_tensor(LABELS[:0])
    value, gradient = value_and_gradient(
        lambda x: function(x, labels), X[:0], np.ones((), "float32")
    )
    assert value.shape == () and value == 0
    assert gradient.shape == (0, 3)


# Empty batches


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("degenerate", ["skip", "original"])
@pytest.mark.parametrize(
    "metric", [METRICS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in METRICS[1:])]
)
@pytest.mark.parametrize("kind", TRIPLETS)
def test_a_triplet_loss_of_an_empty_batch_is_zero(kind, metric, degenerate, mode):
    check_empty(TRIPLETS[kind](distance_metric=metric, degenerate=degenerate), mode)


@pytest.mark.parametrize("reduction", ["sum", "mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("kind", LOSSES)
def test_every_reduction_of_an_empty_batch_is_zero(kind, reduction):
    for mode in MODES:
        check_empty(LOSSES[kind](reduction=reduction), mode)


@pytest.mark.parametrize("kind", LOSSES)
def test_an_empty_batch_has_no_values(kind):
    for reduction in (None, "none"):
        values = LOSSES[kind](reduction=reduction)(LABELS[:0], X[:0])
        assert tuple(values.shape) == (0,)
    weighted = LOSSES[kind]()(LABELS[:0], X[:0], sample_weight=np.ones(0, "float32"))
    assert tuple(weighted.shape) == () and float(weighted) == 0


def test_an_empty_batch_of_a_function_s_distances_is_zero():
    def distances(x):
        return keras.ops.sum(keras.ops.abs(x[:, None] - x[None]), axis=2)

    for kind in TRIPLETS:
        for mode in MODES:
            check_empty(TRIPLETS[kind](distance_metric=distances), mode)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_layer_before_an_empty_batch_gets_a_zero_gradient(kind):
    """The gradient of its weights has the weights' shape, so a NaN would reach the optimizer."""
    inputs = keras.ops.convert_to_tensor(X[:0])
    loss = LOSSES[kind](**({} if kind == "compactness" else {"degenerate": "original"}))
    _, gradient = value_and_gradient(
        lambda weights: loss(LABELS[:0], keras.ops.matmul(inputs, weights)),
        np.eye(3, dtype="float32"),
        np.ones((), "float32"),
    )
    np.testing.assert_array_equal(gradient, np.zeros((3, 3)))


@pytest.mark.parametrize("accumulation_steps", [None, 2])
@pytest.mark.parametrize("normalization", ["half_sum", "half_mean", "mean_elements"])
@pytest.mark.parametrize("rule", ["wen", "facenet"])
def test_an_empty_batch_does_not_move_the_centers(rule, normalization, accumulation_steps):
    layer = CenterLoss(3, rule, normalization=normalization, accumulation_steps=accumulation_steps)
    for _ in range(2):
        layer(X, LABELS, training=True)
    before = keras.ops.convert_to_numpy(layer.centers)
    for _ in range(2):
        assert tuple(layer(X[:0], LABELS[:0], training=True).shape) == (0,)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer.centers), before)


REPLICAS = """
import sys
import keras
import numpy as np
import tensorflow as tf

replicas = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from losses import CompactnessLoss, TripletHardLoss, TripletSemiHardLoss

strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
for loss in (TripletSemiHardLoss(), TripletHardLoss(degenerate="original"), CompactnessLoss()):
    with strategy.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile("sgd", loss)
    for remainder in (1, 2):  # the parts of the other replicas are empty
        count = 3 * replicas + remainder
        x = np.random.default_rng(0).normal(size=(count, 3)).astype("float32")
        history = model.fit(x, np.arange(count) % 3, batch_size=3 * replicas, verbose=0)
        assert np.isfinite(history.history["loss"]).all()
        assert all(np.isfinite(w).all() for w in model.get_weights())
"""


@pytest.mark.slow
@pytest.mark.skipif(not ON_TENSORFLOW, reason="the strategy is TensorFlow's")
@pytest.mark.parametrize("replicas", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_fit_with_any_remainder_on_several_replicas(replicas):
    """Runs in another process, because devices are split before TensorFlow starts."""
    process = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(replicas)], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


# Inputs of other lengths, labels that are no labels


@pytest.mark.parametrize("count", [0, 1, 5, 7])
@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_another_number_of_labels_is_an_error(mode, count):
    labels = np.zeros(count, "int32")
    center_loss = CenterLoss(3)
    center_loss.build((None, 3))
    losses = [functools.partial(loss(), labels) for loss in LOSSES.values()]
    for loss in [*losses, lambda x: center_loss(x, labels)]:
        with pytest.raises(ValueError, match=f"one label for each.*{count} labels, 6 embeddings"):
            MODES[mode](loss)(X)


@pytest.mark.parametrize("kind", LOSSES)
def test_sample_weights_that_do_not_fit_are_an_error(kind):
    loss = LOSSES[kind]()
    for weights in (np.ones(1), np.ones(5), np.ones((6, 6)), np.ones((6, 1, 1))):
        with pytest.raises(ValueError, match="sample weight"):
            loss(LABELS, X, sample_weight=weights)
    whole = float(loss(LABELS, X))
    for weights in (2.0, np.full(6, 2.0), np.full((6, 1), 2.0)):
        np.testing.assert_allclose(loss(LABELS, X, sample_weight=weights), 2 * whole, rtol=1e-6)


@pytest.mark.parametrize("label", [0.5, np.nan, np.inf, 2.0**24, -(2.0**25)])
@pytest.mark.parametrize("kind", TRIPLETS)
def test_a_label_that_is_not_an_integer_of_float32_is_an_error(kind, label):
    labels = np.array([0, 0, 1, 1, 2, label])
    with pytest.raises(ValueError, match="labels that are integers from"):
        TRIPLETS[kind]()(labels, X)


@pytest.mark.parametrize("label", [0.5, np.nan, -1, 3, 1000])
def test_a_label_without_a_center_is_an_error_or_nan(label):
    labels = np.array([0, 0, 1, 1, 2, label], "float32")
    layer = CenterLoss(3)
    with pytest.raises(ValueError, match="labels that are integers from 0 to 2"):
        layer(X, labels, training=True)
    if not ON_TENSORFLOW:
        return
    step = MODES["compiled"](lambda x: layer(x, labels, training=True))
    values = np.asarray(step(X))
    np.testing.assert_array_equal(np.isnan(values), [False] * 5 + [True])
    only = CenterLoss(3)
    only(X[:5], LABELS[:5], training=True)
    np.testing.assert_array_equal(layer.centers, only.centers)


def test_distances_of_another_shape_are_an_error():
    for distances in (lambda x: x[:, 0], lambda x: x, lambda x: x[:1] @ keras.ops.transpose(x)):
        with pytest.raises(ValueError, match=r"`distance_metric` must return.*\(6, 3\)"):
            TripletHardLoss(distance_metric=distances)(LABELS, X)


# Input types


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
def test_integer_embeddings_are_computed_in_float32(dtype):
    x = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 127, (6, 3)).astype(dtype)
    exact = x.astype("float32")
    for kind in LOSSES:
        for call in (LOSSES[kind](), LOSSES[kind](reduction=None).call):
            labels = keras.ops.convert_to_tensor(LABELS)
            values = call(labels, keras.ops.convert_to_tensor(x))
            expected = call(labels, keras.ops.convert_to_tensor(exact))
            assert keras.backend.standardize_dtype(values.dtype) == "float32"
            np.testing.assert_array_equal(values, expected)
    layers = CenterLoss(3), CenterLoss(3)
    for _ in range(2):
        values = [
            layer(x, LABELS, training=True) for layer, x in zip(layers, (x, exact), strict=True)
        ]
        np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("kind", TRIPLETS)
def test_integer_distances_of_a_function_are_computed_in_float32(kind):
    """Such as the Hamming distance of codes."""

    def hamming(x):
        return keras.ops.sum(keras.ops.cast(x[:, None] != x[None], "int32"), axis=2)

    codes = np.random.default_rng(0).integers(0, 2, (6, 3)).astype("float32")
    value = TRIPLETS[kind](margin=0.3, distance_metric=hamming)(LABELS, codes)
    expected = TRIPLETS[kind](margin=0.3, distance_metric="squared-L2")(LABELS, codes)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
