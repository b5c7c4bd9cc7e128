"""What a model can read, each as arrays at random access: pictures, stored features, descriptors.

All three answer the same two questions, so that one pipeline (`data/pipeline.py`) feeds any stage:
`evaluation(rows, mirrored)` gives the fixed views, `training(rows, seed, epoch)` random ones that
depend on (seed, epoch, row) alone.
"""

from typing import Protocol

import numpy as np

from conf.schema import DataConfig
from data import pictures
from data.datasets import Pictures


class Inputs(Protocol):
    shape: tuple[int, ...]  # of one sample
    dtype: np.dtype

    def evaluation(self, rows: np.ndarray, mirrored: bool = False) -> np.ndarray: ...
    def training(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray: ...


class PictureInputs:
    """Pictures, decoded and cropped as they are asked for: uint8, RGB."""

    def __init__(self, source: Pictures, config: DataConfig):
        self.source, self.config = source, config
        self.shape = (config.image_size, config.image_size, 3)
        self.dtype = np.dtype(np.uint8)

    def evaluation(self, rows: np.ndarray, mirrored: bool = False) -> np.ndarray:
        views = [
            pictures.evaluation_view(self.source.encoded(row), self.source.name(row), self.config)
            for row in rows
        ]
        return pictures.mirror(np.stack(views)) if mirrored else np.stack(views)

    def training(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        return np.stack(
            [
                pictures.training_view(
                    self.source.encoded(row), self.source.name(row), self.config,
                    np.random.default_rng([seed, epoch, row]),
                )
                for row in rows
            ]
        )


class ArrayInputs:
    """Stored views of each sample: one, or two where the mirrored picture was stored too.

    Args:
        rows: which picture each entry belongs to, sorted, int64 of shape (n,).
        take: reads entries: `take(positions, views)`, both int64 of shape (b,), gives an array of
            shape (b, ...).
        shape: of one sample.
        dtype: of one sample.
        views: 1, or 2 with mirrored ones; with 2, training takes either at random.
    """

    def __init__(self, rows: np.ndarray, take, shape: tuple[int, ...], dtype, views: int):
        self.rows, self.take, self.views = rows, take, views
        self.shape, self.dtype = shape, np.dtype(dtype)

    def evaluation(self, rows: np.ndarray, mirrored: bool = False) -> np.ndarray:
        positions = np.searchsorted(self.rows, rows)
        return self.take(positions, np.full(len(rows), int(mirrored)))

    def training(self, rows: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        positions = np.searchsorted(self.rows, rows)
        if self.views == 1:
            return self.take(positions, np.zeros(len(rows), np.int64))
        views = [np.random.default_rng([seed, epoch, row]).integers(2) for row in rows]
        return self.take(positions, np.array(views))


class MemoryInputs(ArrayInputs):
    """Views that are held in memory.

    Args:
        rows: see `ArrayInputs`.
        array: of shape (views, n, ...).
    """

    def __init__(self, rows: np.ndarray, array: np.ndarray):
        def take(positions, views):
            return array[views, positions]

        super().__init__(rows, take, array.shape[2:], array.dtype, len(array))
        self.array = array
