"""Decoding, and the views of an image that a backbone sees."""

import io
import logging
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from conf.schema import Crop, DataConfig
from data import decoding
from errors import UserError

FORMATS = decoding.FORMATS


def encoded(image: Image.Image, file_format: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def ramp(width: int, height: int) -> bytes:
    """An image whose red is x and whose green is y, so a view shows the position of its crop."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return encoded(Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)))


def quadrants() -> np.ndarray:
    """An image with one colour per quadrant; it is wider than high."""
    corners = [[(250, 0, 0), (0, 250, 0)], [(0, 0, 250), (250, 250, 250)]]
    return np.array(corners, np.uint8).repeat(16, axis=0).repeat(24, axis=1)


def random_image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8))


def decode(encoded: bytes, name: str = "it", **options) -> Image.Image:
    with decoding.decoded(encoded, name, config(**options)) as image:
        return image


def config(**options) -> DataConfig:
    return DataConfig(**{"name": "image_folder", "image_size": 16, **options})


# Decoding


@pytest.mark.parametrize(
    ("mode", "colour", "file_format", "expected"),
    [
        ("RGB", (10, 200, 30), "PNG", (10, 200, 30)),
        ("RGBA", (10, 200, 30, 255), "PNG", (10, 200, 30)),
        ("L", 120, "PNG", (120, 120, 120)),
        ("LA", (120, 255), "PNG", (120, 120, 120)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("I;16", 40000, "PNG", (156, 156, 156)),
    ],
)
def test_every_colour_mode_becomes_rgb(mode, colour, file_format, expected):
    image = decode(encoded(Image.new(mode, (4, 3), colour), file_format))
    assert image.mode == "RGB"
    assert image.size == (4, 3)
    np.testing.assert_allclose(image.getpixel((2, 1)), expected, atol=1)


def test_a_palette_image_becomes_rgb():
    palette = Image.fromarray(quadrants()).quantize(8)
    np.testing.assert_allclose(np.asarray(decode(encoded(palette, "GIF"))), quadrants(), atol=2)


ORIENTATIONS = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_camera_s_orientation_is_undone(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](quadrants())))
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
    options = options.get(file_format, {})
    upright = decode(encoded(image, file_format, exif=exif, **options))
    np.testing.assert_allclose(np.asarray(upright, int), quadrants(), atol=12)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    image = Image.fromarray(quadrants()).resize((960, 640))
    assert 40 <= decode(encoded(image, "JPEG"), image_size=40, crop_ratio=1).height < 640
    assert decode(encoded(image, "JPEG"), image_size=400).size == (960, 640)


def test_a_large_jpeg_gives_the_view_of_the_same_image_as_png():
    image = Image.fromarray(quadrants()).resize((960, 640), Image.Resampling.BICUBIC)
    as_jpeg, as_png = (
        decoding.evaluation_view(encoded(image, kind), "it", config()) for kind in ("JPEG", "PNG")
    )
    np.testing.assert_allclose(as_jpeg.astype(int), as_png, atol=8)


# Metadata


def exif_of(*entries: bytes) -> bytes:
    """EXIF that says how to turn the image, and contains some raw entries of a tag."""
    upright = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    entries = sorted([upright, *entries])
    return (
        b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + b"\0" * 4
    )


MALFORMED_TAGS = {
    "a width stored as text": struct.pack("<HHI4s", 0x0100, 2, 3, b"24\0"),
    "a value beyond the end": struct.pack("<HHII", 0x010F, 2, 2**31, 2**31),
    "an unknown type": struct.pack("<HHII", 0x0110, 99, 1, 0),
    "a ratio with denominator 0": struct.pack("<HHII", 0x011A, 5, 1, 8),
    "a sub-directory that is its parent": struct.pack("<HHII", 0x8769, 4, 1, 8),
    "a sub-directory that is text": struct.pack("<HHI4s", 0x8825, 2, 3, b"gps\0"),
}


@pytest.mark.parametrize("entry", MALFORMED_TAGS.values(), ids=MALFORMED_TAGS)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_a_malformed_tag_neither_hides_the_image_nor_its_orientation(file_format, entry):
    image = Image.fromarray(np.ascontiguousarray(np.rot90(quadrants())))
    options = {"lossless": True} if file_format == "WEBP" else {"quality": 95, "subsampling": 0}
    upright = decode(encoded(image, file_format, exif=exif_of(entry), **options))
    np.testing.assert_allclose(np.asarray(upright, int), quadrants(), atol=12)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0\xff" * 9, exif_of()[:-9]]
)
def test_metadata_without_an_orientation_leave_the_image_as_it_is(exif):
    image = Image.fromarray(quadrants())
    assert decode(encoded(image, "JPEG", exif=exif)).size == image.size


@pytest.mark.parametrize("entry", MALFORMED_TAGS.values(), ids=MALFORMED_TAGS)
def test_malformed_tags_of_a_tiff_do_not_hide_it(entry):
    if entry[:2] == struct.pack("<H", 0x0100):  # in a TIFF the width is no metadata
        entry = struct.pack("<HHI4s", 0x0112, 2, 2, b"6\0")
    samples = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = decode(tiff(samples, 8, entries=[entry]))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], samples)


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize(
    ("marker", "content"),
    [
        (0xE0, b"JFIF"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<broken"),
        (0xE2, b"ICC_PROFILE\0"),
        (0xE2, b"MPF\0MM\0*\0\0\0\x08\xff"),
        (0xED, b"Photoshop 3.0\x008BIM\x04"),
        (0xEE, b"Adobe"),
        (0xFE, b"\xff\xd8\xff\xd9"),
    ],
)
def test_malformed_segments_of_a_jpeg_do_not_hide_it(marker, content):
    whole = encoded(random_image(), "JPEG")
    damaged = whole[:2] + jpeg_segment(marker, content) + whole[2:]
    np.testing.assert_array_equal(np.asarray(decode(damaged)), np.asarray(decode(whole)))


def png_chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"tEXt", b"Comment\0text", crc=1),
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3_000_000))),
        png_chunk(b"iCCP", b""),
        png_chunk(b"gAMA", b"\0"),
        png_chunk(b"tRNS", b""),
        png_chunk(b"eXIf", b"no tags"),
        png_chunk(b"acTL", b"\0"),
        png_chunk(b"xxXx", b"private", crc=7),
    ],
    ids=lambda chunk: chunk[4:8].decode(),
)
def test_malformed_chunks_of_a_png_do_not_hide_it(chunk, at_end):
    whole = encoded(random_image())
    place = len(whole) - 12 if at_end else 33  # before the last chunk, after the first
    damaged = whole[:place] + chunk + whole[place:]
    np.testing.assert_array_equal(np.asarray(decode(damaged)), np.asarray(random_image()))


# Values and transparency


def grey(values, dtype, **options) -> bytes:
    """A TIFF with these values in its first line."""
    image = np.zeros((2, len(values)), dtype)
    image[0] = values
    tags = {"tiffinfo": options} if options else {}
    return encoded(Image.fromarray(image), "TIFF", **tags)


def first_line(image: Image.Image) -> list[int]:
    return np.asarray(image)[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 128, 32768, 65535], np.uint16, [0, 0, 128, 255]),
        ([0, 2**30, 2**31 - 1], np.int32, [0, 128, 255]),
        ([0.0, 0.25, 0.5, 1.0], np.float32, [0, 64, 128, 255]),
        ([True, False, True], bool, [255, 0, 255]),
    ],
)
def test_values_are_scaled_by_their_depth(values, dtype, expected):
    assert first_line(decode(grey(values, dtype))) == expected


def tiff(samples: np.ndarray, bits: int, sample_format=1, photometric=1, entries=()) -> bytes:
    """An uncompressed little-endian TIFF of one channel, and some raw entries of its directory."""
    height, width = samples.shape
    data = samples.tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(data)),
        (339, 3, sample_format),
    ]
    own = [struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags]
    listed = sorted([*own, *entries], key=lambda entry: struct.unpack_from("<H", entry))
    directory = struct.pack("<H", len(listed)) + b"".join(listed) + b"\0" * 4
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


@pytest.mark.parametrize(
    ("samples", "bits", "sample_format", "photometric", "expected"),
    [
        (np.array([[0, 2**31, 2**32 - 1]], "<u4"), 32, 1, 1, [0, 128, 255]),
        (np.array([[0, 2**14, 2**15 - 1]], "<i2"), 16, 2, 1, [0, 128, 255]),
        (np.array([[0, 64, 127]], "i1"), 8, 2, 1, [0, 128, 254]),
        (np.array([[0, 2**15, 2**16 - 1]], "<u2"), 16, 1, 0, [255, 127, 0]),
        (np.array([[0, 0.5, 1]], "<f4"), 32, 3, 0, [255, 127, 0]),
        (np.array([[0x00, 0x08, 0xFF, 0xF0, 0x00, 0x00]], "u1")[:, :3], 12, 1, 1, [0, 143]),
    ],
    ids=["32 bits", "signed 16", "signed 8", "white is 0", "white is 0.0", "12 bits"],
)
def test_signs_inversion_and_odd_depths_are_read(
    samples, bits, sample_format, photometric, expected
):
    encoded = tiff(samples, bits, sample_format, photometric)
    if bits == 12:  # two samples in three bytes: 0x000 and 0x8FF
        encoded = encoded.replace(
            struct.pack("<HHII", 256, 4, 1, 3), struct.pack("<HHII", 256, 4, 1, 2)
        )
    assert first_line(decode(encoded)) == expected


@pytest.mark.parametrize(
    ("encoded_image", "reason"),
    [
        (grey([0, 255], np.float32), "its values, 0 to 255, are outside of 0 to 1"),
        (grey([-0.5, 1], np.float32), "its values, -0.5 to 1, are outside of 0 to 1"),
        (grey([0, np.nan], np.float32), "its values, nan to nan, are outside of 0 to 1"),
        (grey([0, np.inf], np.float32), "its values, 0 to inf, are outside of 0 to 1"),
        (grey([0, -5], np.int32), "it has negative values, down to -5"),
        (tiff(np.array([[-3, 5]], "<i2"), 16, 2), "it has negative values, down to -3"),
        (grey([0, 65535], np.int32), "its values reach only 65535 of 2147483647"),
    ],
)
def test_values_without_a_known_meaning_are_refused(encoded_image, reason):
    with pytest.raises(UserError, match=f"^scan/7 cannot be decoded .{reason}"):
        decode(encoded_image, "scan/7")


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return np.rint(255 + (colours - 255.0) * alpha[..., None] / 255)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparent_images_are_composited_on_white(file_format):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 16, 4), np.uint8)
    pixels[:4, :, 3], pixels[4:8, :, 3] = 0, 255
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    image = decode(encoded(Image.fromarray(pixels), file_format, **options))
    expected = on_white(pixels[..., :3], pixels[..., 3])
    np.testing.assert_allclose(np.asarray(image), expected, atol=1)


def hidden_colours() -> dict[str, tuple[Image.Image, dict]]:
    """Images whose left half is transparent, with some colour under it, and the right half grey."""
    half = np.zeros((4, 8), np.uint8)
    half[:, 4:] = 1
    palette = Image.fromarray(half, "P")
    palette.putpalette([200, 30, 40, 90, 90, 90])
    level, wide = (half * 90).astype(np.uint8), half.astype(np.uint16) * 90 * 257
    colour = np.stack([level, level, level], axis=-1)
    return {
        "palette": (palette, {"transparency": 0}),
        "palette with levels": (palette, {"transparency": b"\0\xff"}),
        "grey": (Image.fromarray(level), {"transparency": 0}),
        "colour": (Image.fromarray(colour), {"transparency": (0, 0, 0)}),
        "16 bits": (Image.fromarray(wide), {"transparency": 0}),
        "grey and alpha": (
            Image.merge("LA", [Image.fromarray(level), Image.fromarray(half * 255)]),
            {},
        ),
    }


@pytest.mark.parametrize("kind", hidden_colours())
def test_colours_under_full_transparency_are_white(kind):
    image, options = hidden_colours()[kind]
    pixels = np.asarray(decode(encoded(image, **options)))
    np.testing.assert_array_equal(pixels[:, :4], 255)
    np.testing.assert_array_equal(pixels[:, 4:], 90)


def test_an_opaque_image_with_an_alpha_channel_keeps_every_value():
    opaque = random_image().convert("RGBA")
    np.testing.assert_array_equal(np.asarray(decode(encoded(opaque))), np.asarray(random_image()))


# Truncated files


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_that_lacks_only_its_end_is_read_and_counted(missing, options, caplog):
    whole = encoded(random_image(), "JPEG", **options)
    with caplog.at_level(logging.WARNING):
        for name in ("tulip/4", "tulip/3", "tulip/3"):
            image = decode(whole[:-missing], name)
            np.testing.assert_array_equal(np.asarray(image), np.asarray(decode(whole)))
        decoding.warn_of_missing_ends()
        decoding.warn_of_missing_ends()
    message = "warning: JPEG files that lack their last bytes, but no pixels: 2, such as tulip/3"
    assert [record.getMessage() for record in caplog.records] == [message]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("missing", [8, 20, 200])
def test_a_jpeg_that_lacks_pixels_is_refused(missing, options):
    whole = encoded(random_image(), "JPEG", **options)
    with pytest.raises(UserError, match="it cannot be decoded"):
        decode(whole[:-missing])


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_the_error_of_a_truncated_image_names_it_and_a_remedy(file_format, share):
    whole = encoded(random_image(), file_format)
    with pytest.raises(UserError) as caught:
        decode(whole[: int(share * len(whole))], "tulip/3.jpg")
    message = str(caught.value)
    assert message.startswith("tulip/3.jpg cannot be decoded (")
    assert message.endswith("repair or remove it, or set data.skip_damaged=true")
    assert "\n" not in message


@pytest.mark.parametrize("file_format", ["EPS", "PPM", "PCX", "TGA", "ICO", "PDF", "JPEG2000"])
def test_other_formats_are_not_tried(file_format):
    with pytest.raises(UserError, match=r"it cannot be decoded .cannot identify image file"):
        decode(encoded(random_image(), file_format))


@given(st.sampled_from(FORMATS), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
@example("TIFF", 0.014, 0)
def test_damaged_bytes_give_an_image_or_a_user_error(file_format, place, value):
    damaged = bytearray(encoded(random_image(), file_format))
    damaged[int(place * len(damaged))] = value
    try:
        assert decode(bytes(damaged)).mode == "RGB"
    except UserError as error:
        assert str(error).startswith("it cannot be decoded")


# Large images


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_image_above_max_pixels_is_refused_and_one_of_that_size_is_not(file_format):
    whole = encoded(random_image(), file_format)
    assert decode(whole, max_pixels=480).size == (24, 20)
    with pytest.raises(
        UserError, match=r"it cannot be decoded .more pixels than data\.max_pixels=479"
    ):
        decode(whole, max_pixels=479)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "I;16", "CMYK"])
def test_a_reduced_image_gives_nearly_the_same_view(mode, monkeypatch):
    quarters = Image.fromarray(quadrants()).resize((480, 320), Image.Resampling.BICUBIC)
    image = quarters.convert("L").convert(mode) if mode == "I;16" else quarters.convert(mode)
    whole = encoded(image, "TIFF")
    expected = decoding.evaluation_view(whole, "it", config())
    monkeypatch.setattr(decoding, "PIXELS_AT_ONCE", 1000)
    assert decode(whole).height < 320
    view = decoding.evaluation_view(whole, "it", config())
    np.testing.assert_allclose(view.astype(int), expected, atol=8)


def test_threads_do_not_decode_more_pixels_at_once_than_allowed(monkeypatch):
    monkeypatch.setattr(decoding, "_budget", decoding._Budget(1000))
    whole, held, most = encoded(random_image()), 0, 0  # of 480 pixels

    def use(_):
        nonlocal held, most
        with decoding.decoded(whole, "it", config()):
            held += 1
            most = max(most, held)
            time.sleep(0.002)
            held -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(40)))
    assert most <= 2


# The evaluation view


@given(
    width=st.integers(60, 250),
    height=st.integers(60, 250),
    image_size=st.integers(8, 24),
    crop_ratio=st.floats(0.5, 1),
    keep_aspect=st.booleans(),
)
def test_the_evaluation_view_is_the_centre_crop(width, height, image_size, crop_ratio, keep_aspect):
    options = config(image_size=image_size, crop_ratio=crop_ratio, keep_aspect=keep_aspect)
    view = decoding.evaluation_view(ramp(width, height), "it", options)
    assert view.shape == (image_size, image_size, 3)
    assert view.dtype == np.uint8
    wide, high = (min(width, height),) * 2 if keep_aspect else (width, height)
    across = centres(width, wide * crop_ratio, image_size)
    down = centres(height, high * crop_ratio, image_size)
    expected = np.stack(np.meshgrid(across, down), axis=-1)
    # The image's edge cuts off the filter of the outermost pixels.
    np.testing.assert_allclose(view[1:-1, 1:-1, :2], expected[1:-1, 1:-1], atol=1.1)


def centres(length: int, crop: float, size: int) -> np.ndarray:
    """The positions of the view's pixels in an image whose first pixel has its centre at 0."""
    return (length - crop) / 2 + (np.arange(size) + 0.5) * crop / size - 0.5


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(Crop), st.booleans())
def test_an_image_of_any_size_fills_the_view(width, height, crop, keep_aspect):
    options = config(train_crop=crop, keep_aspect=keep_aspect)
    decoded = encoded(Image.new("RGB", (width, height), (9, 8, 7)))
    rng = np.random.default_rng(0)
    for view in (
        decoding.evaluation_view(decoded, "it", options),
        decoding.training_view(decoded, "it", options, rng),
    ):
        np.testing.assert_array_equal(view, np.broadcast_to([9, 8, 7], (16, 16, 3)))


