"""From a feature map to a descriptor: the part of a head before its linear classifier."""

import keras

from conf.schema import HeadConfig, Pooling
from layers import CompactBilinearPooling, SecondOrderPooling, SignedSquareRoot


def build_descriptor(config: HeadConfig, shape: tuple[int, int, int], seed: int) -> keras.Model:
    """Builds reduction, pooling, matrix root, signed root and L2, each if asked for.

    Of a symmetric matrix one triangle is computed: the classifier sees the same inner products as
    those of the whole matrix, in half the numbers.

    Args:
        config: see `conf/schema.py`; the named heads are the files of `conf/head/`.
        shape: the feature map's (H, W, C).
        seed: draws the reduction's weights and the projections of compact pooling.

    Returns:
        A functional model "descriptor": (B, H, W, C) to (B, D). It has trained weights only with
        `config.reduction`.

    Raises:
        UserError: options that do not go together.
    """
    maps = keras.Input(shape, name="feature_map")
    x = _reduced(config, maps, seed) if config.reduction else maps
    x = _pooled(config, x, seed)
    if config.signed_root:  # with L2 in the same pass
        x = SignedSquareRoot(normalize=config.l2, name="signed_root")(x)
    elif config.l2:
        x = keras.layers.UnitNormalization(axis=-1, name="l2")(x)
    return keras.Model(maps, x, name="descriptor")


def _reduced(config: HeadConfig, maps, seed: int):
    """1x1 convolution, batch norm, ReLU, as in iSQRT-COV's released code."""
    initializer = keras.initializers.HeNormal(seed)
    x = keras.layers.Conv2D(
        config.reduction, 1, use_bias=False, kernel_initializer=initializer, name="reduction"
    )(maps)
    x = keras.layers.BatchNormalization(name="reduction_norm")(x)
    return keras.layers.ReLU(name="reduction_relu")(x)


def _pooled(config: HeadConfig, maps, seed: int):
    if config.pooling is Pooling.average:
        return keras.layers.GlobalAveragePooling2D(name="average")(maps)
    if config.pooling is Pooling.compact:
        return CompactBilinearPooling(
            config.output_dim, method=config.method.value, seed=seed, name="compact"
        )(maps)
    return SecondOrderPooling(
        centered=config.centered,
        root=config.root.value if config.root else None,
        iterations=config.iterations,
        epsilon=config.epsilon,
        triangular=True,
        # For inner products of whole matrices: sqrt(2), which a signed root makes of 2.
        off_diagonal=2.0 if config.signed_root else 2.0**0.5,
        name="second_order",
    )(maps)
