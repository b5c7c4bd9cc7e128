"""The inner products of all pairs of descriptors, computed once and kept on disk.

A shard is a band of the upper half of the symmetric matrix: for the samples from `start` to
`stop`, their products with the samples from `start` to the last one. Descriptors have 10^5 to 10^6
dimensions, so only some of them are in memory at a time: those of the shards that are computed, and
some others, which pass by.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data.shard_store import ShardStore
from training.gram_matrix import column_blocks

SHARD_SAMPLES = 64  # a multiple of every number of samples that are described at a time
PASSING = 4  # shards that pass by at a time, if memory allows: wide products are faster
DESCRIBED_BYTES = 16 * 2**20  # of descriptors computed at a time; allocating larger arrays is slow
COLUMNS = 2**13  # dimensions whose products are summed in the descriptors' own dtype

Describe = Callable[[np.ndarray], np.ndarray]


def describe_in_batches(
    samples: np.ndarray, describe: Describe, size: int, out: np.ndarray
) -> None:
    """Writes the descriptors of samples into `out`.

    The last bits of a descriptor may depend on the other samples of its batch. Batches always begin
    at multiples of their length, so a sample is always in the same batch.

    Args:
        samples: their numbers; the samples of whole shards, where last bits matter.
        describe: returns the descriptors of samples, (b, D).
        size: the number of dimensions, D.
        out: of shape (len(samples), D).
    """
    batch = batch_samples(size, out.itemsize)
    for start in range(0, len(samples), batch):
        out[start : start + batch] = describe(samples[start : start + batch])


def batch_samples(size: int, itemsize: int = 4) -> int:
    """Returns how many samples are described at a time: a power of 2, at most 32."""
    fitting = max(1, DESCRIBED_BYTES // (size * itemsize))
    return 1 << min(5, fitting.bit_length() - 1)


class GramStore(ShardStore):
    """The inner products of n descriptors.

    Args:
        root: the folder of all stores.
        key: everything that the descriptors depend on, JSON-serialisable.
        count: the number of descriptors, n.
        size: the number of their dimensions, D.
        dtype: of the descriptors, and of the stored products.
        budget: bytes of descriptors that may be in memory.
    """

    content_name, doing, unit = "inner products", "inner products", "product"

    def __init__(self, root: Path, key: dict, count: int, size: int, dtype: str, budget: float):
        self.count, self.dimensions, self.dtype = count, size, np.dtype(dtype)
        key = key | {"content": self.content_name, "samples": count, "dimensions": size}
        super().__init__(root, key | {"dtype": str(self.dtype), "shard_rows": SHARD_SAMPLES})
        in_memory = int((budget - DESCRIBED_BYTES) // (SHARD_SAMPLES * size * self.dtype.itemsize))
        self._passing = max(1, min(PASSING, in_memory // 8))
        self._kept = max(1, in_memory - self._passing)

    def open(self, describe: Describe) -> np.ndarray:
        """Fills the store, see `ShardStore.fill`; returns the whole matrix, (n, n).

        Args:
            describe: returns the descriptors of samples, numbered from 0 to n - 1, (b, D).

        Raises:
            UserError: see `ShardStore.fill`.
        """
        self._describe = describe
        with self.fill():
            matrix = np.empty((self.count, self.count), self.dtype)
            for shard, path in self.paths().items():
                own = self._samples(shard)
                start, stop = own[0], own[-1] + 1
                block = np.fromfile(path, self.dtype).reshape(len(own), self.count - start)
                matrix[start:stop, start:] = block
                matrix[start:, start:stop] = block.T
        return matrix

    def shards(self) -> range:
        return range(-(-self.count // SHARD_SAMPLES))

    def size(self, shard: int) -> int:
        own = self._samples(shard)
        return len(own) * (self.count - int(own[0]))

    def shard_bytes(self, shard: int) -> int:
        return self.size(shard) * self.dtype.itemsize

    def most_claimed(self, missing: int) -> int:
        # A shard that is computed alone takes as long as several together: others wait for less.
        return self._kept

    def compute(self, shards: list[int], bar: tqdm) -> Iterator[np.ndarray]:
        kept = np.empty(
            (sum(len(self._samples(shard)) for shard in shards), self.dimensions), self.dtype
        )
        places, start = {}, 0  # of the descriptors of each shard in `kept`
        contents = {}
        for shard in shards:
            own = self._samples(shard)
            places[shard] = slice(start, start + len(own))
            start += len(own)
            contents[shard] = np.empty((len(own), self.count - own[0]), self.dtype)
        passing = np.empty((self._passing * SHARD_SAMPLES, self.dimensions), self.dtype)
        others = [shard for shard in range(shards[0], len(self.shards())) if shard not in places]
        for group in [*_groups(shards, PASSING), *_groups(others, self._passing)]:
            samples = np.concatenate([self._samples(shard) for shard in group])
            if group[0] in places:
                block = kept[places[group[0]].start : places[group[-1]].stop]
            else:
                block = passing[: len(samples)]
            describe_in_batches(samples, self._describe, self.dimensions, block)
            before = [shard for shard in shards if shard <= group[-1]]
            products = inner_products(kept[: places[before[-1]].stop], block)
            for shard in before:
                first = shard * SHARD_SAMPLES
                behind = samples >= first
                upper = products[places[shard]][:, behind]
                contents[shard][:, samples[behind] - first] = upper
                bar.update(upper.size)
        yield from contents.values()

    def _samples(self, shard: int) -> np.ndarray:
        return np.arange(shard * SHARD_SAMPLES, min((shard + 1) * SHARD_SAMPLES, self.count))


def _groups(shards: list[int], size: int) -> Iterator[list[int]]:
    """Yields at most `size` shards at a time."""
    for start in range(0, len(shards), size):
        yield shards[start : start + size]


def inner_products(samples: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the products of each of n samples with each of m others, float64, (n, m).

    The products of `COLUMNS` dimensions have the arrays' dtype; their sum is float64.
    """
    total = np.zeros((len(samples), len(others)))
    for block in column_blocks(samples.shape[1], COLUMNS):
        total += samples[:, block] @ others[:, block].T
    return total
