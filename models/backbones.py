"""Frozen feature extractors: `keras.applications` models or KerasHub presets up to a tap."""

import hashlib
import itertools
import json
import re
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import keras

from conf.schema import BackboneConfig
from errors import UserError
from models.model_layers import InferenceMode, Preprocessing
from models.presets import hint, load_preset, one_line


class Architecture(NamedTuple):
    """A `keras.applications` constructor and the `Preprocessing` mode of its weights."""

    build: Callable[..., keras.Model]
    preprocessing: str


ARCHITECTURES = {
    "vgg16": Architecture(keras.applications.VGG16, "caffe"),
    "vgg19": Architecture(keras.applications.VGG19, "caffe"),
    "resnet50": Architecture(keras.applications.ResNet50, "caffe"),
    "resnet101": Architecture(keras.applications.ResNet101, "caffe"),
    "resnet152": Architecture(keras.applications.ResNet152, "caffe"),
    "resnet50_v2": Architecture(keras.applications.ResNet50V2, "tf"),
    "resnet101_v2": Architecture(keras.applications.ResNet101V2, "tf"),
    "resnet152_v2": Architecture(keras.applications.ResNet152V2, "tf"),
    "mobilenet_v2": Architecture(keras.applications.MobileNetV2, "tf"),
    "densenet121": Architecture(keras.applications.DenseNet121, "torch"),
    "densenet201": Architecture(keras.applications.DenseNet201, "torch"),
    "efficientnet_v2_b0": Architecture(keras.applications.EfficientNetV2B0, "none"),
    "efficientnet_v2_s": Architecture(keras.applications.EfficientNetV2S, "none"),
    "convnext_tiny": Architecture(keras.applications.ConvNeXtTiny, "none"),
}


def build_backbone(config: BackboneConfig, image_size: int) -> keras.Model:
    """Builds the frozen layers from the input image to `config.tap` and loads their weights.

    Args:
        config: Name, weights, tap and seed; see `conf/schema.py`.
        image_size: Side of the square input images, in pixels.

    Returns:
        A functional model "backbone" from RGB in 0...255, (B, image_size, image_size, 3), to a
        feature map, (B, H, W, C). Backbones with a class token return tokens, (B, 1 + H * W, C),
        the class token first, then the patches in row-major order. Batch norm uses its stored
        statistics even during training, and dropout is off.

    Raises:
        UserError: the name or tap is unknown, or the weights are missing or do not fit; see also
            `load_preset`.
    """
    if config.preset is not None:
        preprocessing, encoder = load_preset(config.preset, config.tap, image_size)
    else:
        preprocessing, encoder = _application(config, image_size)
    images = keras.Input((image_size, image_size, 3), name="images")
    backbone = keras.Model(images, encoder(preprocessing(images)), name="backbone")
    backbone.trainable = False
    return backbone


def architecture_digest(backbone: keras.Model) -> str:
    """Returns a hash of the configuration of a preset's backbone, its preprocessing included.

    The names of layers are left out: Keras numbers them in each process.
    """
    config = _without_names([layer.get_config() for layer in backbone.layers])
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _without_names(config):
    if isinstance(config, dict):
        ignored = ("name", "shared_object_id")
        return {key: _without_names(each) for key, each in config.items() if key not in ignored}
    return [_without_names(each) for each in config] if isinstance(config, list) else config


def depth_factors(backbone: keras.Model, factor: float) -> dict[str, float]:
    """Returns learning rates that fall with depth: `factor` to the power of the blocks above.

    Returns:
        The factor of each trainable variable, by its path; see `_blocks`.
    """
    return {
        variable.path: factor**above
        for above, block in enumerate(reversed(_blocks(backbone)))
        for layer in block
        for variable in layer.trainable_variables
    }


def check_frozen_blocks(backbone: keras.Model, count: int | None) -> None:
    """Refuses to freeze the first `count` blocks, see `freeze_blocks`, if no other is left.

    Raises:
        UserError: the backbone has no more than `count` blocks.
    """
    blocks = len(_blocks(backbone))
    if count is not None and count >= max(blocks, 1):
        raise UserError(
            f"trainer.frozen_blocks={count}: the backbone has {blocks} blocks up to its tap, and "
            f"at least one has to be trained; give at most {max(blocks, 1) - 1}"
        )


