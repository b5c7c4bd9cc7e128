"""Where in a picture the decision for a class comes from.

Without L2 every head is homogeneous: its descriptor u of a feature map X satisfies
u(tX) = t^d u(X), with d = 1 for average pooling, 2 for bilinear pooling, half that behind a matrix
root, and half again behind a signed root. What follows is affine. So by Euler's theorem the score
s = <w, u> / |u|, |u| held fixed, is a sum over the positions n:

    s = sum_n <ds/dx_n, x_n> / d

For bilinear pooling a summand is x_n' W x_n, with W the classifier's weights as a matrix: exactly
what that position adds. Behind a root the positions interact; the sum is still exact, but each
summand is first-order: what the position adds as the others stay. Epsilon is relative to the trace
and signed root's smoothing tiny, so that both leave the homogeneity as it is.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from conf.schema import Config, HeadConfig, Pooling
from data.datasets import Dataset
from data.inputs import PictureInputs
from experiments.figures import panels, pixels, shortened
from models.classifier import Classifier
from models.heads import build_descriptor

COLUMNS = 3  # pairs of pictures


def contributions(
    config: HeadConfig, seed: int, linear: keras.Model, maps: np.ndarray, ours: np.ndarray,
    others: np.ndarray,
) -> np.ndarray:
    """What each position adds to logit `ours` less logit `others`, of shape (n, H, W).

    Args:
        config: the head, without its reduction: `maps` are what is pooled.
        seed: of compact pooling's projections.
        linear: descriptors to logits.
        maps: of shape (n, H, W, C).
        ours, others: classes, of shape (n,).
    """
    plain = dataclasses.replace(config, l2=False, reduction=None)
    descriptor = build_descriptor(plain, maps.shape[1:], seed)
    x = tf.convert_to_tensor(maps, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        u = descriptor(x, training=False)
        if config.l2:
            u = u / tf.stop_gradient(tf.maximum(tf.norm(u, axis=1, keepdims=True), 1e-12))
        logits = linear(u, training=False)
        score = tf.gather(logits, ours, batch_dims=1) - tf.gather(logits, others, batch_dims=1)
    gradient = tape.gradient(score, x)
    return (tf.reduce_sum(gradient * x, axis=-1) / degree(config)).numpy()


def degree(config: HeadConfig) -> float:
    """The d of u(tX) = t^d u(X)."""
    found = 1.0 if config.pooling is Pooling.average or config.root else 2.0
    return found / 2 if config.signed_root else found


def evidence(
    config: Config, dataset: Dataset, classifier: Classifier, probabilities: np.ndarray,
    rows: np.ndarray,
) -> np.ndarray:
    """A picture of test pictures, each beside what speaks for its class and against the next one.

    Args:
        probabilities: of the test split, (n, classes).
        rows: places in the test split.
    """
    pictures = PictureInputs(dataset.pictures, config.data).evaluation(
        dataset.splits["test"][rows]
    )
    maps = pooled_maps(classifier, pictures)
    order = np.argsort(-probabilities[rows], axis=1, kind="stable")
    first, second = order[:, 0], order[:, 1]
    parts = contributions(config.head, config.seed, classifier.linear, maps, first, second)
    lines = -(-len(rows) // COLUMNS)
    figure = Figure(figsize=(12, 2.45 * lines + 0.5), layout="constrained", dpi=80)
    figure.suptitle(
        "what speaks for the predicted class (red) and for the next one (blue), by position"
    )
    for axes in panels(figure, lines, 2 * COLUMNS).flat:
        axes.set_axis_off()
    labels = dataset.labels[dataset.splits["test"]][rows]
    for i in range(len(rows)):
        left, right = figure.axes[2 * i : 2 * i + 2]
        left.imshow(pictures[i])
        _overlay(right, pictures[i], parts[i])
        said, other, true = (
            shortened(dataset.class_names[k]) for k in (first[i], second[i], labels[i])
        )
        wrong = first[i] != labels[i]
        left.set_title(
            f"{said}\nnot {other}" + (f"\nis {true}" if wrong else ""), fontsize=8, loc="left",
            color="#c00000" if wrong else "black",
        )
    return pixels(figure)


def pooled_maps(classifier: Classifier, pictures: np.ndarray) -> np.ndarray:
    """What is pooled: the backbone's maps, or those behind the reduction."""
    maps = classifier.backbone(pictures.astype(np.float32), training=False)
    names = [layer.name for layer in classifier.descriptor.layers]
    if "reduction_relu" in names:
        reduced = classifier.descriptor.get_layer("reduction_relu").output
        maps = keras.Model(classifier.descriptor.input, reduced)(maps, training=False)
    return np.asarray(tf.cast(maps, tf.float32))


def _overlay(axes, picture: np.ndarray, part: np.ndarray) -> None:
    side = picture.shape[0]
    axes.imshow(picture.mean(axis=2), cmap="gray", vmin=-120, vmax=300)
    most = np.quantile(np.abs(part), 0.995) or 1.0
    shares = np.clip(part / most, -1, 1)
    axes.imshow(
        shares, cmap="bwr", vmin=-1, vmax=1, alpha=np.minimum(np.abs(shares) ** 0.6, 0.8),
        extent=(-0.5, side - 0.5, side - 0.5, -0.5), interpolation="nearest",
    )