# The training view


def crop_of(view: np.ndarray) -> tuple[float, float, float, float]:
    """Left, top, width and height of a view of a ramp; a mirrored view has a negative width."""
    across, down = view[..., 0].mean(axis=0), view[..., 1].mean(axis=1)
    size = len(view)
    width = np.polyfit(np.arange(size)[1:-1], across[1:-1], 1)[0] * size
    height = np.polyfit(np.arange(size)[1:-1], down[1:-1], 1)[0] * size
    return across.mean() + 0.5 - abs(width) / 2, down.mean() + 0.5 - height / 2, width, height


def drawn_crops(options: DataConfig, count: int = 60, size=(240, 240)) -> np.ndarray:
    decoded = ramp(*size)
    draws = (np.random.default_rng(seed) for seed in range(count))
    return np.array([crop_of(decoding.training_view(decoded, "it", options, rng)) for rng in draws])


def test_a_centre_crop_for_training_is_the_evaluation_view():
    options = config(train_crop=Crop.center, mirror=False)
    view = decoding.training_view(ramp(90, 70), "it", options, np.random.default_rng(0))
    np.testing.assert_array_equal(view, decoding.evaluation_view(ramp(90, 70), "it", options))


def test_a_random_crop_has_the_size_of_the_centre_crop_and_any_position():
    options = config(train_crop=Crop.random, mirror=False, crop_ratio=0.5)
    left, top, width, height = drawn_crops(options, size=(240, 160)).T
    np.testing.assert_allclose(width, 80, atol=2)
    np.testing.assert_allclose(height, 80, atol=2)
    assert left.min() < 20 and left.max() > 140
    assert top.min() < 10 and top.max() > 70


