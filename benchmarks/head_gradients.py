"""Norm and error of the gradient that reaches the backbone through each head.

    python benchmarks/head_gradients.py                 # N 196, C 512, ten heads
    python benchmarks/head_gradients.py --heads improved_bilinear head.signed_root_epsilon=1e-3

The features are random ReLU maps of different spectra. A random linear classifier of 20 classes
gives logits of standard deviation 1; the loss is the cross-entropy of random labels. "norm" is the
mean over the images of the norm of the loss's gradient, times the norm of the features: it does not
depend on their scale, and says how much the loss changes if the features change by their own norm.
"error" is the relative Frobenius error of float32 against float64.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import tensorflow as tf

from benchmarks.classification import configuration
from conf.schema import HeadConfig
from models.heads import build_descriptor
from models.parts import dtype_policy

HEADS = [
    "average",
    "bilinear",
    "improved_bilinear",
    "mpn_cov",
    "isqrt_cov",
    "log_euclidean",
    "power",
    "precision",
    "max_exp",
    "gaussian",
]
CLASSES, IMAGES, SEED = 20, 8, 0


def relu_maps(positions: int, channels: int) -> np.ndarray:
    """Maps (B, side, side, C) whose channels are correlated, as those of a network are."""
    rng = np.random.default_rng(SEED)
    mixing = rng.normal(size=(channels, channels)) * np.arange(1, channels + 1)[:, None] ** -0.5
    maps = np.maximum(rng.normal(size=(IMAGES, positions, channels)) @ mixing, 0)
    side = round(positions**0.5)
    return maps.reshape(IMAGES, side, side, channels)


def gradient(config: HeadConfig, maps: np.ndarray, dtype: str) -> np.ndarray:
    """Returns the gradient of each image's loss with respect to its map."""
    with dtype_policy(dtype):
        descriptor = build_descriptor(config, maps.shape[1:], SEED)
    features = tf.constant(maps, dtype)
    rng = np.random.default_rng(SEED)
    kernel = rng.normal(size=(descriptor.output.shape[-1], CLASSES))
    labels = rng.integers(CLASSES, size=len(maps))
    deviation = np.std(descriptor(features).numpy() @ kernel)
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = tf.matmul(descriptor(features), tf.constant(kernel / deviation, dtype))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tape.gradient(losses, features).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positions", type=int, default=196, help="a square number")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--heads", type=lambda names: names.split(","), default=HEADS)
    parser.add_argument("overrides", nargs="*", help="of the heads, for example head.epsilon=1e-3")
    options = parser.parse_intermixed_args()
    maps = relu_maps(options.positions, options.channels)
    size = np.linalg.norm(maps.reshape(IMAGES, -1), axis=1)
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}")
    print(f"N {options.positions}, C {options.channels}, {' '.join(options.overrides)}\n")
    print("| head | norm | error |\n| --- | ---: | ---: |")
    for head in options.heads:
        with tempfile.TemporaryDirectory() as folder:
            config = configuration(Path(folder), f"head={head}", *options.overrides).head
        exact, single = (gradient(config, maps, dtype) for dtype in ("float64", "float32"))
        norm = np.mean(size * np.linalg.norm(exact.reshape(IMAGES, -1), axis=1))
        error = np.linalg.norm(single - exact) / np.linalg.norm(exact)
        print(f"| `{head}` | {norm:.2g} | {error:.1g} |", flush=True)


if __name__ == "__main__":
    main()
