"""Times the triplet losses, forward and backward, against direct implementations.

    python benchmarks/losses.py                     # batches of 128, 256, 512 and 4096
    python benchmarks/losses.py --batches 512

The semi-hard loss of TensorFlow Addons 0.23 and the "direct" losses compare each pair with each
sample, which takes O(B^3) memory. They are skipped for more than `--most-direct` samples. The
methods take turns, so that other load on the machine affects them equally; times are medians. "x"
is the time relative to ours in the same batch. "MiB" is the memory that the first call adds, in a
process of its own (Linux). "gradient" is the largest difference from our gradient, relative to the
largest entry.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import tensorflow as tf

from benchmarks.measuring import in_own_process, median_seconds, peak_bytes
from losses import TripletHardLoss, TripletSemiHardLoss

CLASS_SIZE = 4  # samples per class in a batch


# The methods, functions from labels (B,) and embeddings (B, D) to a loss


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
    exists = tf.transpose(tf.reshape(tf.reduce_sum(mask, 1, keepdims=True) > 0, [size, size]))
    most = tf.reduce_max(tiled, 1, keepdims=True)
    outside = tf.reduce_min((tiled - most) * mask, 1, keepdims=True) + most
    outside = tf.transpose(tf.reshape(outside, [size, size]))
    least, other = tf.reduce_min(d, 1, keepdims=True), tf.cast(~same, x.dtype)
    inside = tf.tile(tf.reduce_max((d - least) * other, 1, keepdims=True) + least, [1, size])
    pairs = tf.cast(same, x.dtype) - tf.eye(size)
    above = tf.maximum((1.0 + d - tf.where(exists, outside, inside)) * pairs, 0.0)
    return tf.reduce_sum(above) / tf.reduce_sum(pairs)


METHODS = {
    "hard, direct": direct_hard,
    "hard, ours": TripletHardLoss(),
    "semi-hard, TensorFlow Addons": addons_semi_hard,
    "semi-hard, direct": direct_semi_hard,
    "semi-hard, ours": TripletSemiHardLoss(),
}


# The measurements


def inputs(batch, dimensions):
    x = np.random.default_rng(0).normal(size=(batch, dimensions))
    return tf.constant(np.arange(batch) // CLASS_SIZE), tf.constant(x, "float32")


def step(name, xla):
    def gradient(labels, x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = METHODS[name](labels, x)
        return tape.gradient(loss, x)

    return tf.function(gradient, jit_compile=xla, autograph=False)


def peak(name, batch, dimensions, xla):
    method = step(name, xla)
    method(*inputs(8, dimensions))  # loads the libraries
    return peak_bytes(partial(method, *inputs(batch, dimensions)))[0]


def run_batch(batch, options):
    names = [name for name in METHODS if "ours" in name or batch <= options.most_direct]
    args = inputs(batch, options.dimensions)
    steps = {name: partial(step(name, options.xla), *args) for name in names}
    gradients = {name: call().numpy() for name, call in steps.items()}
    times = median_seconds(steps, options.rounds)
    for name, time in times.items():
        ours = f"{name.split(',')[0]}, ours"
        difference = np.abs(gradients[name] - gradients[ours]).max() / np.abs(gradients[ours]).max()
        memory = in_own_process(peak, name, batch, options.dimensions, options.xla) / 2**20
        print(f"| {batch} | {name} | {time * 1e3:.1f} | {time / times[ours]:.1f}", end=" ")
        print(f"| {memory:.0f} | {difference:.0e} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256, 512, 4096])
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--most-direct", type=int, default=512, help="samples")
    parser.add_argument("--xla", action="store_true", help="compile with jit_compile=True")
    options = parser.parse_args()
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, {os.cpu_count()} cores")
    compiler = "XLA" if options.xla else "graph"
    print(f"{options.dimensions} dimensions, classes of {CLASS_SIZE}, float32, {compiler}\n")
    print("| batch | loss | ms | x | MiB | gradient |\n| ---: | --- | ---: | ---: | ---: | ---: |")
    for batch in options.batches:
        run_batch(batch, options)


if __name__ == "__main__":
    main()
