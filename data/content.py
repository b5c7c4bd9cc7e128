"""Content hashes: which images are exact copies of others.

Hashes are computed while features are extracted, and kept beside them. Without stored features, or
if their store is of an earlier version, the images are read once for it.
"""

import hashlib

import numpy as np

from data.datasets import Dataset
from data.progress import map_images

QUICK_SECONDS = 2  # hashing that takes less shows no progress


def content_hash(encoded: bytes) -> str:
    """Returns the BLAKE2b digest of an image's bytes: 16 bytes, as 32 hexadecimal digits."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def hash_images(dataset: Dataset, indices: np.ndarray) -> None:
    """Adds the missing hashes of images to `dataset.hashes`; reads these images.

    Raises:
        UserError: an image cannot be read.
    """
    missing = [int(index) for index in indices if index not in dataset.hashes]
    if not missing:
        return

    def hash_of(index: int) -> str:
        return content_hash(dataset.images.encoded(index))

    hashes = map_images(hash_of, missing, "hashing images", QUICK_SECONDS)
    dataset.hashes.update(zip(missing, hashes, strict=True))


def copies_within(dataset: Dataset) -> str:
    """Describes exact copies across splits and across classes in one line; empty without any.

    The original of a content is the first image that has it, in the order of the splits. A later
    image with this content is counted if its split, or its label, differs from the original's.

    Args:
        dataset: its `hashes` must have all images of its splits.
    """
    originals: dict[str, tuple[str, int]] = {}
    # Pairs of a copy and its original. Names are read for the examples only: a name of TFDS costs
    # as much as its image.
    across_splits, across_labels = [], []
    split_of = {}
    for split, indices in dataset.splits.items():
        for index in indices:
            split_of[index] = split
            first_split, first = originals.setdefault(dataset.hashes[index], (split, index))
            if split != first_split:
                across_splits.append((index, first))
            if dataset.labels[index] != dataset.labels[first]:
                across_labels.append((index, first))
    name, texts = dataset.images.name, []
    if across_splits:
        copy, first = across_splits[0]
        example = f"{name(copy)} ({split_of[copy]}) of {name(first)} ({split_of[first]})"
        texts.append(f"{len(across_splits)} of an image in another split, such as {example}")
    if across_labels:
        copy, first = across_labels[0]
        label_of = [dataset.class_names[dataset.labels[index]] for index in (copy, first)]
        example = f"{name(copy)} ({label_of[0]}) of {name(first)} ({label_of[1]})"
        texts.append(f"{len(across_labels)} of an image with another label, such as {example}")
    return _line(dataset, texts)


def copies_between(dataset: Dataset, reference: Dataset) -> str:
    """Describes the images that are exact copies of images of another data set, in one line."""
    others = {reference.hashes[index]: index for index in reference.indices}
    copies = [index for index in dataset.indices if dataset.hashes[index] in others]
    if not copies:
        return ""
    original = others[dataset.hashes[copies[0]]]
    example = f"{dataset.images.name(copies[0])} of {reference.images.name(original)}"
    return _line(dataset, [f"{len(copies)} of an image of the reference, such as {example}"])


def _line(dataset: Dataset, texts: list[str]) -> str:
    return f"{dataset.name}: images that are exact copies: {'; '.join(texts)}" if texts else ""
