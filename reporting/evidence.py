"""Which positions of an image contribute to the decision for a class.

Without L2 normalisation, average, second-order and compact heads are homogeneous: the
descriptor u of a feature map X satisfies u(tX) = t^d u(X). The degree d is 1 for average pooling
and 2 for bilinear pooling. A matrix root halves it, and a signed root halves it again. The layers
after the descriptor are affine. By Euler's theorem the score s = <w, u> / |u|, with |u| held fixed,
is a sum over the positions n:

    s = sum_n <ds/dx_n, x_n> / d

For bilinear pooling a summand is x_n' W x_n, with W the classifier's weights as a matrix. It is
exactly what that position adds to the score. After a root the positions interact. The sum is still
exact, but each summand is a first-order contribution: what the position adds while the others stay
fixed. Epsilon is relative to the trace and the signed root's smoothing is tiny, so both keep the
homogeneity.
"""

import dataclasses

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from PIL import Image

from conf.schema import HeadConfig, Pooling
from models.heads import build_descriptor
from reporting.image_grid import GAP, WRONG, Tile, draw_image_grid

POOLINGS = (Pooling.average, Pooling.second_order, Pooling.compact)  # which are homogeneous
COLUMNS = 3  # pairs of images in a row
SIDE = 154  # pixels of an image


def contributions(
    config: HeadConfig, seed: int, linear: keras.Model, maps: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """Returns what each position adds to the difference of two logits, of shape (n, H, W).

    Args:
        config: the head.
        seed: seed of compact pooling's projections.
        linear: model from descriptors to logits.
        maps: the maps that are pooled, after the head's reduction if any, of shape (n, H, W, C).
        classes: the class of the first logit and that of the logit that is subtracted, (n, 2).
    """
    pooling = dataclasses.replace(config, l2=False, reduction=None)
    descriptor = build_descriptor(pooling, maps.shape[1:], seed)
    x = tf.convert_to_tensor(maps, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        u = descriptor(x, training=False)
        if config.l2:
            u = u / tf.stop_gradient(tf.maximum(tf.norm(u, axis=1, keepdims=True), 1e-12))
        pairs = tf.gather(linear(u, training=False), classes, batch_dims=1)
        score = pairs[:, 0] - pairs[:, 1]
    gradient = tape.gradient(score, x)
    return (tf.reduce_sum(gradient * x, axis=-1) / degree(config)).numpy()


def degree(config: HeadConfig) -> float:
    """Returns the d of u(tX) = t^d u(X)."""
    pooled = 1.0 if config.pooling is Pooling.average or config.root else 2.0
    return pooled / 2 if config.signed_root else pooled


def draw_evidence(
    names: list[str],
    images: np.ndarray,
    labels: np.ndarray,
    classes: np.ndarray,
    evidence: np.ndarray,
) -> np.ndarray:
    """Draws test images, each beside the evidence for its first class and against its second.

    Args:
        names: the names of all classes.
        images: uint8 of shape (n, side, side, 3).
        labels: the class of each image, (n,).
        classes: the most probable class of each image and the second one, (n, 2).
        evidence: see `contributions`.
    """
    tiles = []
    for image, part, label, (first, second) in zip(images, evidence, labels, classes, strict=True):
        caption, colour = f"{names[first]}\nnot {names[second]}", "black"
        if first != label:
            caption, colour = f"{caption}\nis {names[label]}", WRONG
        scaled = np.asarray(_scaled(image, SIDE))
        gap = np.full((SIDE, GAP, 3), 255, np.uint8)
        pair = np.concatenate([scaled, gap, overlay(image, part, SIDE)], axis=1)
        tiles.append(Tile(pair, caption, colour))
    title = "evidence for the predicted class (red) and for the second one (blue), by position"
    return draw_image_grid(title, tiles, COLUMNS, (2 * SIDE + GAP, SIDE))


def pooled_maps(descriptor: keras.Model, features) -> np.ndarray:
    """Returns the maps that are pooled: the backbone's maps or patch tokens, reduced if the head
    reduces them.

    Args:
        descriptor: see `Parts`.
        features: outputs of the backbone, which `descriptor` reads.
    """
    names = [layer.name for layer in descriptor.layers]
    for last in ("reduction_relu", "patches"):  # the layer in front of the pooling, if any
        if last in names:
            pooled = descriptor.get_layer(last).output
            features = keras.Model(descriptor.input, pooled)(features, training=False)
            break
    return np.asarray(tf.cast(features, tf.float32))


def overlay(image: np.ndarray, evidence: np.ndarray, side: int) -> np.ndarray:
    """Draws evidence over the image in grey, red where it is positive and blue where negative.

    Args:
        image: uint8 of shape (height, width, 3).
        evidence: of one image, see `contributions`.
        side: of the result, uint8 of shape (side, side, 3), in pixels.
    """
    largest = np.quantile(np.abs(evidence), 0.995) or 1.0
    small = Image.fromarray(np.clip(evidence / largest, -1, 1).astype(np.float32))
    relative = np.asarray(small.resize((side, side), Image.Resampling.NEAREST))
    brightness = np.asarray(_scaled(image, side)).mean(axis=2, keepdims=True)
    grey = np.clip((brightness + 120) / 420, 0, 1)
    colour = matplotlib.colormaps["bwr"]((relative + 1) / 2)[..., :3]
    alpha = np.minimum(abs(relative) ** 0.6, 0.8)[..., None]
    return (255 * (grey * (1 - alpha) + colour * alpha)).astype(np.uint8)


def _scaled(image: np.ndarray, side: int) -> Image.Image:
    return Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
