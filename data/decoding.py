"""Decodes an image, and crops and scales it to the square that a backbone sees."""

import contextlib
import io
import logging
import math
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

from conf.schema import Crop, DataConfig
from data.bit_depth import SampleFormat, eight_bits, sample_format
from data.collection import Box
from data.metadata import JPEG_START, without_metadata
from errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")
BACKGROUND = (255, 255, 255, 255)  # of transparent images: white
SMALLEST_AREA = 0.25  # of a random-resized crop; smaller crops often miss the object
WIDEST_ASPECT = 4 / 3  # of a random-resized crop
PIXELS_AT_ONCE = 2**26  # that all threads decode together; a larger image is decoded alone

_JPEG_END = b"\xff\xd9"
_ORIENTATION = 0x0112  # tag of EXIF
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_TURNS = {_TRANSPOSITIONS[tag] for tag in (5, 6, 7, 8)}  # which exchange width and height

logger = logging.getLogger(__name__)

warnings.filterwarnings("ignore", module="PIL")  # about metadata, and large images


class UndecodableError(UserError):
    """An image that cannot be decoded."""

    def __init__(self, name: str, reason: str):
        advice = "repair or remove it, or set data.skip_damaged=true"
        super().__init__(f"{name} cannot be decoded ({reason}); {advice}")
        self.reason = reason


class _Budget:
    """Bounds the pixels that all threads decode at the same time."""

    def __init__(self, total: int):
        self._total = self._free = total
        self._turn, self._change = threading.Lock(), threading.Condition()

    @contextlib.contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        pixels = min(pixels, self._total)
        with self._turn, self._change:  # in turn: small images do not overtake a waiting large one
            self._change.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._change:
                self._free += pixels
                self._change.notify()


_budget = _Budget(PIXELS_AT_ONCE)
_without_end: set[str] = set()  # names of images


@contextlib.contextmanager
def decoded(
    encoded: bytes, name: str, config: DataConfig, box: Box | None = None
) -> Iterator[Image.Image]:
    """Decodes an image to upright RGB.

    Transparent images are composited on white. Greyscale of more than 8 bits is scaled by its bit
    depth, floating-point greyscale from 0...1. Metadata that cannot be parsed is ignored. The first
    of several frames is taken. A JPEG whose pixels are complete but whose end is missing is read;
    see `warn_of_missing_ends`.

    A JPEG that is much larger than `scaled_side(config)` is decoded at a fraction of its size,
    which is several times as fast. Other images of more than `PIXELS_AT_ONCE` are reduced, which
    saves memory. In both cases at least twice that side is left. A thread waits here while other
    threads hold too many pixels.

    Args:
        encoded: the file's bytes, in one of `FORMATS`.
        name: of the image, for the error message.
        config: holds the largest number of pixels, and what `scaled_side` depends on.
        box: the part of the upright image to return, with a margin of `config.box_margin`. Default:
            `None`, the whole image.

    Raises:
        UndecodableError: the bytes are not such an image, are truncated, have more pixels than
            `config.max_pixels`, or have values whose meaning is unknown; or the box lies outside.
    """
    with contextlib.ExitStack() as stack:
        try:
            image = _decode(encoded, name, config, box, stack)
        # Damaged files make Pillow raise exceptions of many types.
        except Exception as error:
            reason = " ".join(str(error).split("<")[0].split()) or type(error).__name__
            raise UndecodableError(name, reason) from error
        yield image


def stored_format(encoded: bytes) -> tuple[str, tuple[int, int]]:
    """Returns the format of a file that `decoded` reads, and its upright width and height."""
    for readable in (encoded, without_metadata(encoded)):
        with contextlib.suppress(Exception):
            image = Image.open(io.BytesIO(readable), formats=FORMATS)
            # Pillow turns the size of a TIFF upright when it opens the file.
            is_tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
            turned = not is_tiff and _transposition(image) in _TURNS
            return str(image.format), image.size[::-1] if turned else image.size
    raise ValueError("the file has none of the formats that are decoded")


def warn_of_missing_ends() -> None:
    """Logs how many images without their last bytes were decoded since the last call."""
    if _without_end:
        example = min(_without_end)
        logger.warning(
            "warning: JPEG files that lack their last bytes, but no pixels: %d, such as %s",
            len(_without_end),
            example,
        )
        _without_end.clear()


def evaluation_view(
    encoded: bytes, name: str, config: DataConfig, box: Box | None = None
) -> np.ndarray:
    """The centre crop of the image, or of its box; uint8, (image_size, image_size, 3), RGB."""
    with decoded(encoded, name, config, box) as image:
        return _cut(image, _crop_size(image, config), (0.5, 0.5), config)


def training_view(
    encoded: bytes,
    name: str,
    config: DataConfig,
    rng: np.random.Generator,
    box: Box | None = None,
) -> np.ndarray:
    """A random crop of the image, or of its box, as set by `config.train_crop`.

    It is mirrored half of the time if `config.mirror`.

    Returns:
        uint8 of shape (image_size, image_size, 3), RGB.
    """
    with decoded(encoded, name, config, box) as image:
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


