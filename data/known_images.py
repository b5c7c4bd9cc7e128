"""Tells which images of a data set a run has had, wherever they lie now."""

import dataclasses
from collections import defaultdict, deque

import numpy as np

from data.datasets import Dataset
from data.names import normal

TRAINED = ("train", "val")  # the splits that a run learns from; "val" selects its epochs


@dataclasses.dataclass(frozen=True)
class KnownImages:
    """The images of a data set, by what a run has done with them.

    Attributes:
        splits: sorted indices of the run's images that are there, by their split in the run.
        trained: sorted indices of the images of `TRAINED`, and of all exact copies of them.
        new: sorted indices of all images that are neither in `splits` nor in `trained`.
        changed: the number of new images that have the key of an image of the run.
        missing: the keys of the run's images that are not there, by split.
    """

    splits: dict[str, np.ndarray]
    trained: np.ndarray
    new: np.ndarray
    changed: int
    missing: dict[str, list[str]]


def known_images(
    dataset: Dataset, splits: dict[str, list[str]], content: dict[str, dict[str, str]]
) -> KnownImages:
    """Compares the images of a data set with those of a run, by key and by content.

    An image with a key of the run is the run's, unless its content is known to be another. The
    run's other images are recognised by their content, under whatever key. An image that is a copy
    of one that is there under its own key is none of the run's; it counts as trained if that one
    does.

    Args:
        dataset: its images. The key decides for images without an entry in `hashes`.
        splits: the keys of the run's images, by split.
        content: their content hashes by key, by split; empty if the run stored none: the key
            decides.
    """
    split_of = {normal(key): split for split, keys in splits.items() for key in keys}
    hash_of = {normal(key): digest for hashes in content.values() for key, digest in hashes.items()}
    members: dict[str, list[int]] = defaultdict(list)
    there, others, with_known_key = set(), [], set()
    for index in dataset.indices:
        key, digest = normal(dataset.images.key(index)), dataset.hashes.get(index)
        if key not in split_of:
            others.append(index)
        elif digest is None or hash_of.get(key, digest) == digest:
            members[split_of[key]].append(index)
            there.add(key)
        else:
            others.append(index)
            with_known_key.add(index)
    # The run's images that are not there under their key, by content.
    moved: dict[str, deque[tuple[str, str]]] = defaultdict(deque)
    trained_content = set()
    for split in (*TRAINED, *(split for split in splits if split not in TRAINED)):
        for key in splits.get(split, []):
            digest = hash_of.get(normal(key))
            if normal(key) not in there and digest is not None:
                moved[digest].append((split, normal(key)))
            if split in TRAINED:
                trained_content.add(digest)
    copies, new = [], []
    for index in others:
        digest = dataset.hashes.get(index)
        if digest is not None and moved[digest]:
            split, key = moved[digest].popleft()
            members[split].append(index)
            there.add(key)
        elif digest is not None and digest in trained_content:
            copies.append(index)
        else:
            new.append(index)
    return KnownImages(
        {split: _sorted(members[split]) for split in splits},
        _sorted([*copies, *(index for split in TRAINED for index in members[split])]),
        _sorted(new),
        len(with_known_key.intersection(new)),
        {
            split: [key for key in keys if normal(key) not in there]
            for split, keys in splits.items()
        },
    )


def _sorted(indices: list[int]) -> np.ndarray:
    return np.sort(np.array(indices, np.int64))
