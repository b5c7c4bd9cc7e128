"""Loading of KerasHub presets: which image encoder, its preprocessing, its image size, errors."""

import difflib
import importlib
from collections.abc import Iterable
from pathlib import Path

import keras

from errors import UserError
from models.model_layers import PresetEncoder
from models.model_layers.preset_encoder import patch_size, taps_of

REQUIREMENTS = "pip install -r requirements-keras-hub.txt"


def load_preset(
    preset: str, tap: str | None, size: int
) -> tuple[keras.layers.Rescaling, PresetEncoder]:
    """Loads the image encoder of a preset.

    Args:
        preset: name of a KerasHub preset, `kaggle://` or `hf://` address, or folder.
        tap: name of a block or level; `None`: the last one.
        size: side of the square images, in pixels. Position embeddings are interpolated if the
            preset has another size.

    Returns:
        The preset's preprocessing of RGB images in 0...255, and the encoder behind it.

    Raises:
        UserError: keras-hub is not installed, the preset is missing, incomplete, not accessible or
            not an image encoder, it has no such tap, or it does not take images of this size.
    """
    setting = f"backbone.preset={preset}"
    hub = _import_keras_hub(setting)
    converter = _load(hub.layers.ImageConverter, preset, setting)
    backbone = _of_size(hub, preset, size, setting)
    try:
        encoder = PresetEncoder(backbone, size, tap, name="preset_encoder")
    except ValueError as error:
        raise UserError(f"{setting}: {one_line(error)}") from error
    except KeyError as error:
        taps = taps_of(backbone, size).taps
        if tap is None or tap in taps:
            raise
        near, known = hint(tap, taps), ", ".join(taps)
        raise UserError(
            f"backbone.tap={tap}: {preset} has no such tap; {near}taps: {known}"
        ) from error
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    # In float32: bfloat16 is not exact above 256.
    rescaling = keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")
    return rescaling, encoder


def hint(name: str, known: Iterable[str]) -> str:
    """Returns a question that names what is spelled like `name`; empty if nothing is."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _import_keras_hub(setting: str):
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise UserError(f"{setting}: needs the package {error.name}: {REQUIREMENTS}") from error


def _of_size(hub, preset: str, size: int, setting: str) -> keras.Model:
    """Loads the image encoder of a preset for images of `size` pixels, in the global precision."""
    dtype = keras.config.dtype_policy().name

    def load(**options) -> keras.Model:
        whole = _load(hub.models.Backbone, preset, setting, dtype=dtype, **options)
        return getattr(whole, "vision_encoder", whole)  # CLIP and SigLIP have a text encoder too

    described = load(load_weights=False)
    shape, patch = tuple(getattr(described, "image_shape", (None, None)))[:2], patch_size(described)
    if patch is not None and size % patch:
        near = f"{size // patch * patch or patch} or {size // patch * patch + patch}"
        raise UserError(
            f"data.image_size={size}: must be a multiple of {patch}, the patch size of {preset}; "
            f"for example {near}"
        )
    if isinstance(described, hub.models.DINOV2Backbone):  # it interpolates its positions itself
        return load(image_shape=(size, size, 3))
    encoder = load()
    options = {} if shape in ((None, None), (size, size)) else {"image_shape": (size, size, 3)}
    if not options and encoder.dtype_policy.name == dtype:
        return encoder
    try:
        return _rebuilt(encoder, dtype=dtype, **options)
    except Exception as error:  # of Keras or TensorFlow
        raise UserError(
            f"data.image_size={size}: does not fit {preset}; it takes {shape[0]} x {shape[1]}"
        ) from error


def _rebuilt(encoder: keras.Model, **options) -> keras.Model:
    """Builds an encoder with other options and the same weights; interpolates its positions."""
    rebuilt = type(encoder).from_config(encoder.get_config() | options)
    for old, new in zip(encoder.variables, rebuilt.variables, strict=True):
        if old.shape == new.shape:
            new.assign(old)
        elif keras.backend.is_float_dtype(new.dtype):
            table = keras.ops.reshape(old, (-1, old.shape[-1]))
            table = interpolated_positions(table, keras.ops.size(new) // new.shape[-1])
            new.assign(keras.ops.reshape(table, new.shape))
        else:  # the numbers of the positions, which CLIP keeps among its weights
            new.assign(keras.ops.reshape(keras.ops.arange(keras.ops.size(new)), new.shape))
    return rebuilt


def interpolated_positions(table, count: int):
    """Resizes a table of position embeddings of a square grid, with bicubic interpolation.

    Args:
        table: (prefix + n * n, C); the first `prefix` rows belong to a class token or the like.
        count: length of the result, prefix + m * m, with the same prefix.

    Raises:
        ValueError: the tables do not fit each other.
    """
    length, count = table.shape[0], int(count)
    for prefix in range(min(3, length, count)):
        old, new = round((length - prefix) ** 0.5), round((count - prefix) ** 0.5)
        if old**2 == length - prefix and new**2 == count - prefix:
            grid = keras.ops.reshape(table[prefix:], (1, old, old, -1))
            grid = keras.ops.image.resize(grid, (new, new), interpolation="bicubic")
            patches = keras.ops.reshape(grid, (new * new, -1))
            return keras.ops.concatenate([table[:prefix], patches])
    raise ValueError(f"a weight of {length} rows cannot be interpolated to {count}")


def _load(kind, preset: str, setting: str, **options):
    """Calls `kind.from_preset`, and explains in one line why it fails."""
    _check_place(kind, preset, setting)
    try:
        loaded = kind.from_preset(preset, **options)
    except Exception as error:  # the errors of downloads and of damaged files have no common type
        text = one_line(error)
        if "image_converter.json" not in text:
            raise UserError(f"{setting}: cannot be loaded ({text}){_advice(preset)}") from error
        loaded = None
    if loaded is None:
        raise UserError(
            f"{setting}: has no image_converter.json, which says how images are scaled; write it "
            "with keras_hub.layers.ImageConverter(scale=..., offset=...).save_to_preset(...)"
        )
    return loaded


def _advice(preset: str) -> str:
    if Path(preset).is_dir():
        return ""
    return (
        "; if it has a licence, as DINOv3, accept it on the preset's page and log in there from "
        "this machine; or download it elsewhere and give its folder: backbone.preset=FOLDER"
    )


def _check_place(kind, preset: str, setting: str) -> None:
    """Refuses a name that is neither a preset nor a folder, and an incomplete folder."""
    folder = Path(preset)
    if "://" in preset or preset in kind.presets:
        return
    if not folder.is_dir():
        raise UserError(
            f"{setting}: no such folder, and no image preset of KerasHub; "
            f"{hint(preset, kind.presets)}presets: https://keras.io/keras_hub/presets"
        )
    for pattern in ("config.json", "*.weights.h5"):
        if not any(folder.glob(pattern)) and not any(folder.glob("*.safetensors")):
            raise UserError(f"{setting}: has no {pattern.replace('*', 'model')}; it is no preset")
