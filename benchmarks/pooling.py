"""Second-order pooling, its matrix root, signed square root and L2, timed against other ways.

    python benchmarks/pooling.py                                # every cell, about 20 minutes
    python benchmarks/pooling.py --positions 49 196 --channels 512

Each cell is a number of positions N and of channels C. In a cell all methods run in turn, round
after round, so that what else the machine does meets them alike; times are medians over the
rounds, in ms an image. A method whose first call is slower than `--slow` seconds runs once, on one
image (marked 1). "x" is against C-side Newton-Schulz of five steps. Peak memory is what the first
call adds to a process of its own (Linux). Errors are relative Frobenius errors of root and gradient
against float64, for one image of ReLU features and the ridge that `SecondOrderPooling` uses.

The floor is what no exact method can do without: the Gram matrix, the output product and their two
twins of the backward pass at the machine's measured rate of matrix products, and one pass over the
output.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import tensorflow as tf

from benchmarks.measuring import in_own_process, seconds, status_bytes
from layers import SecondOrderPooling, SignedSquareRoot
from layers.folded_triangle import FoldedTriangle

EPSILON = SecondOrderPooling().epsilon
BASELINE = "C side, Newton-Schulz 5"
LOOP_BYTES = 4e9  # the loops keep an outer product a position for the backward pass
SVD_CHANNELS = 512  # beyond, an SVD takes minutes


# The methods: features (B, N, C) to matrix roots (B, C, C), or (B, D) of one triangle


def moment(x):
    return tf.matmul(x, x, transpose_a=True) / x.shape[1]


def ridge(a):
    return a + EPSILON * tf.linalg.trace(a)[:, None, None] * tf.eye(a.shape[-1])


def loops(x):
    """Sample by sample and position by position, as in the question of the README."""
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
    """iSQRT-COV as published, with its automatic gradient."""
    a, three = moment(x), 3 * tf.eye(x.shape[2])
    trace = tf.linalg.trace(a)[:, None, None]
    z = 0.5 * (three - a / trace)
    y = (a / trace) @ z
    for _ in range(3):
        t = 0.5 * (three - z @ y)
        y, z = y @ t, t @ z
    return 0.5 * y @ (three - z @ y) * tf.sqrt(trace)


def methods():
    """Name -> (root, normalisation, whether it is traced)."""
    return {
        "per-position loops, SVD": (loops, plain_normalization, False),
        "C side, SVD": (svd, plain_normalization, True),
        "C side, eigh": (eigh, plain_normalization, True),
        BASELINE: (newton_schulz, plain_normalization, True),
        "ours, channels": ours(root="exact", side="channels"),
        "ours, positions": ours(root="exact", side="positions"),
        "ours, auto": ours(root="exact"),
        "ours, auto, whole matrix": ours(root="exact", triangular=False),
        "ours, Newton-Schulz 5": ours(root="newton_schulz"),
    }


def ours(triangular=True, **options):
    """One triangle, weighted so that after the signed root inner products are the matrices'."""
    pooling = SecondOrderPooling(triangular=triangular, off_diagonal=2.0, **options)
    normalize = SignedSquareRoot(normalize=True)
    return pooling, lambda x: normalize(tf.reshape(x, (tf.shape(x)[0], -1))), True


def plain_normalization(matrix):
    flat = tf.reshape(matrix, (tf.shape(matrix)[0], -1))
    return tf.math.l2_normalize(tf.sign(flat) * tf.sqrt(tf.abs(flat) + 1e-10), axis=1)


# Measuring


