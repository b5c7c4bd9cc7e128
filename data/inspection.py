"""Inspects the images of a data set: formats, sizes, damaged images and duplicates."""

import dataclasses

import numpy as np

from conf.schema import DataConfig, Region
from data import decoding
from data.content import content_hash
from data.datasets import Dataset
from data.near_duplicates import THUMBNAIL, near_duplicates, thumbnail
from data.progress import map_images
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two images that are copies of each other.

    Attributes:
        first, second: indices of the images; the first one comes first in the order of the splits.
        correlation: of their details, at most 1; `None` for an exact copy.
        splits: of both images.
        same_label: whether both have the same label. If not, one label is wrong.
    """

    first: int
    second: int
    correlation: float | None
    splits: tuple[str, str]
    same_label: bool

    @property
    def across(self) -> bool:
        """Whether the images are in different splits."""
        return self.splits[0] != self.splits[1]


@dataclasses.dataclass(frozen=True)
class Damaged:
    """An image that cannot be decoded.

    Attributes:
        index: of the image.
        split: "left out" if `data.skip_damaged` skips it.
        reason: why it cannot be decoded.
    """

    index: int
    split: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The images of a data set's splits, as they were read.

    Attributes:
        dataset: the data set; its `hashes` has all images of the splits that can be read.
        indices: the images that can be decoded, in the order of the splits.
        formats: the file format of each of them, such as "JPEG".
        sizes: width and height of each of them in pixels, upright, int64 of shape (n, 2).
        damaged: the images that cannot be decoded.
        copies: exact copies. An image with several copies is the first one of each pair.
        near_duplicates: the best pair first. One image of each set of exact copies is compared.
    """

    dataset: Dataset
    indices: np.ndarray
    formats: list[str]
    sizes: np.ndarray
    damaged: list[Damaged]
    copies: list[Pair]
    near_duplicates: list[Pair]


@dataclasses.dataclass(frozen=True)
class _Seen:
    """The properties of one image that was read."""

    content: str
    format: str
    size: tuple[int, int]
    thumbnail: np.ndarray


def inspect_images(dataset: Dataset, config: DataConfig) -> Inspection:
    """Reads all images of the splits once, and compares them.

    With `config.crop=box` the boxes are compared instead of the whole images. An image takes
    4 KiB of memory.
    """
    # JPEGs are decoded at the fraction of their size that a thumbnail needs.
    small = dataclasses.replace(config, image_size=2 * THUMBNAIL, crop_ratio=1.0)

    def look(index: int) -> _Seen | str:
        try:
            encoded = dataset.images.encoded(index)
            box = dataset.images.box(index) if config.crop is Region.box else None
            with decoding.decoded(encoded, dataset.images.name(index), small, box) as image:
                pixels = thumbnail(image)
            return _Seen(content_hash(encoded), *decoding.stored_format(encoded), pixels)
        except decoding.UndecodableError as error:
            return error.reason
        except UserError as error:  # it cannot be read
            return str(error)

    read = np.concatenate([*dataset.splits.values()]).tolist()
    left_out = _left_out(dataset)
    thumbnails = np.empty((len(read), 3, THUMBNAIL, THUMBNAIL), np.uint8)
    indices: list[int] = []
    formats: list[str] = []
    sizes: list[tuple[int, int]] = []
    damaged: list[Damaged] = []
    splits = {i: split for split, members in dataset.splits.items() for i in members.tolist()}
    looks = map_images(look, [*read, *left_out], "reading images", delay=2)
    for index, seen in zip([*read, *left_out], looks, strict=True):
        if index not in splits:  # its file may have changed, or only its full size be damaged
            reason = seen if isinstance(seen, str) else "it could not be decoded at first"
            damaged.append(Damaged(index, "left out", reason))
            continue
        if isinstance(seen, str):
            damaged.append(Damaged(index, splits[index], seen))
            continue
        thumbnails[len(indices)] = seen.thumbnail
        dataset.hashes[index] = seen.content
        indices.append(index)
        formats.append(seen.format)
        sizes.append(seen.size)
    decoded = np.array(indices, np.int64)
    compared = _Comparison(dataset, splits, decoded, thumbnails[: len(indices)])
    return Inspection(
        dataset,
        compared.indices,
        formats,
        np.array(sizes, np.int64).reshape(-1, 2),
        damaged,
        compared.copies(),
        compared.near_duplicates(),
    )


def _left_out(dataset: Dataset) -> list[int]:
    """The damaged images that `data.skip_damaged` skips; only their names are known."""
    if not dataset.damaged:
        return []
    names, in_splits = set(dataset.damaged), set(dataset.indices.tolist())
    others = (index for index in range(len(dataset.images)) if index not in in_splits)
    return [index for index in others if dataset.images.name(index) in names]


class _Comparison:
    """Compares the images with each other; `positions` are those in `indices`."""

    def __init__(
        self, dataset: Dataset, splits: dict[int, str], indices: np.ndarray, thumbnails: np.ndarray
    ):
        self.dataset, self.indices, self.thumbnails = dataset, indices, thumbnails
        self.splits = [splits[index] for index in indices.tolist()]
        self.original: list[int] = []  # the first position with the same content
        first: dict[str, int] = {}
        for position, index in enumerate(indices.tolist()):
            self.original.append(first.setdefault(dataset.hashes[index], position))

    def copies(self) -> list[Pair]:
        return [
            self._pair(first, second, None)
            for second, first in enumerate(self.original)
            if first != second
        ]

    def near_duplicates(self) -> list[Pair]:
        positions = np.unique(np.array(self.original, np.int64))
        pairs, correlations = near_duplicates(self.thumbnails[positions])
        return [
            self._pair(first, second, correlation)
            for (first, second), correlation in zip(
                positions[pairs].tolist(), correlations.tolist(), strict=True
            )
        ]

    def _pair(self, first: int, second: int, correlation: float | None) -> Pair:
        indices = self.indices[[first, second]]
        labels = self.dataset.labels[indices]
        return Pair(
            int(indices[0]),
            int(indices[1]),
            correlation,
            (self.splits[first], self.splits[second]),
            bool(labels[0] == labels[1]),
        )
