import json
import subprocess
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import compiled, value_and_gradient

from losses import CenterLoss

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "center_compactness.json"
RUNS = json.loads(GOLDEN.read_text())["runs"]
GOLDEN_KEYS = {"half_sum": "half_sum", "half_mean": "half_mean", "mean_elements": "mean_elem"}
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
UNSTABLE = "ignore:.*are unstable"


def random_batch(batch=12, dimensions=4, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, dimensions)).astype("float32")
    return x, rng.integers(0, classes, batch)


def mean(values):
    return float(keras.ops.mean(values))


def centers_of(layer):
    return keras.ops.convert_to_numpy(layer.centers)


def step_centers(centers, x, labels, rule, alpha):
    """Return the centers after one step, class by class."""
    centers = np.array(centers, "float64")
    for j in range(len(centers)):
        own = x[labels == j].astype("float64")
        step = np.sum(centers[j] - own, axis=0)
        centers[j] -= alpha * step / (1 + len(own)) if rule == "wen" else (1 - alpha) * step
    return centers


# Values


@pytest.mark.filterwarnings(UNSTABLE)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run["name"])
@pytest.mark.parametrize("normalization", GOLDEN_KEYS)
def test_golden_values_and_centers(run, normalization):
    """The losses are recorded before each step of the centers, and most also after it."""
    layer = CenterLoss(run["num_classes"], run["rule"], run["param"], normalization)
    key = GOLDEN_KEYS[normalization]
    for x, labels, step in zip(run["x"], run["y"], run["steps"], strict=True):
        x, labels = np.array(x, "float32"), np.array(labels)
        value = mean(layer(x, labels, training=True))
        np.testing.assert_allclose(value, step[f"{key}_pre"], rtol=1e-5)
        np.testing.assert_allclose(centers_of(layer), step["centers_after"], rtol=1e-5, atol=1e-6)
        if f"{key}_post" in step:
            np.testing.assert_allclose(mean(layer(x, labels)), step[f"{key}_post"], rtol=1e-5)


@pytest.mark.filterwarnings(UNSTABLE)
def test_the_worked_example():
    """The loss is computed before the centers move, which changes it."""
    run = RUNS[0]
    x, labels = np.array(run["x"][0], "float32"), np.array(run["y"][0])
    layer = CenterLoss(3, "facenet", 0.5, "mean_elements")
    np.testing.assert_allclose(mean(layer(x, labels, training=True)), 4.1111111, rtol=1e-6)
    expected = [[2, 2, 5, 2, 2], [3, 3, 3, 3, 3], [3, 3, 3, 3, 1.5]]
    np.testing.assert_allclose(centers_of(layer), expected)
    np.testing.assert_allclose(mean(layer(x, labels)), 1.4111111, rtol=1e-6)


