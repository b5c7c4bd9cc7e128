"""The inputs of a model, read by index: images, stored features, or descriptors.

All have the same interface, so one pipeline (`data/pipeline.py`) feeds every stage:
`evaluation(indices, mirrored)` returns fixed views, `training(indices, seed, epoch)` random views
that depend only on seed, epoch and index.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from conf.schema import DataConfig, Region
from data import decoding
from data.collection import Box, ImageSource
from data.content import content_hash

Take = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Inputs(Protocol):
    """Samples of one shape; both methods return an array of shape (len(indices), *shape)."""

    shape: tuple[int, ...]  # of one sample
    dtype: np.dtype

    def evaluation(self, indices: np.ndarray, mirrored: bool = False) -> np.ndarray: ...
    def training(self, indices: np.ndarray, seed: int, epoch: int) -> np.ndarray: ...


class ImageInputs:
    """Images, decoded and cropped on demand: uint8, RGB.

    Args:
        source: the images.
        config: crops and sizes.
        hashes: receives the content hash of each image that is read. Default: `None`, no hashes.
    """

    def __init__(
        self, source: ImageSource, config: DataConfig, hashes: dict[int, str] | None = None
    ):
        self.source, self.config, self.hashes = source, config, hashes
        self.shape: tuple[int, ...] = (config.image_size, config.image_size, 3)
        self.dtype = np.dtype(np.uint8)

    def evaluation(self, indices: np.ndarray, mirrored: bool = False) -> np.ndarray:
        views = []
        for index in indices:
            encoded, name, box = self._file(index)
            views.append(decoding.evaluation_view(encoded, name, self.config, box))
        return decoding.mirror(np.stack(views)) if mirrored else np.stack(views)

    def training(self, indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        views = []
        for index in indices:
            rng = np.random.default_rng([seed, epoch, index])
            encoded, name, box = self._file(index)
            views.append(decoding.training_view(encoded, name, self.config, rng, box))
        return np.stack(views)

    def _file(self, index: int) -> tuple[bytes, str, Box | None]:
        encoded = self.source.encoded(index)
        if self.hashes is not None:
            self.hashes[int(index)] = content_hash(encoded)
        box = self.source.box(index) if self.config.crop is Region.box else None
        return encoded, self.source.name(index), box


class ArrayInputs:
    """Stored views of each image: one, or two if the mirrored image is stored too.

    Args:
        indices: the image of each entry, sorted, int64 of shape (n,).
        take: reads entries: `take(positions, views)`, both int64 of shape (b,), returns an array
            of shape (b, *shape).
        shape: of one sample.
        dtype: of the samples.
        views: of which training takes one at random: 1, or 2 with the mirrored one. The mirrored
            view may be stored for evaluation only.
    """

    def __init__(self, indices: np.ndarray, take: Take, shape: tuple[int, ...], dtype, views: int):
        self.indices, self.take, self.views = indices, take, views
        self.shape, self.dtype = shape, np.dtype(dtype)

    def evaluation(self, indices: np.ndarray, mirrored: bool = False) -> np.ndarray:
        positions = np.searchsorted(self.indices, indices)
        return self.take(positions, np.full(len(indices), int(mirrored)))

    def training(self, indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        positions = np.searchsorted(self.indices, indices)
        if self.views == 1:
            return self.take(positions, np.zeros(len(indices), np.int64))
        views = [np.random.default_rng([seed, epoch, index]).integers(2) for index in indices]
        return self.take(positions, np.array(views))


class MemoryInputs(ArrayInputs):
    """Stored views in memory.

    Args:
        indices: see `ArrayInputs`.
        array: of shape (stored views, n, ...).
        views: see `ArrayInputs`. Default: all stored views.
    """

    def __init__(self, indices: np.ndarray, array: np.ndarray, views: int | None = None):
        def take(positions, views):
            return array[views, positions]

        super().__init__(indices, take, array.shape[2:], array.dtype, views or len(array))
        self.array = array
