"""Decodes an image, and crops and scales it to the square that a backbone sees."""

import io

import numpy as np
from PIL import Image, ImageOps

from conf.schema import Crop, DataConfig
from errors import UserError

SMALLEST_AREA = 0.25  # of a random-resized crop; smaller crops often miss the object
WIDEST_ASPECT = 4 / 3  # of a random-resized crop


def decode(encoded: bytes, name: str, side: int | None = None) -> Image.Image:
    """Decodes an image to upright RGB.

    Args:
        encoded: the file's bytes, in any format that Pillow reads.
        name: of the image, for the error message.
        side: the least length of the short side in pixels. A larger JPEG is decoded at a fraction
            of its size, which is several times as fast. Default: `None`, the whole size.

    Raises:
        UserError: the bytes are not an image, or are truncated.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded))
        if side is not None:
            image.draft("RGB", (2 * side, 2 * side))
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16 bits: Pillow would clip to 8 bits, not scale
            image = Image.fromarray((np.asarray(image, np.uint32) >> 8).astype(np.uint8))
        return image.convert("RGB")
    except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split("<")[0].split())
        raise UserError(
            f"{name} cannot be decoded ({reason}); repair or remove it, "
            "or set data.skip_damaged=true"
        ) from error


def evaluation_view(encoded: bytes, name: str, config: DataConfig) -> np.ndarray:
    """The centre crop, as uint8 of shape (image_size, image_size, 3), RGB."""
    image = decode(encoded, name, scaled_side(config))
    return _cut(image, _crop_size(image, config), (0.5, 0.5), config)


def training_view(
    encoded: bytes, name: str, config: DataConfig, rng: np.random.Generator
) -> np.ndarray:
    """A random crop as set by `config.train_crop`, mirrored half of the time if `config.mirror`.

    Returns:
        uint8 of shape (image_size, image_size, 3), RGB.
    """
    image = decode(encoded, name, scaled_side(config))
    resized = config.train_crop is Crop.random_resized
    size = _random_size(image, rng) if resized else _crop_size(image, config)
    place = (0.5, 0.5) if config.train_crop is Crop.center else rng.random(2)
    pixels = _cut(image, size, place, config)
    return mirror(pixels) if config.mirror and rng.random() < 0.5 else pixels


def mirror(pixels: np.ndarray) -> np.ndarray:
    """Mirrors images of shape (..., height, width, channels) left to right."""
    return pixels[..., ::-1, :]


def scaled_side(config: DataConfig) -> int:
    """The side, in pixels, to which an image is scaled before the crop of `image_size`."""
    return round(config.image_size / config.crop_ratio)


def _crop_size(image: Image.Image, config: DataConfig) -> tuple[float, float]:
    """Width and height of the crop of `crop_ratio`, in pixels of the image."""
    short = min(image.size)
    width, height = (short, short) if config.keep_aspect else image.size
    return width * config.crop_ratio, height * config.crop_ratio


def _random_size(image: Image.Image, rng: np.random.Generator) -> tuple[float, float]:
    area = image.width * image.height * rng.uniform(SMALLEST_AREA, 1)
    aspect = WIDEST_ASPECT ** rng.uniform(-1, 1)
    return min((area * aspect) ** 0.5, image.width), min((area / aspect) ** 0.5, image.height)


def _cut(image: Image.Image, size, place, config: DataConfig) -> np.ndarray:
    """Crops and scales an image.

    Args:
        image: the whole image.
        size: width and height of the crop, in pixels of the image.
        place: of the crop, from (0, 0), at the top left corner, to (1, 1), at the bottom right one.
        config: holds the `image_size` to which the crop is scaled.
    """
    (width, height), (across, down) = size, place
    left, top = (image.width - width) * across, (image.height - height) * down
    box = (left, top, left + width, top + height)
    # Cropping and scaling in one pass reads only the pixels of the crop.
    square = (config.image_size, config.image_size)
    return np.asarray(image.resize(square, Image.Resampling.BILINEAR, box=box, reducing_gap=3.0))
