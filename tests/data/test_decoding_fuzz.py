"""Damaged files of every format and mode give an image or a named error, in bounded memory."""

import io
import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from PIL import Image

from conf.schema import DataConfig
from data.decoding import evaluation_view, training_view
from errors import UserError

FILES = 2000
MEMORY = 2 * 2**30  # bytes, above what the process had before


def sound_files() -> list[bytes]:
    """An image in 42 formats and modes."""
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 4), np.uint8)
    colour = Image.fromarray(noise[..., :3])
    opaque, alpha = colour.quantize(32), Image.fromarray(noise)
    exif = Image.Exif()
    exif.update({0x0112: 6, 0x010F: "a camera", 0x8298: "©"})
    wide = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    deep = Image.fromarray(noise[..., 0].astype(np.int32) << 23)
    real = Image.fromarray(noise[..., 0].astype(np.float32) / 255)
    frames = {"save_all": True, "append_images": [colour.rotate(9), colour.rotate(99)]}
    made = [
        *((colour.convert(mode), "JPEG", {}) for mode in ("L", "RGB", "CMYK")),
        *((colour, "JPEG", o) for o in ({"progressive": True}, {"exif": exif}, {"quality": 100})),
        (colour, "JPEG", {"restart_marker_rows": 1, "comment": b"made", "icc_profile": b"p" * 99}),
        *((colour.convert(mode), "PNG", {}) for mode in ("1", "L", "LA", "RGB", "RGBA")),
        (alpha, "PNG", {"exif": exif, "dpi": (72, 72)}),
        (opaque, "PNG", {"transparency": 3}),
        (colour, "PNG", {"transparency": (0, 0, 0)}),
        (wide, "PNG", {}),
        (colour, "PNG", frames),
        *((colour.convert(mode), "BMP", {}) for mode in ("1", "L", "P", "RGB", "RGBA")),
        (opaque, "GIF", {"transparency": 1}),
        (opaque, "GIF", frames),
        *((alpha, "WEBP", o) for o in ({}, {"lossless": True}, {"exif": exif})),
        (colour, "WEBP", frames),
        *((colour.convert(mode), "TIFF", {}) for mode in ("1", "L", "P", "CMYK", "YCbCr", "LAB")),
        *((each, "TIFF", {}) for each in (alpha, wide, deep, real)),
        *((colour, "TIFF", {"compression": c}) for c in ("tiff_lzw", "jpeg", "tiff_deflate")),
        (colour, "TIFF", {"compression": "packbits", "exif": exif}),
    ]
    files = []
    for image, file_format, options in made:
        file = io.BytesIO()
        image.save(file, file_format, **options)
        files.append(file.getvalue())
    return files


def flip_bytes(content: bytearray, rng) -> bytearray:
    for place in rng.integers(len(content), size=rng.integers(1, 12)):
        content[place] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
    return content


def flip_header(content: bytearray, rng) -> bytearray:
    for place in rng.integers(min(96, len(content)), size=rng.integers(1, 5)):
        content[place] = rng.choice([0, 0xFF, rng.integers(256)])
    return content


def truncate(content: bytearray, rng) -> bytearray:
    return content[: rng.integers(len(content))]


def repeat(content: bytearray, rng) -> bytearray:
    start, end = sorted(rng.integers(len(content), size=2))
    return content[:end] + content[start:]


def insert(content: bytearray, rng) -> bytearray:
    place = rng.integers(len(content))
    return content[:place] + bytearray(rng.bytes(rng.integers(1, 200))) + content[place:]


def malformed_metadata(content: bytearray, rng) -> bytearray:
    """Adds random EXIF, XMP or colour profiles to a JPEG; damages the tags of other formats."""
    if content[:2] != b"\xff\xd8":
        return flip_bytes(flip_header(content, rng), rng)
    heads = [b"Exif\0\0II*\0\x08\0\0\0", b"Exif\0\0MM\0*\0\0\0\x08", b"MPF\0II*\0\x08\0\0\0"]
    heads += [b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0\1\2", b"Adobe", b"JFIF\0"]
    payload = heads[rng.integers(len(heads))] + rng.bytes(rng.integers(120))
    segment = (
        bytes([0xFF, 0xE0 + rng.integers(16)]) + (len(payload) + 2).to_bytes(2, "big") + payload
    )
    return content[:2] + segment + content[2:]


DAMAGES = (flip_bytes, flip_header, truncate, repeat, insert, malformed_metadata)


def outcomes() -> tuple[int, int, list[str], int]:
    """Counts images and named errors; returns other outcomes and the growth of memory, in bytes."""
    config = DataConfig(name="image_folder", image_size=32)
    sources, rng = sound_files(), np.random.default_rng(0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    images, errors, others = 0, 0, []
    for number in range(FILES):
        source, damage = number % len(sources), DAMAGES[number // len(sources) % len(DAMAGES)]
        name = f"class/{number}.jpg"
        content = bytes(damage(bytearray(sources[source]), rng))
        for view in (evaluation_view, lambda *args: training_view(*args, np.random.default_rng(0))):
            try:
                pixels = view(content, name, config)
                assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
                images += 1
            except UserError as error:
                errors += 1
                if not str(error).startswith(f"{name} cannot be decoded (") or "\n" in str(error):
                    others.append(f"{damage.__name__} of {source}: {error}")
            except BaseException as error:
                others.append(f"{damage.__name__} of {source}: {error!r}")
    unit = 1 if sys.platform == "darwin" else 1024
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    return images, errors, others, growth


@pytest.mark.slow
def test_every_damaged_file_gives_an_image_or_an_error_that_names_it():
    # A process of its own: its memory is not that of earlier tests.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        images, errors, others, growth = process.submit(outcomes).result()
    assert not others
    assert images + errors == 2 * FILES
    assert min(images, errors) > FILES / 10, "some damage is harmless, some is not"
    assert growth < MEMORY