def freeze_blocks(backbone: keras.Model, count: int | None) -> None:
    """Freezes the first `count` blocks of a trainable backbone, or half of them; see `_blocks`.

    Nothing below the first trained block is differentiated.
    """
    blocks = _blocks(backbone)
    for block in blocks[: len(blocks) // 2 if count is None else count]:
        for layer in block:
            layer.trainable = False


def _blocks(backbone: keras.Model) -> list[list[keras.layers.Layer]]:
    """Returns the layers with weights, block by block.

    A block is a block of a transformer, a stage of Swin, or the layers whose names begin with the
    same block, such as `conv4_block3` of a ResNet. So are the layers before, between and after.
    """
    layers = [layer for layer in backbone.layers[-1].model.layers if layer.weights]
    return [list(group) for _, group in itertools.groupby(layers, _block_of)]


def _block_of(layer: keras.layers.Layer) -> str:
    """Returns the beginning of a layer's name that names its block; "" outside of blocks."""
    start = re.match(r".*?block_?\d+[a-z]?", layer.name)
    start = start or re.match(r".*?(layers|stage)_?\d+", layer.name)
    return start[0] if start else ""


def _application(config: BackboneConfig, image_size: int) -> tuple[Preprocessing, InferenceMode]:
    """Returns the preprocessing and the tapped model of a `keras.applications` backbone."""
    if config.name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(
            f"backbone.name={config.name}: unknown; known are {known}; KerasHub's backbones need "
            "backbone.preset"
        )
    whole = _build_whole(config, (image_size, image_size, 3))
    tapped = keras.Model(whole.inputs, _find_tap(whole, config.tap).output, name=config.name)
    if config.weights == "random":
        _initialize_he_normal(tapped, config.seed)
    elif config.weights != "imagenet":
        _load_weights(tapped, whole, Path(config.weights))
    mode = ARCHITECTURES[config.name].preprocessing
    encoder = InferenceMode(tapped, name=f"frozen_{config.name}")
    return Preprocessing(mode, name="preprocessing"), encoder


def weights_digest(backbone: keras.Model) -> str:
    """Returns a hash of the values of a backbone's weights."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in backbone.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _build_whole(config: BackboneConfig, shape: tuple[int, int, int]) -> keras.Model:
    build = ARCHITECTURES[config.name].build
    weights = "imagenet" if config.weights == "imagenet" else None
    try:
        return build(include_top=False, weights=weights, input_shape=shape)
    except ValueError as error:  # the image is too small for the architecture
        raise UserError(f"backbone.name={config.name}: {one_line(error)}") from error
    except Exception as error:  # the errors of a failed download have no common type
        if weights is None:
            raise
        raise UserError(
            f"backbone.weights=imagenet: the weights could not be downloaded ({one_line(error)}); "
            "give a file instead: backbone.weights=FILE.h5"
        ) from error


def _find_tap(model: keras.Model, tap: str | None) -> keras.layers.Layer:
    """Returns the layer whose feature map, (B, H, W, C), is pooled."""
    if tap is None:
        return model.layers[-1]
    taps = {layer.name: layer for layer in model.layers if len(layer.output.shape) == 4}
    if tap in taps:
        return taps[tap]
    raise UserError(
        f"backbone.tap={tap}: {model.name} has no such layer; {hint(tap, taps)}taps: "
        f"{', '.join(taps)}"
    )


def _initialize_he_normal(model: keras.Model, seed: int) -> None:
    """Initialises all kernels with variance 2 / fan-in (He et al. 2015).

    A kernel depends only on its layer's name and `seed`, so models with different taps have the
    same weights in their common layers.
    """
    for layer in model.layers:
        for weight in layer.trainable_weights:
            if weight.name.endswith("kernel"):
                layer_seed = zlib.crc32(f"{seed}/{weight.path}".encode())
                weight.assign(_he_normal(layer, weight.shape, layer_seed))


def _he_normal(layer: keras.layers.Layer, shape: tuple[int, ...], seed: int):
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        h, w, channels, multiplier = shape  # each filter reads one channel: fan-in is h * w
        one_channel = keras.initializers.HeNormal(seed)((h, w, 1, channels * multiplier))
        return keras.ops.reshape(one_channel, shape)
    return keras.initializers.HeNormal(seed)(shape)


def _load_weights(model: keras.Model, whole: keras.Model, path: Path) -> None:
    """Loads `model` from a weights file of `whole` or of any part of it that contains `model`."""
    setting = f"backbone.weights={path}"
    if not path.is_file():
        raise UserError(f"{setting}: no such file; give imagenet, random or an .h5 weights file")
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs:
                _load_by_name(model, whole, group)
                return
    except OSError as error:
        raise UserError(f"{setting}: not an HDF5 weights file") from error
    _load_keras_3(model, whole, path)


def _load_keras_3(model: keras.Model, whole: keras.Model, path: Path) -> None:
    """Loads a file in Keras 3's format: weights of either `whole` or exactly `model`.

    The format has no layer names. Keras warns about weights that a file lacks; here it is an error.
    """
    reasons = []
    for target in (whole, model):
        try:
            with warnings.catch_warnings(action="error", category=UserWarning):
                target.load_weights(path)
            return
        except (ValueError, KeyError, UserWarning) as error:
            reasons.append(one_line(error))
    raise UserError(
        f"backbone.weights={path}: holds neither the whole {whole.name} without its top nor its "
        f"layers up to {model.layers[-1].name} ({reasons[0]})"
    )


def _load_by_name(model: keras.Model, whole: keras.Model, group: h5py.Group) -> None:
    """Loads a file in Keras 2's format, in which the weights are grouped by layer name."""
    setting, names = f"backbone.weights={group.file.filename}", _stored_names(whole, group)
    for layer in model.layers:
        if not layer.weights:
            continue
        if layer.name not in names:
            raise UserError(f"{setting}: layer {layer.name} is needed but not in the file")
        stored = group[names[layer.name]]
        arrays = [stored[key][()] for key in stored.attrs["weight_names"]]
        shapes = [array.shape for array in arrays]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if shapes != expected:
            mismatch = f"has shapes {shapes} in the file, {expected} in the model"
            raise UserError(f"{setting}: layer {layer.name} {mismatch}")
        layer.set_weights(arrays)


def _stored_names(whole: keras.Model, group: h5py.Group) -> dict[str, str]:
    """Maps the layer names of `whole` to those in the file.

    Automatic names such as "conv2d_7" differ between processes. If the file has as many layers as
    `whole`, a name that it lacks is matched by position, as Keras does.
    """
    decoded = (n.decode() if isinstance(n, bytes) else n for n in group.attrs["layer_names"])
    names = [name for name in decoded if len(group[name])]
    own = [layer.name for layer in whole.layers if layer.weights]
    by_position = zip(own, names, strict=True) if len(names) == len(own) else ()
    return dict(by_position) | {name: name for name in names}