def test_a_random_resized_crop_keeps_a_quarter_of_the_area_and_a_moderate_aspect():
    options = config(train_crop=Crop.random_resized, mirror=False)
    left, top, width, height = drawn_crops(options).T
    share = width * height / 240**2
    assert share.min() > 0.24 and share.max() < 1.02
    assert share.min() < 0.4 and share.max() > 0.8, "small and large crops occur"
    assert (width / height).min() > 0.74 and (width / height).max() < 1.35
    assert min(left.min(), top.min()) > -2
    assert max((left + width).max(), (top + height).max()) < 242


def test_half_of_the_training_views_are_mirrored():
    widths = drawn_crops(config(train_crop=Crop.center), count=200)[:, 2]
    assert 70 < np.sum(widths < 0) < 130


def test_without_mirror_no_training_view_is_mirrored():
    widths = drawn_crops(config(train_crop=Crop.random_resized, mirror=False))[:, 2]
    assert (widths > 0).all()


@pytest.mark.parametrize("crop", Crop)
def test_the_same_seed_gives_the_same_training_view(crop):
    views = [
        decoding.training_view(
            ramp(90, 70), "it", config(train_crop=crop), np.random.default_rng(seed)
        )
        for seed in (3, 3)
    ]
    np.testing.assert_array_equal(*views)


