"""Times every spectral function, with and without XLA, against an eigendecomposition of C x C.

    python benchmarks/functions.py                      # N 49 and 196, C 512, all functions
    python benchmarks/functions.py --functions root --normalize --xla

Times are medians in ms per image of the forward and the backward pass of whole matrices. With
`--normalize`, our methods compute one triangle, and signed square root and L2 norm are added. All
methods of a table take turns. "x" is the speed relative to the first line, an eigendecomposition of
the C x C matrix with automatic gradient. "XLA" is the time under `jit_compile=True` relative to the
fastest line without. Errors are relative Frobenius errors of value and gradient against float64,
for two images of ReLU features.
"""

import argparse
import itertools
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import keras
import numpy as np
import tensorflow as tf
from layer_references import relative_error
from spectral_references import reference

from benchmarks.measuring import median_seconds
from benchmarks.pooling import inputs, moment, plain_normalization, ridge
from layers import SignedSquareRoot, SpectralPooling
from layers.folded_triangle import FoldedTriangle
from layers.methods import METHODS

EXPONENTS = {"power": 0.25, "max_exp": 20}
FUNCTIONS = {
    "root": tf.sqrt,
    "power": lambda x: x ** EXPONENTS["power"],
    "log": tf.math.log,
    "inverse": tf.math.reciprocal,
    "max_exp": lambda x: 1 - (1 - x) ** EXPONENTS["max_exp"],
}
BASELINE = "C side, eigh, automatic gradient"


def automatic(function, x):
    """The function of an eigendecomposition of the C x C matrix."""
    a = moment(x)
    a = a / tf.linalg.trace(a)[:, None, None] if function == "max_exp" else ridge(a)
    eigenvalues, v = tf.linalg.eigh(a)
    values = FUNCTIONS[function](tf.maximum(eigenvalues, 1e-12))
    return tf.matmul(v * values[:, None], v, transpose_b=True)


def poolings(function, triangular):
    """Functions from features (B, N, C) to values: (B, C, C), or (B, D) of one triangle."""
    options = {"exponent": EXPONENTS.get(function), "triangular": triangular}
    methods = {BASELINE: partial(automatic, function)}
    for method in METHODS:
        try:
            methods[method] = SpectralPooling(function, method=method, **options)
        except ValueError:  # the function cannot be computed by this method
            continue
    return methods


def step(pooling, normalize, xla):
    """The forward and backward pass, from features and upstream gradient to value and gradient."""
    normalization = SignedSquareRoot(normalize=True)

    def both(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = pooling(x)
            if normalize and z.shape.rank == 3:
                z = plain_normalization(z)
            elif normalize:
                z = normalization(z)
        if z.shape.rank == 2:
            upstream = tf.reshape(upstream, (x.shape[0], -1))[:, : z.shape[1]]
        return z, tape.gradient(z, x, upstream)

    return tf.function(both, jit_compile=xla, autograph=False)


def errors(pooling, function, x, upstream):
    """The relative errors of value and gradient against the reference, in float64."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = pooling(x)
        if value.shape.rank == 2:
            value = FoldedTriangle(2**0.5).unfold(value, x.shape[2])
    gradient = tape.gradient(value, x, upstream)
    expected = reference(x.numpy(), upstream.numpy(), function, EXPONENTS.get(function))
    return [relative_error(a.numpy(), b) for a, b in zip((value, gradient), expected, strict=True)]


def run_table(function, positions, channels, options):
    x, upstream = inputs(positions, channels, options.batch)
    methods, calls = poolings(function, triangular=options.normalize), {}
    for name, pooling in methods.items():
        compiled = options.xla and "products" in name
        for xla in (False, True) if compiled else (False,):
            calls[name, xla] = partial(step(pooling, options.normalize, xla), x, upstream)
    times = median_seconds(calls, options.rounds)
    baseline = times[BASELINE, False]
    fastest = min(seconds for (_, xla), seconds in times.items() if not xla)
    print(f"\n{function}, N {positions}, C {channels}\n")
    print("| method | ms | x | ms, XLA | XLA | value | gradient |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, pooling in methods.items():
        seconds, under_xla = times[name, False], times.get((name, True), np.nan)
        cells = [
            f"{seconds / options.batch * 1e3:.2f} | {baseline / seconds:.1f}",
            f"{under_xla / options.batch * 1e3:.2f} | {under_xla / fastest:.2f}",
            *(f"{e:.0e}" for e in errors(pooling, function, x[:2], upstream[:2])),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=list(FUNCTIONS))
    parser.add_argument("--positions", type=int, nargs="+", default=[49, 196])
    parser.add_argument("--channels", type=int, nargs="+", default=[512])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--xla", action="store_true", help="also time products under XLA")
    parser.add_argument("--normalize", action="store_true", help="add signed square root and L2")
    options = parser.parse_args()
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores")
    print(f"batch {options.batch}, float32")
    cells = itertools.product(options.functions, options.positions, options.channels)
    for function, positions, channels in cells:
        run_table(function, positions, channels, options)


if __name__ == "__main__":
    main()
