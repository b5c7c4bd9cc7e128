"""Augmentations of batches by Keras' layers."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from conf.schema import AugmentConfig
from data.augmentation import Augmentation, augmentation_of, operations
from data.pipeline import Share, training_batches
from models.parts import dtype_policy

SIDE, CLASSES, COUNT = 24, 5, 12
LABELS = np.arange(COUNT) % CLASSES
CHANGES = {
    "operations": {"operations": 2},
    "erasing": {"erasing": 1.0},
    "mixup": {"mixup": 1.0},
    "cutmix": {"cutmix": 1.0},
    "all": {"operations": 1, "erasing": 0.5, "mixup": 0.2, "cutmix": 1.0},
}
EACH = [  # TensorFlow compiles ten operations for each stream, which takes seconds
    pytest.param(changes, id=name, marks=pytest.mark.slow if name == "operations" else ())
    for name, changes in CHANGES.items()
]


class PlainImages:
    """Images of one colour each, which is their index times 20."""

    shape, dtype = (SIDE, SIDE, 3), np.dtype(np.uint8)

    def training(self, indices, seed, epoch):
        colours = (20 * indices).astype(np.uint8)[:, None, None, None]
        return np.tile(colours, (1, *self.shape))


class Photographs(PlainImages):
    def training(self, indices, seed, epoch):
        return np.random.default_rng(0).integers(0, 256, (len(indices), *self.shape), np.uint8)


def batches(changes: dict, first_epoch=0, count=9, images=PlainImages, seed=3, **options):
    """Batches of 4 images; an epoch has three of them."""
    augmentation = Augmentation(AugmentConfig(**changes), seed)
    stream = training_batches(
        images(), LABELS, np.arange(COUNT), CLASSES, 4, seed, first_epoch,
        augmentation=augmentation, **options,
    )  # fmt: skip
    return list(itertools.islice(stream.as_numpy_iterator(), count))


def augmented(changes: dict, images: np.ndarray, labels=None, number=0):
    labels = tf.one_hot(np.arange(len(images)), len(images)) if labels is None else labels
    changed, others = Augmentation(AugmentConfig(**changes), 0)(
        tf.constant(images), tf.constant(labels), number
    )
    return changed.numpy(), others.numpy()


@pytest.mark.parametrize("changes", EACH)
def test_a_stream_that_starts_later_continues_as_the_earlier_one(changes):
    whole, later = batches(changes), batches(changes, first_epoch=1, count=6)
    for batch, other in zip(whole[3:], later, strict=True):
        for array, same in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("changes", EACH)
def test_batches_and_seeds_differ(changes):
    pixels = [batch[0] for batch in batches(changes, images=Photographs)]
    assert all(np.any(a != b) for a, b in itertools.pairwise(pixels))
    others = [batch[0] for batch in batches(changes, images=Photographs, seed=4)]
    assert any(np.any(a != b) for a, b in zip(pixels, others, strict=True))


@pytest.mark.parametrize("changes", EACH)
def test_images_stay_in_their_range(changes):
    for images, labels in batches(changes, images=Photographs):
        assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 255
        np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-5)


# The rectangles of CutMix have fractional sides; those of its pixels are whole.
@pytest.mark.parametrize(("mixing", "tolerance"), [("mixup", 0.01), ("cutmix", 25)])
def test_labels_say_how_much_of_each_image_is_in_the_mixed_one(mixing, tolerance):
    colours = np.arange(1, 9, dtype=np.uint8) * 30
    images = np.broadcast_to(colours[:, None, None, None], (8, SIDE, SIDE, 3))
    mixed, labels = augmented(CHANGES[mixing], images)
    assert np.any(labels != np.eye(8))
    np.testing.assert_allclose(mixed.mean(axis=(1, 2, 3)), labels @ colours, atol=tolerance)


def test_with_both_kinds_of_mixing_each_batch_has_one_of_them():
    images = np.zeros((8, SIDE, SIDE, 3), np.uint8)
    images[::2] = 200
    kinds = set()
    for number in range(12):
        mixed, _ = augmented({"mixup": 1.0, "cutmix": 1.0}, images, number=number)
        kinds.add("cutmix" if set(np.unique(mixed)) <= {0, 200} else "mixup")
    assert kinds == {"cutmix", "mixup"}


def test_erasing_replaces_a_rectangle_with_the_given_probability():
    images = np.full((200, SIDE, SIDE, 3), 7, np.uint8)
    erased, _ = augmented({"erasing": 0.25}, images)
    share = np.mean(np.any(erased != 7, axis=(1, 2, 3)))
    assert 0.15 < share < 0.35
    assert np.mean(erased != 7) < 0.2


def test_each_image_of_a_batch_has_operations_of_its_own():
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    changed, _ = augmented({"operations": 1, "magnitude": 1.0}, np.stack([image] * 40))
    assert len(np.unique(changed.round(3), axis=0)) > len(operations(1.0))


WITHOUT_MAGNITUDE = keras.layers.AutoContrast, keras.layers.Equalization
WITH_MAGNITUDE = [
    number
    for number, layer in enumerate(operations(1.0))
    if not isinstance(layer, WITHOUT_MAGNITUDE)
]


@pytest.mark.parametrize("number", WITH_MAGNITUDE)
def test_the_magnitude_says_how_much_each_operation_changes(number):
    rng = np.random.default_rng(0)
    blobs = rng.uniform(60, 190, (40, 6, 6, 3)).repeat(4, axis=1).repeat(4, axis=2)
    images = blobs.astype(np.float32)
    weak, middle, strong = (
        np.abs(operations(m)[number](images).numpy() - images).mean() for m in (0.05, 0.4, 1.0)
    )
    assert weak < 10 and weak < middle < strong < 100


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_precision_of_the_backbone_does_not_matter(policy):
    expected = batches(CHANGES["all"], count=4, images=Photographs)
    with dtype_policy(policy):
        mixed = batches(CHANGES["all"], count=4, images=Photographs)
    for batch, other in zip(mixed, expected, strict=True):
        for array, same in zip(batch, other, strict=True):
            np.testing.assert_array_equal(array, same)


def test_integer_labels_stay_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)
    _, labels = augmented({"operations": 1, "erasing": 0.5}, images, np.arange(4))
    assert labels.tolist() == [0, 1, 2, 3]


@pytest.mark.slow
def test_workers_augment_their_parts_of_a_batch_in_different_ways():
    first, second = (
        batches({"operations": 2}, images=Photographs, count=3, share=Share(i, 1, 2))
        for i in (0, 1)
    )
    for part, other in zip(first, second, strict=True):
        assert part[0].shape == other[0].shape == (2, SIDE, SIDE, 3)
        assert np.any(part[0] != other[0])


def test_without_changes_there_is_no_augmentation():
    assert augmentation_of(AugmentConfig(magnitude=1.0), 0) is None
