"""Random changes of training batches by Keras' layers: RandAugment, erasing, MixUp and CutMix.

Crops and mirror images are made before, when an image is decoded; see `data/decoding.py`.
"""

import keras
import numpy as np
import tensorflow as tf

from conf.schema import AugmentConfig

OPERATIONS = [  # of RandAugment; attributes of `keras.layers.RandAugment`
    "random_shear",
    "random_translation",
    "random_rotation",
    "random_brightness",
    "random_color_degeneration",
    "random_contrast",
    "random_sharpness",
    "random_posterization",
    "solarization",
    "auto_contrast",
    "equalization",
]
DRAWS = 64  # more than a layer draws for a batch


class Augmentation:
    """Changes batches of images, and their labels if images are mixed.

    What it draws depends only on the seed and the number of the batch.

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
        layers = keras.layers
        self.operations = []
        if config.operations:
            whole = layers.RandAugment(factor=config.magnitude)
            self.operations = [getattr(whole, name) for name in OPERATIONS]
        self.erasing = layers.RandomErasing((config.erasing,) * 2) if config.erasing else None
        self.mixup = layers.MixUp(config.mixup) if config.mixup else None
        self.cutmix = layers.CutMix((config.cutmix,) * 2) if config.cutmix else None
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
        return self._mix(images, labels)

    def _operate(self, images):
        """Applies one operation to each image.

        `keras.layers.RandAugment` computes all eleven operations of all images, which takes longer
        than a training step, and applies the same ones to the whole batch.
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
        layers = [layer for layer in (self.mixup, self.cutmix) if layer is not None]
        if not layers:
            return images, labels

        def mixed(layer):
            batch = layer({"images": images, "labels": labels})
            return tf.clip_by_value(batch["images"], 0, 255), tf.cast(batch["labels"], labels.dtype)

        first = keras.random.uniform((), seed=self.draws) < 0.5
        return tf.cond(first, lambda: mixed(layers[0]), lambda: mixed(layers[-1]))


def augmentation_of(config: AugmentConfig, seed: int) -> Augmentation | None:
    """Returns the augmentation of a configuration; `None` if it changes nothing."""
    changes = config.operations, config.erasing, config.mixup, config.cutmix
    return Augmentation(config, seed) if any(changes) else None