def _decode(
    encoded: bytes,
    name: str,
    config: DataConfig,
    box: Box | None,
    stack: contextlib.ExitStack,
) -> Image.Image:
    """Decodes the file as it is, or else without its metadata, or else with the end of a JPEG."""
    # Pillow refuses twice this number, also for the tiles and frames inside of an image.
    Image.MAX_IMAGE_PIXELS = config.max_pixels / 2  # type: ignore[assignment]
    side, region = 2 * scaled_side(config), _region(box, config)
    try:
        return _load(encoded, side, stack, region)
    except Image.DecompressionBombError as error:
        raise ValueError(f"more pixels than data.max_pixels={config.max_pixels}") from error
    except Exception:
        stripped = without_metadata(encoded)
        if stripped != encoded:
            with contextlib.suppress(Exception):
                return _load(stripped, side, stack, region)
        without_end = stripped.rstrip(_JPEG_END[:1])
        if not _lacks_only_its_end(without_end, stack):
            raise
    _without_end.add(name)
    return _load(without_end + _JPEG_END, side, stack, region)


def _region(box: Box | None, config: DataConfig) -> Box | None:
    """The box with its margin."""
    if box is None:
        return None
    left, top, right, bottom = box
    across, down = config.box_margin * (right - left), config.box_margin * (bottom - top)
    return left - across, top - down, right + across, bottom + down


def _load(
    encoded: bytes,
    least: int | None,
    stack: contextlib.ExitStack,
    region: Box | None = None,
) -> Image.Image:
    """Decodes an image, and leaves at least `least` pixels of its short side, if it has as many.

    The pixels are taken from the budget until `stack` is closed or the next call. With `region`,
    this part of the upright image is returned, and the short side is that of this part.
    """
    stack.close()
    stored = Image.open(io.BytesIO(encoded), formats=FORMATS)
    full_size = stored.size
    if least is not None and region is not None:
        short = min(region[2] - region[0], region[3] - region[1])
        least = min(math.ceil(least * min(full_size) / short), min(full_size))
    if least is not None:
        stored.draft("RGB", (least, least))
    stack.enter_context(_budget.taken(stored.width * stored.height))
    is_tiff = isinstance(stored, TiffImagePlugin.TiffImageFile)
    if is_tiff:
        # It would parse and rewrite all tags, which may be malformed, to turn the image upright.
        stored.load_end = lambda: None  # type: ignore[method-assign]
    stored.load()
    if is_tiff:
        full_size = stored._size = stored.im.size  # until now that of the upright image
    transposition, image = _transposition(stored), _rgb(stored, least)
    if transposition is not None:
        image = image.transpose(transposition)
        if transposition in _TURNS:
            full_size = full_size[::-1]
    return image if region is None else _part(image, region, full_size)


def _part(image: Image.Image, region: Box, full_size: tuple[int, int]) -> Image.Image:
    """Crops an image, which may have been reduced, to a region in pixels of its full size."""
    scale = [image.width / full_size[0], image.height / full_size[1]] * 2
    left, top, right, bottom = (round(a * b) for a, b in zip(region, scale, strict=True))
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, image.width), min(bottom, image.height)
    if left >= right or top >= bottom:
        raise ValueError(f"its box lies outside of its {full_size[0]} x {full_size[1]} pixels")
    return image.crop((left, top, right, bottom))


def _lacks_only_its_end(encoded: bytes, stack: contextlib.ExitStack) -> bool:
    """Whether the pixels of a truncated JPEG do not depend on what follows its last byte."""
    if not encoded.startswith(JPEG_START):
        return False
    try:
        pixels, others = (
            np.asarray(_load(encoded + filler + _JPEG_END, None, stack))
            for filler in (b"", b"Z" * 64)
        )
    except Exception:
        return False
    return np.array_equal(pixels, others)


def _transposition(image: Image.Image) -> Image.Transpose | None:
    """How to turn the image upright; `None` if it is, or if its metadata do not say."""
    with contextlib.suppress(Exception):
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            return _TRANSPOSITIONS.get(image.tag_v2[_ORIENTATION])
        return _TRANSPOSITIONS.get(image.getexif()[_ORIENTATION])
    return None


def _rgb(image: Image.Image, least: int | None) -> Image.Image:
    """Converts to RGB; an image above `PIXELS_AT_ONCE` strip by strip, and reduced."""
    stored = sample_format(image)
    if image.width * image.height <= PIXELS_AT_ONCE:
        return _strip_to_rgb(image, stored)
    factor = max(1, min(image.size) // least) if least else 1
    canvas = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    height = factor * max(1, 2**22 // (image.width * factor))
    for top in range(0, image.height, height):
        strip = image.crop((0, top, image.width, min(top + height, image.height)))
        canvas.paste(_strip_to_rgb(strip, stored).reduce(factor), (0, top // factor))
    return canvas


def _strip_to_rgb(image: Image.Image, stored: SampleFormat | None) -> Image.Image:
    if stored is not None:
        transparent = image.info.get("transparency")  # the grey level of transparent pixels
        grey = eight_bits(image, stored)
        if transparent is None:
            return grey.convert("RGB")
        alpha = Image.fromarray(np.where(np.asarray(image) == transparent, 0, 255).astype(np.uint8))
        image = Image.merge("LA", (grey, alpha))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image).convert(
            "RGB"
        )
    return image if image.mode == "RGB" else image.convert("RGB")


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
