"""Content hashes: which images are exact copies of others.

Hashes are computed while features are extracted, and kept beside them. Without stored features, or
if their store is of an earlier version, the images are read once for it.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data.datasets import Dataset
from data.progress import progress

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

    with (
        ThreadPoolExecutor() as pool,
        progress(len(missing), "hashing images", delay=QUICK_SECONDS) as bar,
    ):
        for index, digest in zip(missing, pool.map(hash_of, missing), strict=True):
            dataset.hashes[index] = digest
            bar.update()


def copies_within(dataset: Dataset) -> str:
    """Describes exact copies across splits and across classes in one line; empty without any.

    Of images with the same content, the first one of the first split counts as the original. An
    image is counted if its split, or its label, is another one than the original's.

    Args:
        dataset: its `hashes` must have all images of its splits.
    """
    originals: dict[str, tuple[str, int]] = {}
    across_splits, across_labels = [], []
    for split, indices in dataset.splits.items():
        for index in indices:
            name, label = dataset.images.name(index), dataset.class_names[dataset.labels[index]]
            first_split, first = originals.setdefault(dataset.hashes[index], (split, index))
            first_name = dataset.images.name(first)
            first_label = dataset.class_names[dataset.labels[first]]
            if split != first_split:
                across_splits.append(f"{name} ({split}) of {first_name} ({first_split})")
            if label != first_label:
                across_labels.append(f"{name} ({label}) of {first_name} ({first_label})")
    return _describe(
        dataset, {"in another split": across_splits, "with another label": across_labels}
    )


def copies_between(dataset: Dataset, reference: Dataset) -> str:
    """Describes the images that are exact copies of images of another data set, in one line."""
    others = {reference.hashes[index]: index for index in reference.indices}
    copies = [
        f"{dataset.images.name(index)} of {reference.images.name(others[digest])}"
        for index in dataset.indices
        if (digest := dataset.hashes[index]) in others
    ]
    return _describe(dataset, {"of the reference": copies})


def _describe(dataset: Dataset, copies: dict[str, list[str]]) -> str:
    texts = [
        f"{len(each)} of an image {where}, such as {each[0]}"
        for where, each in copies.items()
        if each
    ]
    return f"{dataset.name}: images that are exact copies: {'; '.join(texts)}" if texts else ""