def test_mirror_exchanges_left_and_right_of_one_or_many_images():
    many = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    mirrored = decoding.mirror(many)
    np.testing.assert_array_equal(mirrored[1, 2, 0], many[1, 2, 3])
    np.testing.assert_array_equal(decoding.mirror(many[0]), mirrored[0])
    np.testing.assert_array_equal(decoding.mirror(mirrored), many)


# Boxes


def shown(view: np.ndarray) -> list[int]:
    """The part of `ramp` that a view shows: left, top, right, bottom, to the nearest pixel."""
    x, y = view[:, :, 0].astype(int), view[:, :, 1].astype(int)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((40, 50, 104, 114), 0.0, [40, 50, 104, 114]),
        ((40, 50, 104, 114), 0.25, [24, 34, 120, 130]),
        ((0, 0, 64, 64), 0.5, [0, 0, 96, 96]),  # cut at the border of the image
        ((150, 90, 400, 400), 0.0, [150, 90, 200, 140]),
    ],
)
def test_a_box_with_its_margin_takes_the_place_of_the_image(box, margin, expected):
    side = expected[2] - expected[0]
    options = config(image_size=side, crop_ratio=1.0, box_margin=margin)
    view = decoding.evaluation_view(ramp(200, 140), "it", options, box)
    assert shown(view) == expected


