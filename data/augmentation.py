"""Random changes of training batches by Keras' layers: RandAugment, erasing, MixUp and CutMix.

Crops and mirror images are made before, when an image is decoded; see `data/decoding.py`.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from conf.schema import AugmentConfig

DRAWS = 64  # more than a layer draws for a batch
FLOAT32 = {"dtype": "float32"}  # whatever precision the backbone has


def operations(magnitude: float) -> list[keras.layers.Layer]:
    """Returns the operations of RandAugment, with the ranges of the paper at magnitude 1.

    Those of `keras.layers.RandAugment` turn images by up to 180 degrees at magnitude 0.5, and all
    in one direction. Its solarization, which inverts whole images, is left out.

    Args:
        magnitude: above 0, at most 1.
    """
    bits = 8 - round(4 * magnitude)  # that are kept
    sharpness = (0.5 - magnitude / 2, 0.5 + magnitude / 2)  # 0.5 changes nothing
    return [
        layers.RandomShear(0.3 * magnitude, 0.3 * magnitude, fill_mode="reflect", **FLOAT32),
        layers.RandomTranslation(0.3 * magnitude, 0.3 * magnitude, **FLOAT32),
        layers.RandomRotation(magnitude / 12, **FLOAT32),  # of a turn: 30 degrees
        layers.RandomBrightness(0.5 * magnitude, **FLOAT32),
        layers.RandomColorDegeneration(magnitude, **FLOAT32),
        layers.RandomContrast(0.9 * magnitude, **FLOAT32),
        layers.RandomSharpness(sharpness, **FLOAT32),
        layers.RandomPosterization((bits, bits), **FLOAT32),
        layers.AutoContrast(**FLOAT32),
        layers.Equalization(**FLOAT32),
    ]


class Augmentation:
    """Changes batches of images, and their labels if images are mixed.

    All random numbers depend only on the seed and the number of the batch.

    Args:
        config: see `conf/schema.py`.
        seed: of all draws.

    Example:

    >>> augmentation = Augmentation(AugmentConfig(mixup=0.2), seed=0)
    >>> images, labels = tf.zeros((4, 8, 8, 3), "uint8"), tf.one_hot([0, 1, 2, 0], 3)
    >>> augmentation(images, labels, 7)[0].shape
    TensorShape([4, 8, 8, 3])
    """

    def __init__(self, config: AugmentConfig, seed: int):
        self.config = config
        self.operations = operations(config.magnitude) if config.operations else []
        erasing, cutmix = (config.erasing,) * 2, (config.cutmix,) * 2
        self.erasing = layers.RandomErasing(erasing, **FLOAT32) if config.erasing else None
        self.mixup = layers.MixUp(config.mixup, **FLOAT32) if config.mixup else None
        self.cutmix = layers.CutMix(cutmix, **FLOAT32) if config.cutmix else None
        self.draws = keras.random.SeedGenerator(seed)
        used = [*self.operations, self.erasing, self.mixup, self.cutmix]
        states = [variable for layer in used if layer is not None for variable in layer.variables]
        self._states = [self.draws.state, *states]
        # A layer's draws depend on two numbers: its own seed, and a counter.
        self._seeds = np.random.default_rng(seed).integers(2**31, size=len(self._states))

    def __call__(self, images, labels, number):
        """Returns changed images, float32 in 0...255, and their labels.

        Args:
            images: uint8 in 0...255, (B, height, width, 3).
            labels: one-hot, (B, classes), or integers, (B,), which cannot be mixed.
            number: of the batch.
        """
        for state, own in zip(self._states, self._seeds, strict=True):
            state.assign(tf.cast(tf.stack([int(own), number * DRAWS]), state.dtype))
        images = tf.cast(images, tf.float32)
        for _ in range(self.config.operations):
            images = self._operate(images)
        if self.erasing is not None:
            images = self.erasing(images)
        images, labels = self._mix(images, labels)
        return tf.clip_by_value(images, 0, 255), labels

    def _operate(self, images):
        """Applies one operation to each image.

        `keras.layers.RandAugment` computes all operations of all images, which takes longer than a
        training step, and applies the same ones to the whole batch.
        """
        count = tf.shape(images)[0]
        chosen = keras.random.randint((count,), 0, len(self.operations), seed=self.draws)
        for number, layer in enumerate(self.operations):
            places = tf.where(chosen == number)
            images = tf.cond(
                tf.size(places) > 0,
                lambda images=images, places=places, layer=layer: tf.tensor_scatter_nd_update(
                    images, places, layer(tf.gather_nd(images, places))
                ),
                lambda images=images: images,
            )
        return images

    def _mix(self, images, labels):
        """Mixes the images by MixUp or CutMix; with both, each batch by one of them."""
        mixing = [layer for layer in (self.mixup, self.cutmix) if layer is not None]
        if not mixing:
            return images, labels

        def mixed(layer):
            batch = layer({"images": images, "labels": labels})
            return batch["images"], tf.cast(batch["labels"], labels.dtype)

        first = keras.random.uniform((), seed=self.draws) < 0.5
        return tf.cond(first, lambda: mixed(mixing[0]), lambda: mixed(mixing[-1]))


def augmentation_of(config: AugmentConfig, seed: int) -> Augmentation | None:
    """Returns the augmentation of a configuration; `None` if it changes nothing."""
    changes = config.operations, config.erasing, config.mixup, config.cutmix
    return Augmentation(config, seed) if any(changes) else None
