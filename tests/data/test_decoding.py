"""Decoding, and the views of an image that a backbone sees."""

import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from conf.schema import Crop, DataConfig
from data import decoding
from errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")


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
    decoded = decoding.decode(encoded(Image.new(mode, (4, 3), colour), file_format), "it")
    assert decoded.mode == "RGB"
    assert decoded.size == (4, 3)
    np.testing.assert_allclose(decoded.getpixel((2, 1)), expected, atol=1)


def test_a_palette_image_becomes_rgb():
    palette = Image.fromarray(quadrants()).quantize(8)
    decoded = decoding.decode(encoded(palette, "GIF"), "it")
    np.testing.assert_allclose(np.asarray(decoded), quadrants(), atol=2)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda upright: upright),
        (2, lambda upright: upright[:, ::-1]),
        (3, lambda upright: upright[::-1, ::-1]),
        (4, lambda upright: upright[::-1]),
        (5, lambda upright: upright.transpose(1, 0, 2)),
        (6, lambda upright: np.rot90(upright)),
        (7, lambda upright: upright[::-1, ::-1].transpose(1, 0, 2)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_a_camera_s_orientation_is_undone(orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(stored(quadrants())))
    decoded = decoding.decode(encoded(image, "JPEG", quality=95, subsampling=0, exif=exif), "it")
    np.testing.assert_allclose(np.asarray(decoded, int), quadrants(), atol=12)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size():
    image = Image.fromarray(quadrants()).resize((960, 640))
    decoded = decoding.decode(encoded(image, "JPEG"), "it", side=40)
    assert 40 <= decoded.height < 640
    assert decoding.decode(encoded(image, "JPEG"), "it").size == (960, 640)


def test_a_large_jpeg_gives_the_view_of_the_same_image_as_png():
    image = Image.fromarray(quadrants()).resize((960, 640), Image.Resampling.BICUBIC)
    as_jpeg, as_png = (
        decoding.evaluation_view(encoded(image, kind), "it", config()) for kind in ("JPEG", "PNG")
    )
    np.testing.assert_allclose(as_jpeg.astype(int), as_png, atol=8)


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_the_error_of_a_truncated_image_names_it_and_a_remedy(file_format, share):
    whole = encoded(random_image(), file_format)
    with pytest.raises(UserError) as caught:
        decoding.decode(whole[: int(share * len(whole))], "tulip/3.jpg")
    message = str(caught.value)
    assert message.startswith("tulip/3.jpg cannot be decoded (")
    assert message.endswith("repair or remove it, or set data.skip_damaged=true")
    assert "\n" not in message


@given(st.sampled_from(FORMATS), st.floats(0, 1, exclude_max=True), st.integers(0, 255))
@example("TIFF", 0.014, 0)
def test_damaged_bytes_give_an_image_or_a_user_error(file_format, place, value):
    damaged = bytearray(encoded(random_image(), file_format))
    damaged[int(place * len(damaged))] = value
    try:
        assert decoding.decode(bytes(damaged), "it").mode == "RGB"
    except UserError as error:
        assert str(error).startswith("it cannot be decoded")


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
