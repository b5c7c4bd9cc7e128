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
from PIL import Image

from conf.schema import HeadConfig, Pooling
from data.datasets import Dataset
from models.heads import build_descriptor
from models.parts import Parts
from reporting.image_grid import GAP, WRONG, Tile, in_lines, mosaic

COLUMNS = 3  # pairs of pictures
SIDE = 154  # pixels of a picture


def contributions(
    config: HeadConfig,
    seed: int,
    linear: keras.Model,
    maps: np.ndarray,
    ours: np.ndarray,
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


def draw_evidence(
    dataset: Dataset, images: np.ndarray, indices: np.ndarray, order: np.ndarray, parts: np.ndarray
) -> np.ndarray:
    """A picture of test pictures, each beside what speaks for its class and against the next one.

    Args:
        pictures: of shape (n, side, side, 3), uint8.
        rows: places of these in the test split, (n,).
        order: classes, the most probable first, (n, classes).
        parts: see `contributions`.
    """
    labels = dataset.labels[dataset.splits["test"]][indices]
    tiles = []
    for image, part, label, (first, second) in zip(
        images, parts, labels, order[:, :2], strict=True
    ):
        names = [dataset.class_names[number] for number in (first, second, label)]
        caption = "{}\nnot {}\nis {}" if first != label else "{}\nnot {}"
        tiles.append(
            Tile(
                _beside(image, part),
                caption.format(*names),
                colour="black" if first == label else WRONG,
            )
        )
    title = "what speaks for the predicted class (red) and for the next one (blue), by position"
    return mosaic(title, in_lines(tiles, COLUMNS), (2 * SIDE + GAP, SIDE))


def pooled_maps(classifier: Parts, images: np.ndarray) -> np.ndarray:
    """What is pooled: the backbone's maps, or those behind the reduction."""
    maps = classifier.backbone(images.astype(np.float32), training=False)
    names = [layer.name for layer in classifier.descriptor.layers]
    if "reduction_relu" in names:
        reduced = classifier.descriptor.get_layer("reduction_relu").output
        maps = keras.Model(classifier.descriptor.input, reduced)(maps, training=False)
    return np.asarray(tf.cast(maps, tf.float32))


def _beside(image: np.ndarray, part: np.ndarray) -> np.ndarray:
    """A picture, and in grey under what each position adds: red, or blue where that is negative."""
    scaled = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    most = np.quantile(np.abs(part), 0.995) or 1.0
    shares = Image.fromarray(np.clip(part / most, -1, 1).astype(np.float32))
    shares = np.asarray(shares.resize((SIDE, SIDE), Image.Resampling.NEAREST))[..., None]
    grey = np.clip((scaled.mean(axis=2, keepdims=True) + 120) / 420, 0, 1)
    red, blue = 1 + np.minimum(shares, 0), 1 - np.maximum(shares, 0)
    colour = np.concatenate([red, 1 - abs(shares), blue], axis=2)
    alpha = np.minimum(abs(shares) ** 0.6, 0.8)
    mixed = (255 * (grey * (1 - alpha) + colour * alpha)).astype(np.uint8)
    gap = np.full((SIDE, GAP, 3), 255, np.uint8)
    return np.concatenate([scaled, gap, mixed], axis=1)
