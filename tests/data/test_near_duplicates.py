"""Near-duplicates of generated images: what is named, and what is not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from data import near_duplicates as near_duplicates_module
from data.near_duplicates import CONFIRMED, THUMBNAIL, near_duplicates, thumbnail
from data.perceptual_hash import MIRRORED, distances, perceptual_hashes


def drawing(seed: int, size=(120, 90)) -> Image.Image:
    """Ellipses of random colours on a random background."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    image = small.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(10):
        (left, top), (width, height) = rng.uniform(-0.1, 1, 2) * size, rng.uniform(8, 50, 2)
        colour = tuple(rng.integers(0, 256, 3).tolist())
        draw.ellipse((left, top, left + width, top + height), fill=colour)
    return image


def cropped(image: Image.Image, share: float) -> Image.Image:
    width, height = round(share * image.width), round(share * image.height)
    return image.crop((width, height, image.width - width, image.height - height))


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file).convert("RGB")


CHANGES = {
    "mirrored": mirrored,
    "recompressed": recompressed,
    "cropped by 5%": lambda image: cropped(image, 0.05),
    "cropped by 10%": lambda image: cropped(image, 0.1),
    "mirrored and cropped": lambda image: mirrored(cropped(image, 0.05)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "stretched": lambda image: image.resize((300, 150)),
}


def compared(images: list[Image.Image]) -> dict[tuple[int, int], float]:
    pairs, correlations = near_duplicates(np.stack([thumbnail(image) for image in images]))
    return dict(zip(map(tuple, pairs.tolist()), correlations.tolist(), strict=True))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_copies_are_named_and_nothing_else(change):
    originals = [drawing(seed) for seed in range(12)]
    named = compared([*originals, *map(change, originals[:4])])
    assert named.keys() == {(number, 12 + number) for number in range(4)}
    assert all(CONFIRMED <= correlation <= 1 + 1e-6 for correlation in named.values())


def test_the_copy_may_come_first():
    assert compared([cropped(drawing(1), 0.1), drawing(2), drawing(1)]).keys() == {(0, 2)}


def test_the_best_pair_comes_first():
    images = [drawing(1), cropped(drawing(1), 0.1), drawing(2), drawing(2)]
    assert list(compared(images)) == [(2, 3), (0, 1)]


def test_other_colours_make_another_image():
    image = np.asarray(drawing(3))
    assert not compared([Image.fromarray(image), Image.fromarray(image[..., [1, 2, 0]])])


@pytest.mark.parametrize("amplitude", [0, 1])
def test_images_without_details_have_no_near_duplicates(amplitude):
    noise = np.random.default_rng(0).integers(0, amplitude + 1, (3, 50, 50, 3))
    assert not compared([Image.fromarray((120 + each).astype(np.uint8)) for each in noise])


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_have_no_pairs(count):
    pairs, correlations = near_duplicates(np.zeros((count, 3, THUMBNAIL, THUMBNAIL), np.uint8))
    assert pairs.shape == (0, 2) and correlations.shape == (0,)


def test_of_many_images_that_all_look_alike_only_the_nearest_are_compared(monkeypatch):
    monkeypatch.setattr(near_duplicates_module, "PROPOSALS", 2)
    pairs, _ = near_duplicates(np.stack([thumbnail(drawing(4))] * 20))
    assert 20 <= len(pairs) <= 20 * 2


def test_many_look_alikes_do_not_hide_the_copies_of_other_images(monkeypatch):
    monkeypatch.setattr(near_duplicates_module, "PROPOSALS", 2)
    monkeypatch.setattr(near_duplicates_module, "CROPS", (0.0,))
    dimmed = [ImageEnhance.Brightness(drawing(4)).enhance(1 - number / 100) for number in range(40)]
    copies = [cropped(drawing(seed), 0.03) for seed in (5, 6)]
    # All in one block of images; the copies differ in more bits than the look-alikes.
    named = compared([drawing(5), *dimmed[:6], drawing(6), *copies, *dimmed[6:]])
    assert {(0, 8), (7, 9)} <= named.keys()
    assert not any({0, 7, 8, 9} & {*pair} for pair in named.keys() - {(0, 8), (7, 9)})


def test_the_hash_of_a_mirrored_image_is_known_without_it():
    brightness = np.random.default_rng(0).random((20, 32, 32))
    hashes, others = perceptual_hashes(brightness), perceptual_hashes(brightness[..., ::-1])
    np.testing.assert_array_equal(hashes ^ MIRRORED, others)


def test_the_distance_of_hashes_is_the_number_of_different_bits():
    hashes = np.random.default_rng(0).integers(0, 2**64, 5, np.uint64)
    expected = [[bin(int(a) ^ int(b)).count("1") for b in hashes] for a in hashes]
    np.testing.assert_array_equal(distances(hashes, hashes), expected)


def test_the_hash_depends_on_neither_brightness_nor_contrast():
    brightness = np.random.default_rng(0).random((20, 32, 32))
    np.testing.assert_array_equal(
        perceptual_hashes(brightness), perceptual_hashes(50 + 3 * brightness)
    )
