import json
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax_cases import examples
from layer_references import HAS_FLOAT64, compiled, value_and_gradient
from loss_references import compactness

from losses import CompactnessLoss

GOLDEN = Path(__file__).parents[1] / "golden" / "center_compactness.json"
RECORDS = json.loads(GOLDEN.read_text())["compactness"]
X = np.array([[1, 2, 3, 4], [2, 4, 4, 3], [3, 2, 1, 4]], "float32")
LABELS = np.zeros(3)  # ignored by the loss


def loss_and_gradient(x, loss=None):
    loss = loss or CompactnessLoss()
    return value_and_gradient(lambda x: loss(np.zeros(x.shape[0]), x), x, np.ones((), "float32"))


def test_the_worked_example():
    assert float(CompactnessLoss()(LABELS, X)) == 1.875
    values = np.asarray(CompactnessLoss(reduction=None)(LABELS, X))
    np.testing.assert_allclose(values / len(X), [0.3125, 0.75, 0.8125], rtol=1e-6)


def test_it_is_not_what_the_copied_prototype_prints():
    """The prototype's masks also slice the features, so each sample is compared with itself."""
    values = np.asarray(CompactnessLoss(reduction=None)(LABELS, X))
    for scale in (1, 3):
        assert not np.isclose(values / scale, [0.64549722, 0.79056942, 0.64549722]).any()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["name"])
def test_golden_values_and_gradients(record):
    x = np.array(record["x"], "float32")
    value, gradient = loss_and_gradient(x)
    np.testing.assert_allclose(value, record["l_C"], rtol=1e-5)
    np.testing.assert_allclose(gradient, record["grad"], rtol=1e-4, atol=1e-8)
    values = np.asarray(CompactnessLoss(reduction=None)(np.zeros(len(x)), x))
    np.testing.assert_allclose(values / len(x), record["per_sample_z2_over_nk"], rtol=1e-5)
    assert not np.isclose(value, record["caffe_forward"], rtol=0.1)  # that has another scale


@examples(15)
@given(n=st.integers(2, 9), k=st.integers(1, 4), seed=st.integers(0, 2**31))
def test_any_batch_against_plain_loops(n, k, seed):
    x = np.random.default_rng(seed).normal(size=(n, k)).astype("float32")
    value, gradient = loss_and_gradient(x)
    np.testing.assert_allclose(value, compactness(x), rtol=1e-5, atol=1e-10)
    z = n / (n - 1) * (x - x.mean(axis=0, dtype="float64"))
    np.testing.assert_allclose(gradient, 2 * z / ((n - 1) * k), rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
def test_gradient_by_finite_differences():
    """The backward pass of the published Caffe layer has cosine 0.42 with this gradient."""
    x, direction = np.random.default_rng(1).normal(size=(2, 6, 5))
    function = lambda x: CompactnessLoss().call(None, x)  # noqa: E731
    _, gradient = value_and_gradient(function, x, np.full(6, 1 / 6))
    ahead, behind = (np.mean(np.asarray(function(x + sign * 1e-6 * direction))) for sign in (1, -1))
    np.testing.assert_allclose(np.sum(gradient * direction), (ahead - behind) / 2e-6, rtol=1e-6)


def test_a_large_offset_does_not_cancel():
    x = np.random.default_rng(2).normal(size=(6, 5)).astype("float32") + np.float32(1000)
    np.testing.assert_allclose(loss_and_gradient(x)[0], compactness(x), rtol=1e-3)


def test_a_batch_of_one_sample_is_zero_with_a_zero_gradient():
    loss = lambda x: CompactnessLoss()(LABELS[:1], x)  # noqa: E731
    for function in (loss, compiled(loss)):
        value, gradient = value_and_gradient(function, X[:1], np.ones((), "float32"))
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


def test_xla_and_half_precision():
    value, gradient = value_and_gradient(
        compiled(lambda x: CompactnessLoss()(LABELS, x)), X, np.ones((), "float32")
    )
    np.testing.assert_allclose(value, 1.875, rtol=1e-6)
    np.testing.assert_allclose(gradient, RECORDS[0]["grad"], rtol=1e-5, atol=1e-7)
    for dtype in ("float16", "bfloat16"):
        loss = CompactnessLoss()(LABELS, keras.ops.cast(X, dtype))
        assert keras.backend.standardize_dtype(loss.dtype) == "float32" and float(loss) == 1.875


def test_it_trains_a_model_with_batches_of_any_size():
    count = 21  # the last batch has one sample
    x = np.random.default_rng(3).normal(size=(count, 4)).astype("float32")
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    model.compile("sgd", CompactnessLoss())
    curve = model.fit(x, np.zeros(count), batch_size=10, epochs=10, verbose=0).history["loss"]
    assert np.isfinite(curve).all() and curve[-1] < curve[0]


def test_config_round_trip():
    again = keras.losses.deserialize(keras.losses.serialize(CompactnessLoss(name="tight")))
    assert type(again) is CompactnessLoss and again.name == "tight"
    with pytest.raises(ValueError, match=r"Received: shape=\(3,\)"):
        CompactnessLoss()(LABELS, np.zeros(3))
