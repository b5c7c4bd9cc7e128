"""Frozen feature extractors: `keras.applications` models, cut at the layer that is pooled."""

import dataclasses
import difflib
import hashlib
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import keras

from conf.schema import BackboneConfig
from errors import UserError
from models.inference_mode import InferenceMode
from models.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A `keras.applications` constructor and the preprocessing that its weights expect."""

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
    """Builds the layers from the picture to `config.tap`, with their weights, frozen.

    Args:
        config: name, weights, tap and seed; see `conf/schema.py`.
        image_size: side of the square pictures, pixels.

    Returns:
        A functional model "backbone": RGB in 0...255 of shape (B, image_size, image_size, 3) to a
        feature map (B, H, W, C). Batch normalisation uses its stored statistics, always.

    Raises:
        UserError: an unknown name or tap; weights that are missing or do not fit.
    """
    if config.name not in ARCHITECTURES:
        raise UserError(
            f"backbone.name={config.name}: unknown; known are {', '.join(ARCHITECTURES)}"
        )
    architecture = ARCHITECTURES[config.name]
    whole = _whole(architecture, config, image_size)
    cut = keras.Model(whole.inputs, _tapped(whole, config.tap).output, name=config.name)
    if config.weights == "random":
        _draw_he_normal(cut, config.seed)
    elif config.weights != "imagenet":
        _load(cut, whole, Path(config.weights))
    images = keras.Input((image_size, image_size, 3), name="pictures")
    pixels = Preprocessing(architecture.preprocessing, name="preprocessing")(images)
    maps = InferenceMode(cut, name=f"frozen_{config.name}")(pixels)
    backbone = keras.Model(images, maps, name="backbone")
    backbone.trainable = False
    return backbone


def weights_digest(backbone: keras.Model) -> str:
    """Identifies a backbone's weights by their values."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in backbone.weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _whole(architecture: Architecture, config: BackboneConfig, image_size: int) -> keras.Model:
    weights = "imagenet" if config.weights == "imagenet" else None
    try:
        return architecture.build(
            include_top=False, weights=weights, input_shape=(image_size, image_size, 3)
        )
    except ValueError as error:  # the picture is too small for the architecture
        raise UserError(f"backbone.name={config.name}: {_one_line(error)}") from error
    except Exception as error:  # a download fails in many ways, under no common type
        if weights is None:
            raise
        raise UserError(
            f"backbone.weights=imagenet: the weights could not be downloaded ({_one_line(error)}); "
            "give a file instead: backbone.weights=FILE.h5"
        ) from error


def _tapped(model: keras.Model, tap: str | None) -> keras.layers.Layer:
    """The layer to pool; a map with height, width and channels."""
    layers = {layer.name: layer for layer in model.layers}
    if tap is None:
        return model.layers[-1]
    if tap in layers and len(layers[tap].output.shape) == 4:
        return layers[tap]
    taps = [name for name, layer in layers.items() if len(layer.output.shape) == 4]
    near = difflib.get_close_matches(tap, taps, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UserError(
        f"backbone.tap={tap}: {model.name} has no such layer; {hint}taps: {', '.join(taps)}"
    )


def _draw_he_normal(model: keras.Model, seed: int) -> None:
    """He et al. 2015: variance 2 / fan-in. Each layer's draw depends on its name and `seed` alone,
    so that a tap further up leaves the layers below as they were."""
    for layer in model.layers:
        for weight in layer.trainable_weights:
            if weight.name.endswith("kernel"):
                layer_seed = zlib.crc32(f"{seed}/{weight.path}".encode())
                weight.assign(_he_normal(layer, weight.shape, layer_seed))


def _he_normal(layer, shape, seed: int):
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # (h, w, channels, multiplier): each filter reads one channel, so fan-in is h * w.
        h, w, channels, multiplier = shape
        one_channel = keras.initializers.HeNormal(seed)((h, w, 1, channels * multiplier))
        return keras.ops.reshape(one_channel, shape)
    return keras.initializers.HeNormal(seed)(shape)


def _load(model: keras.Model, whole: keras.Model, path: Path) -> None:
    """Loads `model` from a weights file of the whole model, or of a part that covers `model`."""
    if not path.is_file():
        raise UserError(
            f"backbone.weights={path}: no such file; give imagenet, random or an .h5 weights file"
        )
    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            if "layer_names" in group.attrs:
                _load_by_name(model, whole, group, path)
                return
    except OSError as error:
        raise UserError(f"backbone.weights={path}: not an HDF5 weights file") from error
    _load_keras_3(model, whole, path)


def _load_keras_3(model: keras.Model, whole: keras.Model, path: Path) -> None:
    """Loads a file in Keras 3's own format, which knows no layer names: of the whole model or of
    just this part. Keras only warns of what such a file lacks; here that is an error."""
    reasons = []
    for target in (whole, model):
        try:
            with warnings.catch_warnings(action="error", category=UserWarning):
                target.load_weights(path)
            return
        except (ValueError, KeyError, UserWarning) as error:
            reasons.append(_one_line(error))
    raise UserError(
        f"backbone.weights={path}: holds neither the whole {whole.name} without its top nor its "
        f"layers up to {model.layers[-1].name} ({reasons[0]})"
    )


def _load_by_name(model: keras.Model, whole: keras.Model, group: h5py.Group, path: Path) -> None:
    stored = _stored_names(whole, group)
    for layer in model.layers:
        if not layer.weights:
            continue
        name = stored.get(layer.name)
        if name is None:
            raise UserError(
                f"backbone.weights={path}: layer {layer.name} is needed but not in the file"
            )
        arrays = [group[name][key][()] for key in group[name].attrs["weight_names"]]
        shapes = [array.shape for array in arrays]
        expected = [tuple(weight.shape) for weight in layer.weights]
        if shapes != expected:
            raise UserError(
                f"backbone.weights={path}: layer {layer.name} has shapes {shapes} in the file, "
                f"{expected} in the model"
            )
        layer.set_weights(arrays)


def _stored_names(whole: keras.Model, group: h5py.Group) -> dict[str, str]:
    """The file's name of each layer: the same one, or, in a whole model's file whose automatic
    names differ, that of the layer in the same place (as Keras itself loads such files)."""
    names = [name for name in map(_text, group.attrs["layer_names"]) if len(group[name])]
    own = [layer.name for layer in whole.layers if layer.weights]
    by_name = {name: name for name in names}
    if len(names) != len(own):
        return by_name
    return dict(zip(own, names, strict=True)) | by_name


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