def test_random_crops_stay_in_the_box():
    options = config(train_crop=Crop.random_resized, box_margin=0.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = shown(
            decoding.training_view(ramp(200, 140), "it", options, rng, (60, 30, 120, 100))
        )
        assert 60 <= left < right <= 120 and 30 <= top < bottom <= 100


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "TIFF"])
def test_a_box_is_one_of_the_upright_image(file_format, orientation):
    image = Image.new("RGB", (48, 32), (0, 0, 0))
    image.paste((250, 250, 250), (8, 16, 24, 32))  # stored; where it is when upright:
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = decode(encoded(image, file_format, exif=exif))
    bright = np.argwhere(np.asarray(upright)[:, :, 0] > 125)
    (top, left), (bottom, right) = bright.min(axis=0), bright.max(axis=0) + 1
    options = config(crop_ratio=1.0, box_margin=0.0)
    view = decoding.evaluation_view(
        encoded(image, file_format, exif=exif), "it", options, (left, top, right, bottom)
    )
    assert view.min() > 200


def test_a_box_of_a_large_jpeg_keeps_its_detail():
    """The image is decoded at a fraction of its size, but not of that of its box."""
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), np.uint8)
    large = encoded(Image.fromarray(noise), "JPEG", quality=95)
    options, box = config(image_size=32, crop_ratio=1.0, box_margin=0.0), (512, 512, 544, 544)
    view = decoding.evaluation_view(large, "it", options, box).astype(int)
    exact = np.asarray(decode(large, image_size=1024))[512:544, 512:544].astype(int)
    assert np.abs(view - exact).mean() < 2


@pytest.mark.parametrize("box", [(64, 10, 80, 20), (10, -20, 30, -5), (0, 48, 64, 60)])
def test_a_box_outside_of_the_image_is_refused(box):
    with pytest.raises(UserError, match=r"it cannot .* .its box lies outside of its 64 x 48"):
        decoding.evaluation_view(ramp(64, 48), "it", config(box_margin=0.0), box)