def steps(root, normalization, traced, xla):
    """The forward pass, and the forward and backward pass, of x and an upstream gradient."""

    def forward(x, upstream):
        return normalization(root(x))

    def both(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            z = normalization(root(x))
        flat = tf.reshape(upstream, (tf.shape(x)[0], -1))[:, : z.shape[1]]  # a triangle needs fewer
        return tape.gradient(z, x, flat)

    if not traced:
        return forward, both
    return tuple(tf.function(step, jit_compile=xla, autograph=False) for step in (forward, both))


def true_root(x, upstream):
    """The root of the README's contract and its gradient, in float64."""
    y = np.asarray(x, "float64") / x.shape[0] ** 0.5
    g = np.asarray(upstream, "float64")
    eigenvalues, v = np.linalg.eigh(y.T @ y)
    eigenvalues = np.maximum(eigenvalues, 0)
    a = np.sqrt(eigenvalues + EPSILON * eigenvalues.sum())
    h = v.T @ (g + g.T) @ v / 2
    inner = v @ (h / (a[:, None] + a)) @ v.T + EPSILON * np.sum(np.diag(h) / (2 * a)) * np.eye(
        len(a)
    )
    return v * a @ v.T, 2 * y @ inner / x.shape[0] ** 0.5


def errors(root, x, upstream, expected):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = root(x)
        if value.shape.rank == 2:
            value = FoldedTriangle(2.0).unfold(value, x.shape[2])
    results = value, tape.gradient(value, x, upstream)
    return [
        np.linalg.norm(result[0] - truth) / np.linalg.norm(truth)
        for result, truth in zip(results, expected, strict=True)
    ]


def floor(positions, channels, batch):
    """Seconds an image: see the head of this file."""
    a = tf.random.normal((batch, 512, 512))
    product = tf.function(lambda a: a @ a, autograph=False)
    one_pass = tf.function(lambda a: 2.0 * a, autograph=False)
    output = tf.random.normal((batch, channels, channels))
    product(a), one_pass(output)
    rate = 2 * 512**3 / statistics.median(seconds(product, a) / batch for _ in range(9))
    smaller = min(positions, channels)
    flops = 2 * 2 * (positions * channels * smaller + smaller * channels**2)
    passes = statistics.median(seconds(one_pass, output) / batch for _ in range(9))
    return flops / rate + passes, rate


def cell(positions, channels, options):
    """Features and an upstream gradient, and the methods that can do this cell."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=(options.batch, positions, channels)), 0)
    upstream = rng.normal(size=(options.batch, channels, channels))
    chosen = {}
    for name, method in methods().items():
        asked = not options.methods or any(part in name for part in options.methods)
        looped = method[0] is loops and 4 * positions * channels**2 > LOOP_BYTES
        decomposed = method[0] in (svd, loops) and channels > SVD_CHANNELS
        if asked and not looped and not decomposed:
            chosen[name] = method
    return tf.constant(x, "float32"), tf.constant(upstream, "float32"), chosen


def run_cell(positions, channels, options):
    x, upstream, chosen = cell(positions, channels, options)
    one = x[:1], upstream[:1]
    expected = true_root(one[0][0].numpy(), one[1][0].numpy())
    lowest, rate = floor(positions, channels, options.batch)
    rows, running = {}, {}
    for name, (root, normalization, traced) in chosen.items():
        pair = steps(root, normalization, traced, options.xla)
        pair[1](*one)  # traces
        once = seconds(pair[1], *one)
        row = {"errors": errors(root, *one, expected), "images": options.batch}
        if once * options.batch > options.slow or not traced:
            pair[0](*one)
            row |= {"images": 1, "times": [[seconds(pair[0], *one)], [once]]}
        else:
            for step in pair:
                step(x, upstream)  # traces this batch
            row["times"] = [[], []]
            running[name] = pair
        rows[name] = row
    for _ in range(options.rounds):
        for name, pair in running.items():
            for times, step in zip(rows[name]["times"], pair, strict=True):
                times.append(seconds(step, x, upstream))
    for name, row in rows.items():
        row["peaks"] = measured_peaks(name, positions, channels, row["images"], options)
    report(positions, channels, rows, lowest, rate)


def measured_peaks(name, positions, channels, images, options):
    """What the first forward pass, and the first of both passes, add to a process of its own."""
    if options.no_memory:
        return [float("nan")] * 2
    return in_own_process(
        __file__,
        "--positions",
        positions,
        "--channels",
        channels,
        "--batch",
        images,
        "--peaks",
        name,
        *(["--xla"] if options.xla else []),
    )


def print_peaks(options):
    x, upstream, chosen = cell(options.positions[0], options.channels[0], options)
    root, normalization, traced = chosen[options.peaks]
    pair = steps(root, normalization, traced, options.xla)
    tf.matmul(x[:1], x[:1], transpose_b=True)  # loads the libraries
    before, peaks = status_bytes("VmRSS"), []
    for step in pair:
        step(x, upstream)
        peaks.append(status_bytes("VmHWM") - before)
    print(json.dumps(peaks))


def report(positions, channels, rows, lowest, rate):
    print(f"\nN {positions}, C {channels}: floor {lowest * 1e3:.2f} ms", end=" ")
    print(f"(matrix products at {rate / 1e9:.0f} GFLOP/s)\n")
    print("| method | forward | + backward | x | of floor | MiB | MiB, both | root | gradient |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    medians = {
        name: [statistics.median(times) / row["images"] for times in row["times"]]
        for name, row in rows.items()
    }
    for name, row in rows.items():
        forward, both = medians[name]
        base = medians[BASELINE][1] if BASELINE in medians else float("nan")
        mark = " (1)" if row["images"] == 1 else ""
        peaks = [f"{peak / 2**20:.0f}" for peak in row["peaks"]]
        print(
            f"| {name}{mark} | {forward * 1e3:.2f} | {both * 1e3:.2f} | {base / both:.1f} "
            f"| {both / lowest:.1f} | {peaks[0]} | {peaks[1]} "
            f"| {row['errors'][0]:.0e} | {row['errors'][1]:.0e} |"
        )
    sides = {side: medians.get(f"ours, {side}") for side in ("channels", "positions", "auto")}
    if all(sides.values()):
        best = min(sides["channels"][1], sides["positions"][1])
        print(f"\nauto takes {sides['auto'][1] / best:.2f} of the better side's time")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--positions", type=int, nargs="+", default=[49, 196, 784])
    parser.add_argument("--channels", type=int, nargs="+", default=[256, 512, 2048])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow", type=float, default=20.0, help="seconds a call")
    parser.add_argument("--methods", nargs="+", help="only methods with one of these in the name")
    parser.add_argument("--xla", action="store_true", help="compile with jit_compile=True")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--peaks", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peaks:
        print_peaks(options)
        return
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores")
    print(f"batch {options.batch}, float32, {'XLA' if options.xla else 'graph'}")
    for channels in options.channels:
        for positions in options.positions:
            run_cell(positions, channels, options)


if __name__ == "__main__":
    main()
