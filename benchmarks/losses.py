"""The triplet losses, forward and backward, timed against direct evaluations.

    python benchmarks/losses.py                     # batches of 128, 256, 512 and 4096
    python benchmarks/losses.py --batches 512

Semi-hard mining as TensorFlow Addons 0.23 has it, and "direct" as plainly as it can be written,
compare every pair with every sample, in O(B^3) memory; both are left out beyond `--most-direct`
samples. In a batch all methods run in turn, round after round, so that what else the machine does
meets them alike; times are medians. "x" is how many times as fast ours is in the same batch. Peak
memory is what the first call adds to a process of its own (Linux). The last column is the largest
difference from our gradient, relative to its largest entry.
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
from losses import TripletHardLoss, TripletSemiHardLoss

CLASS_SIZE = 4  # samples of a class in a batch


# The methods: labels (B,) and embeddings (B, D) to a loss


def distances(x):
    squares = tf.reduce_sum(tf.square(x), axis=1)
    squared = tf.maximum(squares[:, None] - 2 * tf.matmul(x, x, transpose_b=True) + squares, 0.0)
    zero = squared == 0
    root = tf.where(zero, 0.0, tf.sqrt(tf.where(zero, 1.0, squared)))
    return tf.linalg.set_diag(root, tf.zeros(tf.shape(x)[0]))


def direct_hard(labels, x):
    d, same = distances(x), labels[:, None] == labels
    farthest = tf.reduce_max(tf.where(same, d, 0.0), axis=1)
    nearest = tf.reduce_min(tf.where(same, tf.reduce_max(d), d), axis=1)
    return tf.reduce_mean(tf.maximum(farthest - nearest + 1.0, 0.0))


def direct_semi_hard(labels, x):
    d, same = distances(x), labels[:, None] == labels
    farther = ~same[:, None, :] & (d[:, None, :] > d[:, :, None])  # (anchor, positive, negative)
    outside = tf.reduce_min(tf.where(farther, d[:, None, :], np.inf), axis=2)
    inside = tf.reduce_max(tf.where(same, 0.0, d), axis=1, keepdims=True)
    chosen = tf.where(tf.reduce_any(farther, axis=2), outside, inside)
    pairs = tf.linalg.set_diag(tf.cast(same, x.dtype), tf.zeros(tf.shape(x)[0]))
    return tf.reduce_sum(tf.maximum(pairs * (d - chosen + 1.0), 0.0)) / tf.reduce_sum(pairs)


def addons_semi_hard(labels, x):
    d, same = distances(x), labels[:, None] == labels
    size = tf.shape(x)[0]
    tiled = tf.tile(d, [size, 1])
    mask = tf.tile(~same, [size, 1]) & (tiled > tf.reshape(tf.transpose(d), [-1, 1]))
    mask = tf.cast(mask, x.dtype)
    found = tf.transpose(tf.reshape(tf.reduce_sum(mask, 1, keepdims=True) > 0, [size, size]))
    most = tf.reduce_max(tiled, 1, keepdims=True)
    outside = tf.reduce_min((tiled - most) * mask, 1, keepdims=True) + most
    outside = tf.transpose(tf.reshape(outside, [size, size]))
    least, other = tf.reduce_min(d, 1, keepdims=True), tf.cast(~same, x.dtype)
    inside = tf.tile(tf.reduce_max((d - least) * other, 1, keepdims=True) + least, [1, size])
    pairs = tf.cast(same, x.dtype) - tf.eye(size)
    above = tf.maximum((1.0 + d - tf.where(found, outside, inside)) * pairs, 0.0)
    return tf.reduce_sum(above) / tf.reduce_sum(pairs)


METHODS = {
    "hard, direct": direct_hard,
    "hard, ours": TripletHardLoss(),
    "semi-hard, TensorFlow Addons": addons_semi_hard,
    "semi-hard, direct": direct_semi_hard,
    "semi-hard, ours": TripletSemiHardLoss(),
}


# Measuring


def inputs(batch, dimensions):
    x = np.random.default_rng(0).normal(size=(batch, dimensions))
    return tf.constant(np.arange(batch) // CLASS_SIZE), tf.constant(x, "float32")


def step(method, xla):
    def both(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = method(labels, x)
        return loss, tape.gradient(loss, x)

    return tf.function(both, jit_compile=xla, autograph=False)


def print_peak(batch, options):
    small = inputs(8, options.dimensions)
    function = step(METHODS[options.peak], options.xla)
    function(*small)  # loads the libraries
    args, before = inputs(batch, options.dimensions), status_bytes("VmRSS")
    function(*args)
    print(json.dumps(status_bytes("VmHWM") - before))


def measured_peak(name, batch, options):
    return in_own_process(
        __file__,
        "--batches",
        batch,
        "--peak",
        name,
        "--dimensions",
        options.dimensions,
        *(["--xla"] if options.xla else []),
    )


def run_batch(batch, options):
    names = [name for name in METHODS if "ours" in name or batch <= options.most_direct]
    args = inputs(batch, options.dimensions)
    functions = {name: step(METHODS[name], options.xla) for name in names}
    gradients = {name: function(*args)[1].numpy() for name, function in functions.items()}
    times = {name: [] for name in names}
    for _ in range(options.rounds):
        for name, function in functions.items():
            times[name].append(seconds(function, *args))
    medians = {name: statistics.median(times[name]) for name in names}
    for name in names:
        median, ours = medians[name], f"{name.split(',')[0]}, ours"
        ratio, reference = median / medians[ours], gradients[ours]
        difference = np.abs(gradients[name] - reference).max() / np.abs(reference).max()
        peak = measured_peak(name, batch, options) / 2**20
        print(
            f"| {batch} | {name} | {median * 1e3:.1f} | {ratio:.1f} | {peak:.0f} "
            f"| {difference:.0e} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512, 4096])
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--most-direct", type=int, default=512, help="samples")
    parser.add_argument("--xla", action="store_true", help="compile with jit_compile=True")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print_peak(options.batches[0], options)
        return
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores")
    print(f"{options.dimensions} dimensions, classes of {CLASS_SIZE}, float32, ", end="")
    print("XLA\n" if options.xla else "graph\n")
    print("| batch | loss | ms | x | MiB | gradient |")
    print("| ---: | --- | ---: | ---: | ---: | ---: |")
    for batch in options.batches:
        run_batch(batch, options)


if __name__ == "__main__":
    main()
