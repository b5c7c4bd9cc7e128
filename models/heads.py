"""Descriptors of feature maps: the part of a head before its linear classifier."""

import keras

from conf.schema import Function, HeadConfig, Pooling
from errors import UserError
from layers import (
    AttentivePooling,
    CompactBilinearPooling,
    CrossCovariancePooling,
    SecondOrderPooling,
    SignedSquareRoot,
    SpectralPooling,
)
from layers.cross_covariance_pooling import LEAST_GROUP


def build_descriptor(config: HeadConfig, shape: tuple[int, ...], seed: int) -> keras.Model:
    """Builds reduction, pooling, matrix function, signed square root and L2 norm, as configured.

    Second-order pooling computes one triangle of its symmetric matrix. The triangle is weighted so
    that inner products of descriptors equal those of the whole matrices.

    Args:
        config: See `conf/schema.py`; the files of `conf/head/` are the named heads.
        shape: Shape of the feature map, (H, W, C), or of tokens, (1 + H * W, C), the class token
            first; see `build_backbone`.
        seed: Seed of the initial weights, and of the projections of compact pooling.

    Returns:
        A functional model "descriptor" from maps or tokens to (B, D). It has trainable weights only
        with `config.reduction`, attentive pooling and moment probing.

    Raises:
        UserError: a value of `config` is out of range, two of them contradict each other, or the
            head needs a class token and `shape` has none.
    """
    features = keras.Input(shape, name="feature_map")
    maps, class_token = (features, None) if len(shape) == 3 else _separate(features)
    if config.pooling is Pooling.class_token and class_token is None:
        raise UserError(
            "head.pooling=class_token: the backbone has no class token; use head=average_tokens"
        )
    x = _reduce(config, maps, seed) if config.reduction else maps
    _check_divisors(config, x.shape[-1])
    x = class_token if config.pooling is Pooling.class_token else _pool(config, x, seed)
    if config.pooling is Pooling.moment_probing:
        x = _with_first_moment(maps, class_token, x)
    if config.signed_root:  # computes the L2 norm in the same pass
        epsilon = config.signed_root_epsilon
        x = SignedSquareRoot(epsilon, normalize=config.l2, name="signed_root")(x)
    elif config.l2:
        x = keras.layers.UnitNormalization(axis=-1, name="l2")(x)
    return keras.Model(features, x, name="descriptor")


def _check_divisors(config: HeadConfig, channels: int) -> None:
    queries, projection, groups = config.queries, config.projection, config.groups
    if config.pooling is Pooling.attentive and channels % queries:
        best = max(count for count in range(1, min(queries, channels) + 1) if not channels % count)
        raise UserError(
            f"head.queries={queries}: must divide the number of channels, {channels}; try "
            f"head.queries={best}"
        )
    if config.pooling is Pooling.moment_probing and (
        projection % groups or projection // groups < LEAST_GROUP
    ):
        raise UserError(
            f"head.projection={projection}: must be a multiple of head.groups={groups}, with at "
            f"least {LEAST_GROUP} channels in a group"
        )


def _separate(tokens):
    """Returns the patch tokens (B, 1 + H * W, C) as a map, (B, H, W, C), and the class token."""
    count, channels = tokens.shape[1] - 1, tokens.shape[2]
    side = round(count**0.5)
    patches = keras.layers.Cropping1D((1, 0), name="patch_tokens")(tokens)
    maps = keras.layers.Reshape((side, side, channels), name="patches")(patches)
    first = keras.layers.Cropping1D((0, count), name="first_token")(tokens)
    return maps, keras.layers.Reshape((channels,), name="class_token")(first)


def _with_first_moment(maps, class_token, second):
    """The input of one classifier that gives the mean of the logits of both moments: (8) of Gao et
    al. 2023. Backbones without a class token have the mean of the patches instead."""
    first = class_token
    if first is None:
        first = keras.layers.GlobalAveragePooling2D(name="average")(maps)
    both = keras.layers.Concatenate(name="moments")([first, second])
    return keras.layers.Rescaling(0.5, name="mean_of_logits")(both)


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
    if config.pooling is Pooling.attentive:
        return AttentivePooling(config.queries, seed=seed, name="attentive")(maps)
    if config.pooling is Pooling.moment_probing:
        return CrossCovariancePooling(
            config.projection, config.groups, seed=seed, name="cross_covariance"
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
