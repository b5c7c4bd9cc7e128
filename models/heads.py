"""Descriptors of feature maps: the part of a head before its linear classifier."""

import keras

from conf.schema import Function, HeadConfig, Pooling
from layers import (
    CompactBilinearPooling,
    SecondOrderPooling,
    SignedSquareRoot,
    SpectralPooling,
)


def build_descriptor(config: HeadConfig, shape: tuple[int, ...], seed: int) -> keras.Model:
    """Builds reduction, pooling, matrix function, signed square root and L2 norm, as configured.

    Second-order pooling computes one triangle of its symmetric matrix. The triangle is weighted so
    that inner products of descriptors equal those of the whole matrices.

    Args:
        config: See `conf/schema.py`; the files of `conf/head/` are the named heads.
        shape: Shape of the feature map, (H, W, C).
        seed: Seed of the reduction's weights and of the projections of compact pooling.

    Returns:
        A functional model "descriptor" from (B, H, W, C) to (B, D). It has trainable weights only
        with `config.reduction`.

    Raises:
        UserError: a value of `config` is out of range, or two of them contradict each other.
    """
    maps = keras.Input(shape, name="feature_map")
    x = _reduce(config, maps, seed) if config.reduction else maps
    x = _pool(config, x, seed)
    if config.signed_root:  # computes the L2 norm in the same pass
        x = SignedSquareRoot(normalize=config.l2, name="signed_root")(x)
    elif config.l2:
        x = keras.layers.UnitNormalization(axis=-1, name="l2")(x)
    return keras.Model(maps, x, name="descriptor")


def _reduce(config: HeadConfig, maps, seed: int):
    """1x1 convolution, batch norm and ReLU, as in the released code of iSQRT-COV."""
    initializer = keras.initializers.HeNormal(seed)
    x = keras.layers.Conv2D(
        config.reduction, 1, use_bias=False, kernel_initializer=initializer, name="reduction"
    )(maps)
    x = keras.layers.BatchNormalization(name="reduction_norm")(x)
    return keras.layers.ReLU(name="reduction_relu")(x)


def _pool(config: HeadConfig, maps, seed: int):
    if config.pooling is Pooling.average:
        return keras.layers.GlobalAveragePooling2D(name="average")(maps)
    if config.pooling is Pooling.compact:
        return CompactBilinearPooling(
            config.output_dim, method=config.method.value, seed=seed, name="compact"
        )(maps)
    # Inner products need a weight of sqrt(2), which is 2 before the signed square root.
    off_diagonal = 2.0 if config.signed_root else 2.0**0.5
    if config.function:
        exponents = {Function.power: config.exponent, Function.max_exp: config.eta}
        return SpectralPooling(
            config.function.value,
            exponent=exponents.get(config.function),
            centered=config.centered,
            augmented=config.augmented,
            epsilon=config.epsilon,
            triangular=True,
            off_diagonal=off_diagonal,
            name="spectral",
        )(maps)
    return SecondOrderPooling(
        centered=config.centered,
        root=config.root.value if config.root else None,
        iterations=config.iterations,
        epsilon=config.epsilon,
        triangular=True,
        off_diagonal=off_diagonal,
        name="second_order",
    )(maps)
