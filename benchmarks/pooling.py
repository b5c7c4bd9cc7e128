"""Times second-order pooling, matrix root, signed square root and L2 norm against other methods.

    python benchmarks/pooling.py                                # every cell, about 20 minutes
    python benchmarks/pooling.py --positions 49 196 --channels 512
    python benchmarks/pooling.py --positions 256 --channels 768 --batch 32 --root-only    # tokens

A cell is a number of positions N and a number of channels C. Within a cell, all methods take turns,
so that other load on the machine affects them equally; times are medians in ms per image. A method
that takes more than `--slow` seconds per batch runs once, on one image, and is marked (1). "x" is
the speed relative to five Newton-Schulz steps on the C x C matrix. "MiB" is the memory that the
first call adds, in a process of its own (Linux). Errors are relative Frobenius errors of root and
gradient against float64, for one image of ReLU features and the default epsilon of
`SecondOrderPooling`.

The floor is a lower bound for exact methods: the Gram matrix and the output product, and their two
counterparts in the backward pass, at the machine's measured speed of matrix products, and one pass
over the output.
"""

import argparse
import itertools
import os
import sys
import timeit
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import tensorflow as tf

from benchmarks.measuring import in_own_process, median_seconds, peak_bytes
from layers import SecondOrderPooling, SignedSquareRoot
from layers.folded_triangle import FoldedTriangle

EPSILON = SecondOrderPooling().epsilon
BASELINE = "C side, Newton-Schulz 5"
MAX_SVD_CHANNELS = 512  # a larger SVD takes minutes


# The methods, functions from features (B, N, C) to roots (B, C, C), or (B, D) of one triangle


def moment(x):
    return tf.matmul(x, x, transpose_a=True) / x.shape[1]


def ridge(a):
    return a + EPSILON * tf.linalg.trace(a)[:, None, None] * tf.eye(a.shape[-1])


def loops(x):
    """Loops over samples and positions, a fault that docs/post_mortem.md describes."""
    roots = []
    for sample in tf.unstack(x):
        total = 0.0
        for position in tf.unstack(sample):
            total += tf.tensordot(position, position, 0)
        roots.append(svd_root((total / x.shape[1])[None])[0])
    return tf.stack(roots)


def svd(x):
    return svd_root(moment(x))


def svd_root(a):
    s, u, v = tf.linalg.svd(ridge(a))
    return tf.matmul(u * tf.sqrt(s)[:, None], v, transpose_b=True)


def eigh(x):
    eigenvalues, v = tf.linalg.eigh(ridge(moment(x)))
    root = tf.sqrt(tf.maximum(eigenvalues, 0.0))
    return tf.matmul(v * root[:, None], v, transpose_b=True)


def newton_schulz(x):
    """iSQRT-COV as published, with automatic differentiation."""
    a, three = moment(x), 3 * tf.eye(x.shape[2])
    trace = tf.linalg.trace(a)[:, None, None]
    z = 0.5 * (three - a / trace)
    y = (a / trace) @ z
    for _ in range(3):
        t = 0.5 * (three - z @ y)
        y, z = y @ t, t @ z
    return 0.5 * y @ (three - z @ y) * tf.sqrt(trace)


def flat(matrix):
    return tf.reshape(matrix, (tf.shape(matrix)[0], -1))


def plain_normalization(matrix):
    x = flat(matrix)
    return tf.math.l2_normalize(tf.sign(x) * tf.sqrt(tf.abs(x) + 1e-10), axis=1)


def ours(triangular=True, **options):
    """One triangle is weighted so that inner products after the signed root are the matrices'."""
    pooling = SecondOrderPooling(triangular=triangular, off_diagonal=2.0, **options)
    normalize = SignedSquareRoot(normalize=True)
    return pooling, lambda x: normalize(flat(x))


METHODS = {  # root and normalisation
    "per-position loops, SVD": (loops, plain_normalization),
    "C side, SVD": (svd, plain_normalization),
    "C side, eigh": (eigh, plain_normalization),
    BASELINE: (newton_schulz, plain_normalization),
    "ours, channels": ours(root="exact", side="channels"),
    "ours, positions": ours(root="exact", side="positions"),
    "ours, auto": ours(root="exact"),
    "ours, auto, whole matrix": ours(root="exact", triangular=False),
    "ours, Newton-Schulz 5": ours(root="newton_schulz"),
}


# The measurements


