"""Frozen features, computed once and kept on disk, in the shards of a `ShardStore`.

A shard is an array of shape (images, views, *map). The folder also holds

    content-1a2b3c4d.txt    optional: a line for each image, the hash of its content (its file's
                            bytes); the name ends with the CRC-32 of the text

The commands list or delete all stores of a folder, those of inner products too:

    python -m data.feature_store list
    python -m data.feature_store prune [KEY ...]
"""

import argparse
import contextlib
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

import files
from conf.paths import expanded
from data.inputs import ArrayInputs
from data.shard_store import ShardStore, crc, gib, remove, stores
from errors import UserError

SHARD_BYTES = 64 * 2**20  # large enough to read at the disk's full rate, cheap enough to recompute
EXTRACTION_BATCH = 32  # images per call of the backbone

Extract = Callable[[np.ndarray], Iterator[np.ndarray]]


class FeatureStore(ShardStore):
    """The features of one data set under one frozen backbone.

    Args:
        root: the folder of all stores.
        key: everything that the features depend on, JSON-serialisable.
        indices: the images, sorted, int64 of shape (n,).
        shape: of one feature map, (H, W, C).
        dtype: of the features.
        views: 1, or 2 to store the features of the mirrored images too.
    """

    content_name, doing, unit = "features", "extracting features", "image"

    def __init__(
        self, root: Path, key: dict, indices: np.ndarray, shape: tuple, dtype: str, views: int
    ):
        self.indices, self.shape, self.dtype, self.views = indices, shape, np.dtype(dtype), views
        self.sample_bytes = views * int(np.prod(shape)) * self.dtype.itemsize
        # The last bits of a feature may depend on the other images of its batch. Shards of whole
        # batches give an image the same batch, whichever process computes the shard.
        batches = max(1, SHARD_BYTES // (self.sample_bytes * EXTRACTION_BATCH))
        self.shard_size = batches * EXTRACTION_BATCH
        key = key | {"shape": list(shape), "dtype": str(self.dtype), "views": views}
        super().__init__(root, key | {"shard_rows": self.shard_size})
        self._shards: dict[int, Path] = {}

    def open(self, extract: Extract) -> ArrayInputs:
        """Fills the store, see `ShardStore.fill`, and opens it for reading.

        Args:
            extract: computes features. It takes indices of shape (n,), and yields arrays of shape
                (b, views, *shape) that together cover the indices in their order.

        Raises:
            UserError: see `ShardStore.fill`.
        """
        self._extract = extract
        lock = self.fill()
        self._shards = self.paths()
        inputs = ArrayInputs(self.indices, self._take, self.shape, self.dtype, self.views)
        weakref.finalize(inputs, lock.close)
        return inputs

    def shards(self) -> range:
        return range(-(-len(self.indices) // self.shard_size))

    def size(self, shard: int) -> int:
        return len(self._members(shard))

    def shard_bytes(self, shard: int) -> int:
        return self.size(shard) * self.sample_bytes

    def compute(self, shards: list[int], bar: tqdm) -> Iterator[np.ndarray]:
        indices = np.concatenate([self._members(shard) for shard in shards])
        features = itertools.chain.from_iterable(self._extract(indices))
        for shard in shards:
            content = np.empty((self.size(shard), self.views, *self.shape), self.dtype)
            for sample in content:
                sample[...] = next(features)
                bar.update()
            yield content

    def content(self) -> list[str] | None:
        """Returns the stored content hash of each image, in the order of `indices`.

        Returns `None` if there is none, as in stores of earlier versions, or if it is damaged.
        """
        for path in self.folder.glob("content-*.txt"):
            with contextlib.suppress(OSError):  # another process replaces it
                text = path.read_bytes()
                if path.name == _content_name(text):
                    hashes = text.decode().split()
                    return hashes if len(hashes) == len(self.indices) else None
        return None

    def save_content(self, hashes: list[str]) -> None:
        """Stores the content hash of each image; does nothing if the disk is full.

        Several processes may do so at once: they write the same file.
        """
        text = "".join(f"{each}\n" for each in hashes).encode()
        # If it fails, the next run computes the hashes again.
        with contextlib.suppress(OSError, UserError):
            with files.atomic_path(self.folder / _content_name(text)) as unfinished:
                unfinished.write_bytes(text)
            for path in self.folder.glob("content-*.txt"):
                if path.name != _content_name(text):  # damaged
                    path.unlink(missing_ok=True)

    def _members(self, shard: int) -> np.ndarray:
        return self.indices[shard * self.shard_size : (shard + 1) * self.shard_size]

    def _take(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        taken = np.empty((len(positions), *self.shape), self.dtype)
        for i, (position, view) in enumerate(zip(positions, views, strict=True)):
            shard, offset = divmod(int(position), self.shard_size)
            start = (offset * self.views + int(view)) * taken[i].nbytes
            # Not memory-mapped: the pages of a map would count as memory of this process.
            sample = np.fromfile(self._shards[shard], self.dtype, taken[i].size, offset=start)
            taken[i] = sample.reshape(self.shape)
        return taken


def _content_name(text: bytes) -> str:
    return f"content-{crc(text)}.txt"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.feature_store",
        description="Lists or deletes stored features and inner products.",
    )
    parser.add_argument(
        "action", choices=["list", "prune"], help="prune deletes every store that no run is using"
    )
    parser.add_argument("keys", nargs="*", help="only these stores (default: all)")
    parser.add_argument("--root", type=expanded, default=Path("features"), help="default: features")
    options = parser.parse_args(arguments)
    listed = stores(options.root)
    unknown = set(options.keys) - {folder.name for folder, *_ in listed}
    if unknown:
        sys.exit(f"no such store in {options.root}: {', '.join(sorted(unknown))}")
    prune, total = options.action == "prune", 0
    for folder, key, size, complete in listed:
        if options.keys and folder.name not in options.keys:
            continue
        state = "complete" if complete else "unfinished"
        if prune and not remove(folder):
            state = "in use: kept"
        else:
            total += size
        content = key.get("content", FeatureStore.content_name)  # inner products have the key
        description = f"{content:14}  {key['data']}  {key['backbone']}"
        print(f"{folder.name}  {gib(size):>11}  {state:12}  {description}")
    print(f"{gib(total)} {'freed in' if prune else 'in'} {options.root}")


if __name__ == "__main__":
    from commands.running import run_command  # only here: this module is a command then

    run_command(main)
