"""Under TensorFlow's XLA, an eigendecomposition gives a warning. A private function detects XLA."""

import importlib
import sys
import warnings

import keras
import numpy as np
import pytest
from layer_references import compiled

from layers import MatrixSquareRoot, SecondOrderPooling, SpectralPooling

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends decompose as fast under XLA"
)
X = np.ones((1, 4, 6), "float32")
PRIVATE_MODULE = "tensorflow.python.ops.control_flow_util"
PRIVATE_FUNCTION = "GraphOrParentsInXlaContext"


@pytest.mark.parametrize(
    "layer, x",
    [
        (SpectralPooling("log"), X),
        (SpectralPooling(method="eigh"), X),
        (MatrixSquareRoot(), np.eye(3, dtype="float32")[None]),
    ],
    ids=["log", "eigh", "MatrixSquareRoot"],
)
def test_an_eigendecomposition_under_xla_gives_a_warning(layer, x):
    with pytest.warns(UserWarning, match="XLA"):
        compiled(layer)(x)


def test_matrix_products_and_eager_calls_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled(SecondOrderPooling(root="newton_schulz"))(X)
        compiled(SecondOrderPooling(root="exact"))(X)
        SpectralPooling("log")(X)


def test_compile_with_xla_gives_a_warning():
    model = keras.Sequential([keras.Input((4, 6)), SpectralPooling("log")])
    with pytest.warns(UserWarning, match="Proceeding with `jit_compile=False`"):
        model.compile("sgd", "mse", jit_compile=True)


def test_tensorflow_still_has_the_private_function():
    """If this fails, `layers/compilation.py` needs the new name, or the warning is not given."""
    assert callable(getattr(importlib.import_module(PRIVATE_MODULE), PRIVATE_FUNCTION))


def hide_module(monkeypatch):
    monkeypatch.setitem(sys.modules, PRIVATE_MODULE, None)


def hide_function(monkeypatch):
    monkeypatch.delattr(importlib.import_module(PRIVATE_MODULE), PRIVATE_FUNCTION)


def change_arguments(monkeypatch):
    module = importlib.import_module(PRIVATE_MODULE)
    monkeypatch.setattr(module, PRIVATE_FUNCTION, lambda: True)


@pytest.mark.parametrize("change", [hide_module, hide_function, change_arguments])
def test_a_layer_works_without_the_private_function(monkeypatch, change):
    layer = SpectralPooling("log")
    expected = layer(X)
    change(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(layer(X), expected)


def test_a_layer_compiles_without_the_private_module(monkeypatch):
    layer = SecondOrderPooling(root="exact")
    expected = layer(X)
    hide_module(monkeypatch)  # TensorFlow itself needs the function
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(compiled(layer)(X), expected, rtol=1e-4, atol=1e-5)
