"""The choice between an eigendecomposition and matrix products.

    method              matrix function            type of the N x N or C x C matrices
    eigh                eigendecomposition         float32 or float64, see `matrix_functions`
    products            `matrix_products`          the widest float type
    products_float32    `matrix_products`          float32
    lu                  LU decomposition           the widest float type

All but `products_float32` keep the same bounds of errors. That one is less accurate on maps of
deficient rank, so "auto" never takes it. `lu` computes only the inverse, and "auto" takes it in
place of `eigh`: it is 1.2 to 1.5 times as fast (`benchmarks/functions.py`).
"""

import keras

from . import compilation
from .arguments import choice, require
from .matrix_products import by_products, has_products
from .spectral_functions import Inverse

METHODS = ("auto", "eigh", "products", "products_float32")
# What "auto" takes, by backend and by where the layer runs: the fastest of the first two.
# `benchmarks/pooling.py` measures the lines of CPUs. Those of accelerators are not measured yet:
# there, TensorFlow decomposes one matrix after the other, and PyTorch all but the smallest ones.
FASTEST = {
    ("tensorflow", "cpu"): "eigh",
    ("tensorflow", "xla"): "products",
    ("tensorflow", "accelerator"): "products",
    ("jax", "cpu"): "eigh",
    ("jax", "accelerator"): "products",
    ("torch", "cpu"): "eigh",
    ("torch", "accelerator"): "products",
}


def checked(method, function):
    """Return the argument `method` of a layer, if its function can be computed in that way."""
    choice(method, METHODS, "method")
    products = by_products(function)
    require(
        method in ("auto", "eigh") or products is not None,
        "`method` must be 'auto' or 'eigh'; products compute the root and the inverse with epsilon "
        "above 0, power with exponent 0.25 or 0.5, and max_exp",
        method,
    )
    require(
        method != "products_float32" or products.in_float32,
        "`method` must not be 'products_float32'; that is for the root with epsilon of at least "
        "1e-5, and for max_exp",
        method,
    )
    return method


def supports_jit(method, function):
    """Return False if TensorFlow's XLA would decompose, which takes it 10 to 35 times as long.

    `Model.compile` then does not choose XLA by itself, and with `jit_compile=True` it warns and
    compiles without XLA.
    """
    return compilation.eigendecomposition_supports_jit() or _products_under_xla(method, function)


def chosen(method, function, x, layer):
    """Return `method`, with "auto" replaced by what is fastest for an input `x` of `layer`.

    If it decomposes under TensorFlow's XLA, there is a warning.
    """
    place = compilation.place(x)
    if method == "auto":
        known = has_products(function)
        method = FASTEST.get((keras.backend.backend(), place), "eigh") if known else "eigh"
        if method == "eigh" and isinstance(function, Inverse):
            method = "lu"
    if method == "eigh":
        compilation.warn_if_decomposing_under_xla(layer)
    return method


def _products_under_xla(method, function):
    if method == "auto":
        return has_products(function) and FASTEST["tensorflow", "xla"] == "products"
    return method != "eigh"