@examples(12)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=10),
    rule=st.sampled_from(["wen", "facenet"]),
    alpha=st.sampled_from([0.0, 0.8, 0.9, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_any_batches_against_plain_loops(labels, rule, alpha, seed):
    labels = np.array(labels)
    layer, centers = CenterLoss(5, rule, alpha), np.zeros((5, 3))
    for step in range(3):
        x = np.random.default_rng([seed, step]).normal(size=(len(labels), 3)).astype("float32")
        values = np.asarray(layer(x, labels[:, None], training=True))
        expected = np.sum((x - centers[labels]) ** 2, axis=1) / 2
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
        centers = step_centers(centers, x, labels, rule, alpha)
        np.testing.assert_allclose(centers_of(layer), centers, rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_for_fixed_centers():
    x, labels = random_batch()
    layer = CenterLoss(3)
    layer(x, labels, training=True)
    before = centers_of(layer)
    _, gradient = value_and_gradient(lambda x: layer(x, labels), x, np.full(12, 1 / 12, "float32"))
    np.testing.assert_allclose(gradient, (x - before[labels]) / 12, rtol=1e-4, atol=1e-7)
    if ON_TENSORFLOW:  # JAX changes state through stateless_call only
        _, training = value_and_gradient(
            lambda x: layer(x, labels, training=True), x, np.full(12, 1 / 12, "float32")
        )
        np.testing.assert_allclose(training, gradient, rtol=1e-6)


# The state


def test_evaluation_does_not_move_the_centers():
    x, labels = random_batch()
    layer = CenterLoss(3)
    layer(x, labels, training=True)
    before = layer.get_weights()
    for training in (False, None):
        layer(x, labels, training=training)
    for one, other in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not layer.trainable_weights


def with_center_loss(accumulation_steps=None):
    x, labels = keras.Input((4,)), keras.Input((), dtype="int32")
    layer = CenterLoss(3, "facenet", 0.9, accumulation_steps=accumulation_steps, name="center_loss")
    return keras.Model([x, labels], layer(x, labels))


@pytest.mark.parametrize("accumulation_steps", [None, 2])
@pytest.mark.parametrize("kind", [".keras", ".weights.h5"])
def test_centers_are_saved_and_restored(tmp_path, kind, accumulation_steps):
    model, (x, labels) = with_center_loss(accumulation_steps), random_batch()
    for _ in range(3):  # with accumulation, between two steps of the centers
        model.layers[-1](x, labels, training=True)
    assert np.abs(centers_of(model.layers[-1])).max() > 0.01
    path = tmp_path / f"model{kind}"
    if kind == ".keras":
        model.save(path)
        again = keras.saving.load_model(path)
    else:
        model.save_weights(path)
        again = with_center_loss(accumulation_steps)
        again.load_weights(path)
    layers = model.layers[-1], again.layers[-1]
    assert layers[0].get_config() == layers[1].get_config()
    for _ in range(2):  # both continue in the same way
        np.testing.assert_array_equal(centers_of(layers[0]), centers_of(layers[1]))
        for layer in layers:
            layer(x, labels, training=True)


def test_config_round_trip():
    options = {
        "num_classes": 3,
        "rule": "facenet",
        "alpha": 0.9,
        "normalization": "half_sum",
        "accumulation_steps": 2,
        "name": "mine",
    }
    again = keras.layers.deserialize(keras.layers.serialize(CenterLoss(**options)))
    assert type(again) is CenterLoss
    assert options.items() <= again.get_config().items()


@pytest.mark.parametrize("rule", ["wen", "facenet"])
def test_accumulated_batches_move_the_centers_as_one_large_batch(rule):
    x, labels = random_batch(24)
    single, accumulating = CenterLoss(3, rule), CenterLoss(3, rule, accumulation_steps=3)
    accumulating.build((None, 4))
    for _ in range(2):
        single(x, labels, training=True)
        for part in (slice(0, 10), slice(10, 14), slice(14, 24)):
            assert (centers_of(accumulating) != centers_of(single)).any()
            accumulating(x[part], labels[part], training=True)
        np.testing.assert_allclose(
            centers_of(accumulating), centers_of(single), rtol=1e-5, atol=1e-6
        )


def test_accumulated_batches_can_be_discarded():
    x, labels = random_batch()
    layer = CenterLoss(3, accumulation_steps=2)
    layer(x, labels, training=True)
    layer.reset_accumulation()
    layer(x, labels, training=True)
    np.testing.assert_array_equal(centers_of(layer), 0)


REPLICAS = """
import sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from losses import CenterLoss

rng = np.random.default_rng(0)
x, labels = rng.normal(size=(12, 4)).astype("float32"), rng.integers(0, 3, 12)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for steps in (None, 2):
    one = CenterLoss(3, accumulation_steps=steps)
    with strategy.scope():
        two = CenterLoss(3, accumulation_steps=steps)
        two.build((None, 4))
    halves = tf.data.Dataset.from_tensor_slices((x, labels)).batch(12)

    @tf.function
    def train(x, labels):
        return strategy.run(two, (x, labels), {"training": True})

    for _ in range(4):
        one(x, labels, training=True)
        for part in strategy.experimental_distribute_dataset(halves):
            values = train(*part)
        assert len(strategy.experimental_local_results(values)) == 2
        for copy in strategy.experimental_local_results(two.centers.value):
            np.testing.assert_allclose(copy, one.centers, rtol=1e-5, atol=1e-6)
assert np.abs(one.centers).max() > 0.01
"""


@pytest.mark.slow
@pytest.mark.skipif(not ON_TENSORFLOW, reason="the strategy is TensorFlow's")
def test_two_replicas_move_the_centers_like_one():
    """Runs in another process, because devices are split before TensorFlow starts."""
    process = subprocess.run(
        [sys.executable, "-c", REPLICAS], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr


# Warnings, precision, graphs, errors


def test_unstable_settings_of_the_facenet_rule_give_a_warning():
    with pytest.warns(UserWarning, match="unstable as soon as a class has 4 samples"):
        CenterLoss(3, "facenet", 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = CenterLoss(3, "facenet")  # alpha is 0.95, so 40 samples of a class are too many
        layer(np.ones((39, 2), "float32"), np.zeros(39, "int32"), training=True)
        CenterLoss(3, "wen", 1.0)(np.ones((64, 2)), np.zeros(64, "int32"), training=True)
    with pytest.warns(UserWarning, match="unstable with 40 samples"):
        layer(np.ones((40, 2), "float32"), np.zeros(40, "int32"), training=True)


@pytest.mark.filterwarnings(UNSTABLE)
def test_with_as_many_samples_as_the_warning_says_the_center_oscillates():
    layer, labels = CenterLoss(1, "facenet", 0.5), np.zeros(4, "int32")
    for step in range(6):
        layer(np.ones((4, 1), "float32"), labels, training=True)
        assert centers_of(layer).item() == (2.0 if step % 2 == 0 else 0.0)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_it_is_computed_in_float32_under_any_policy(policy):
    x, labels = random_batch()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = CenterLoss(3)
    finally:
        keras.config.set_dtype_policy(before)
    half = keras.ops.cast(x, policy.removeprefix("mixed_"))
    exact = CenterLoss(3)
    for _ in range(2):
        values = layer(half, labels, training=True)
        assert keras.backend.standardize_dtype(values.dtype) == "float32"
        expected = exact(keras.ops.cast(half, "float32"), labels, training=True)
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(centers_of(layer), centers_of(exact), rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(not ON_TENSORFLOW, reason="JAX changes state through stateless_call only")
def test_graphs_and_xla_move_the_centers_too():
    x, labels = random_batch()
    eager, traced = CenterLoss(3), CenterLoss(3)
    traced.build((None, 4))
    step = compiled(lambda x: traced(x, labels, training=True))
    for _ in range(2):
        np.testing.assert_allclose(step(x), eager(x, labels, training=True), rtol=1e-5)
        np.testing.assert_allclose(centers_of(traced), centers_of(eager), rtol=1e-5, atol=1e-7)


def test_fit_moves_the_centers_on_any_backend():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(4)
            self.center_loss = CenterLoss(3)

        def call(self, x):
            return self.dense(x)

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(self.center_loss(y_pred, y, training=training))

    x, labels = random_batch(24)
    model = Model()
    model.compile("sgd")
    curve = model.fit(x, labels, batch_size=10, epochs=3, verbose=0).history["loss"]
    assert curve[-1] < curve[0]
    before = centers_of(model.center_loss)
    assert np.abs(before).max() > 0
    model.evaluate(x, labels, verbose=0)
    np.testing.assert_array_equal(centers_of(model.center_loss), before)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rule": "mean"}, "`rule` must be one of"),
        ({"normalization": "sum"}, "`normalization` must be one of"),
        ({"alpha": 1.5}, "Received: 1.5"),
        ({"accumulation_steps": 1}, "at least 2"),
    ],
)
def test_an_invalid_argument_is_an_error(options, message):
    with pytest.raises(ValueError, match=message):
        CenterLoss(3, **options)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"Received: shape=\(2, 3, 4\)"):
        CenterLoss(3)(np.zeros((2, 3, 4), "float32"), np.zeros(2, "int32"))
    with pytest.raises(ValueError, match="one-hot"):
        CenterLoss(3)(np.zeros((2, 4), "float32"), np.eye(3)[:2])
    assert CenterLoss(3).compute_output_shape((None, 4)) == (None,)