def inputs(positions, channels, batch):
    """ReLU features and an upstream gradient."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(batch, positions, channels)), 0)
    upstream = rng.normal(size=(batch, channels, channels))
    return tf.constant(x, "float32"), tf.constant(upstream, "float32")


def steps(name, xla, root_only=False):
    """The forward pass, and the forward and backward pass, of features and upstream gradient."""
    root, normalization = METHODS[name]
    if root_only:
        normalization = flat

    def forward(x, upstream):
        return normalization(root(x))

    def both(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = normalization(root(x))
        return tape.gradient(z, x, flat(upstream)[:, : z.shape[1]])  # a triangle is shorter

    if root is loops:
        return forward, both
    return tuple(tf.function(step, jit_compile=xla, autograph=False) for step in (forward, both))


def reference(x, upstream):
    """Root and gradient of one image in float64, by an eigendecomposition of the C x C matrix."""
    y, g = (np.asarray(each[0], "float64") for each in (x, upstream))
    y = y / len(y) ** 0.5
    eigenvalues, v = np.linalg.eigh(y.T @ y)
    eigenvalues = np.maximum(eigenvalues, 0)
    a = np.sqrt(eigenvalues + EPSILON * eigenvalues.sum())
    h = v.T @ (g + g.T) @ v / 2
    through_trace = EPSILON * np.sum(np.diag(h) / (2 * a)) * np.eye(len(a))
    return v * a @ v.T, 2 * y @ (v @ (h / (a[:, None] + a)) @ v.T + through_trace) / len(y) ** 0.5


def errors(root, x, upstream):
    """The relative errors of root and gradient against `reference`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = root(x)
        if value.shape.rank == 2:
            value = FoldedTriangle(2.0).unfold(value, x.shape[2])
    results = value[0].numpy(), tape.gradient(value, x, upstream)[0].numpy()
    expected = reference(x, upstream)
    return [
        np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(results, expected, strict=True)
    ]


def floor(positions, channels, batch):
    """The lower bound in seconds per image, and the speed of matrix products in FLOP/s."""
    a = tf.random.normal((batch, 512, 512))
    output = tf.random.normal((batch, channels, channels))
    product = tf.function(lambda: a @ a, autograph=False)
    one_pass = tf.function(lambda: 2.0 * output, autograph=False)
    times = median_seconds({"product": product, "pass": one_pass}, 9)
    rate = 2 * 512**3 * batch / times["product"]
    smaller = min(positions, channels)
    flops = 2 * 2 * (positions * channels * smaller + smaller * channels**2)
    return flops / rate + times["pass"] / batch, rate


def run_cell(positions, channels, options):
    x, upstream = inputs(positions, channels, options.batch)
    one = x[:1], upstream[:1]
    images, times, calls = {}, {}, {}
    for name, (root, _) in METHODS.items():
        if root in (svd, loops) and channels > MAX_SVD_CHANNELS:
            continue
        if options.methods and not any(part in name for part in options.methods):
            continue
        forward, both = steps(name, options.xla, options.root_only)
        forward(*one)  # traces
        both(*one)
        images[name] = options.batch
        once = timeit.timeit(partial(both, *one), number=1)
        if root is loops or once * options.batch > options.slow:
            images[name] = 1
            times[name, "forward"] = timeit.timeit(partial(forward, *one), number=1)
            times[name, "both"] = once
        else:
            calls[name, "forward"] = partial(forward, x, upstream)
            calls[name, "both"] = partial(both, x, upstream)
    times |= median_seconds(calls, options.rounds)
    times = {(name, which): value / images[name] for (name, which), value in times.items()}
    lowest, rate = floor(positions, channels, options.batch)
    print(f"\nN {positions}, C {channels}: floor {lowest * 1e3:.2f} ms", end=" ")
    print(f"(matrix products at {rate / 1e9:.0f} GFLOP/s)\n")
    print("| method | forward | + backward | x | of floor | MiB | MiB, both | root | gradient |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, count in images.items():
        forward, both = times[name, "forward"], times[name, "both"]
        memory = [np.nan, np.nan]
        if not options.no_memory:
            memory = in_own_process(peaks, name, positions, channels, count, options.xla)
        cells = [
            name + (" (1)" if count == 1 else ""),
            f"{forward * 1e3:.2f} | {both * 1e3:.2f}",
            f"{times.get((BASELINE, 'both'), np.nan) / both:.1f} | {both / lowest:.1f}",
            *(f"{peak / 2**20:.0f}" for peak in memory),
            *(f"{error:.0e}" for error in errors(METHODS[name][0], *one)),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    auto, *sides = (times.get((f"ours, {s}", "both")) for s in ("auto", "channels", "positions"))
    if auto and all(sides):
        print(f"\nauto takes {auto / min(sides):.2f} of the better side's time", flush=True)


def peaks(name, positions, channels, batch, xla):
    """The memory that the forward pass, and then both passes, add to this process."""
    x, upstream = inputs(positions, channels, batch)
    tf.matmul(x[:1], x[:1], transpose_b=True)  # loads the libraries
    return peak_bytes(*(partial(step, x, upstream) for step in steps(name, xla)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, nargs="+", default=[49, 196, 784])
    parser.add_argument("--channels", type=int, nargs="+", default=[256, 512, 2048])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow", type=float, default=20.0, help="seconds per batch")
    parser.add_argument("--methods", nargs="+", help="only methods whose name contains one")
    parser.add_argument("--xla", action="store_true", help="compile with jit_compile=True")
    parser.add_argument("--root-only", action="store_true", help="no signed square root, no L2")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    options = parser.parse_args()
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores")
    print(f"batch {options.batch}, float32, {'XLA' if options.xla else 'graph'}")
    for channels, positions in itertools.product(options.channels, options.positions):
        run_cell(positions, channels, options)


if __name__ == "__main__":
    main()
