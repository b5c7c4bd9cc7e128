"""Images of other than 8 bits per channel: 16- and 32-bit integers, and floating point."""

from typing import NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
_WHITE_IS_ZERO, _SIGNED = 0, 2


class SampleFormat(NamedTuple):
    """How the samples of a greyscale image are stored.

    Attributes:
        bits: used bits of an integer, without the sign.
        signed: whether an integer may be negative.
        inverted: whether 0 is white.
    """

    bits: int
    signed: bool
    inverted: bool


def sample_format(image: Image.Image) -> SampleFormat | None:
    """The format of a loaded greyscale image that Pillow does not convert to 8 bits, or `None`.

    Raises:
        ValueError: the values are so far below their 32 bits that the image would be black.
    """
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    if image.mode != "F" and not image.mode.startswith("I") and not (signed and image.mode == "L"):
        return None
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    if image.mode == "I" and bits > 16:
        (least, most), full = np.asarray(image.getextrema()), 2 ** (bits - signed) - 1
        if least >= 0 and 0 < most <= full >> 8:
            raise ValueError(
                f"its values reach only {most} of {full}, so it would be black; store 16 bits"
            )
    # Pillow inverts only images of at most 8 bits itself.
    inverted = tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    return SampleFormat(bits - signed, signed, inverted)


def eight_bits(image: Image.Image, stored: SampleFormat) -> Image.Image:
    """Converts greyscale samples to 0...255.

    Integers are scaled by their bit depth: of 16 bits, the upper 8 are taken. Floating-point
    samples are taken as intensities from 0 (black) to 1 (white).

    Raises:
        ValueError: a sample is negative, above 1 (floating point), or not finite.
    """
    samples = np.asarray(image)
    if image.mode == "F":
        if not (samples.min() >= 0 and samples.max() <= 1):  # also with a NaN
            raise ValueError(
                f"its values, {samples.min():g} to {samples.max():g}, are outside of 0 to 1"
            )
        levels = np.rint(255 * samples).astype(np.uint8)
    else:
        if stored.signed:
            samples = samples.view(np.int8) if image.mode == "L" else samples
            if samples.min() < 0:
                raise ValueError(f"it has negative values, down to {samples.min()}")
        else:
            samples = samples.astype(np.uint32)
        extra = stored.bits - 8
        levels = (samples >> extra if extra > 0 else samples << -extra).astype(np.uint8)
    return Image.fromarray(255 - levels if stored.inverted else levels)
