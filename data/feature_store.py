"""Frozen features, computed once and kept on disk.

A store is a folder named by the digest of all that its features depend on. It holds

    key.json                what they depend on, to read
    00000-1a2b3c4d.bin      shards: bare numbers of shape (pictures, views, *map), each named with
                            the CRC-32 of all its bytes
    complete                written last: without it, the store is still being made

A shard is written under another name and renamed, so that it is whole or absent; extraction goes on
at the first missing one. A file lock lets one of several jobs extract while the others wait.

    python -m data.feature_store list
    python -m data.feature_store prune [KEY ...]
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import numpy as np

from data.inputs import ArrayInputs
from data.progress import progress
from errors import UserError

SHARD_BYTES = 64 * 2**20  # large enough to read at the disk's full rate, small enough to redo
SPARE_BYTES = 256 * 2**20  # left free on the disk


class FeatureStore:
    """The features of one data set under one frozen backbone.

    Args:
        root: the folder of all stores.
        key: what the features depend on, JSON-serialisable.
        rows: the pictures, sorted, int64 of shape (n,).
        shape: of one feature map, (H, W, C).
        dtype: of the features.
        views: 1, or 2 to hold the mirrored pictures' features too.
    """

    def __init__(
        self, root: Path, key: dict, rows: np.ndarray, shape: tuple[int, ...], dtype: str,
        views: int,
    ):
        self.rows, self.shape, self.dtype, self.views = rows, shape, np.dtype(dtype), views
        self.key = {**key, "shape": list(shape), "dtype": str(self.dtype), "views": views}
        text = json.dumps(self.key, sort_keys=True)
        self.folder = Path(root) / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        row_bytes = views * int(np.prod(shape)) * self.dtype.itemsize
        self.shard_rows = max(1, SHARD_BYTES // row_bytes)
        self.row_bytes = row_bytes
        self._shards: list[Path] = []

    def open(self, features_of: Callable[[np.ndarray], Iterator[np.ndarray]]) -> ArrayInputs:
        """Makes what is missing or damaged, and opens the store for reading.

        Args:
            features_of: computes features: from rows of shape (n,), arrays of shape
                (b, views, *shape) that together cover them in their order.

        Raises:
            UserError: the disk has no room.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"trainer.feature_dir={self.folder.parent}: cannot be written ({error.strerror})"
            ) from error
        with self._locked():
            self._fill(features_of)
        self._shards = [self._find(shard) for shard in range(self._shard_count())]
        return ArrayInputs(self.rows, self._take, self.shape, self.dtype, self.views)

    @contextlib.contextmanager
    def _locked(self):
        lock = filelock.FileLock(self.folder.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            print(f"another run is filling {self.folder}; waiting for it", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _shard_count(self) -> int:
        return -(-len(self.rows) // self.shard_rows)

    def _members(self, shard: int) -> np.ndarray:
        return self.rows[shard * self.shard_rows : (shard + 1) * self.shard_rows]

    def _find(self, shard: int) -> Path | None:
        return next(self.folder.glob(f"{shard:05d}-*.bin"), None)

    def _fill(self, features_of) -> None:
        missing = [i for i in range(self._shard_count()) if not self._is_sound(i)]
        if missing:
            (self.folder / "complete").unlink(missing_ok=True)
            self._check_room(len(missing))
            (self.folder / "key.json").write_text(json.dumps(self.key, indent=2) + "\n")
            rows = np.concatenate([self._members(shard) for shard in missing])
            pictures = itertools.chain.from_iterable(features_of(rows))
            with progress(len(rows), "extracting features") as bar:
                for shard in missing:
                    self._write(shard, pictures, bar)
        (self.folder / "complete").touch()

    def _is_sound(self, shard: int) -> bool:
        """Whether a shard is there and its bytes are those that were written; else removes it."""
        path = self._find(shard)
        if path is None:
            return False
        size = len(self._members(shard)) * self.row_bytes
        found = np.fromfile(path, np.uint8)
        sound = found.nbytes == size and _crc(found) == path.stem.split("-")[1]
        if not sound:
            print(f"{path} is damaged; its features are computed again", flush=True)
            path.unlink()
        return sound

    def _check_room(self, shards: int) -> None:
        needed = min(len(self.rows), shards * self.shard_rows) * self.row_bytes
        free = shutil.disk_usage(self.folder).free - SPARE_BYTES
        if needed > free:
            raise UserError(
                f"the features need {_gib(needed)} in {self.folder.parent}, {_gib(max(free, 0))} "
                "are free; set trainer.feature_dir to a larger disk, free some with "
                "`python -m data.feature_store prune`, or set trainer.feature_store=false"
            )

    def _write(self, shard: int, pictures: Iterator[np.ndarray], bar) -> None:
        """Takes as many pictures as the shard holds, and leaves the rest to the next one."""
        members = self._members(shard)
        features = np.empty((len(members), self.views, *self.shape), self.dtype)
        for i in range(len(members)):
            features[i] = next(pictures)
            bar.update()
        unfinished = self.folder / f"{shard:05d}.part"
        try:
            with unfinished.open("wb") as file:
                file.write(features.data)
                file.flush()
                os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
            unfinished.rename(self.folder / f"{shard:05d}-{_crc(features)}.bin")
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise UserError(
                f"{self.folder}: writing features failed ({error.strerror}); what was finished is "
                "kept, and the next run goes on from there"
            ) from error

    def _take(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        taken = np.empty((len(positions), *self.shape), self.dtype)
        for i, (position, view) in enumerate(zip(positions, views, strict=True)):
            shard, offset = divmod(int(position), self.shard_rows)
            # Read, not mapped: the pages of a mapped store would count as this process's memory.
            taken[i] = np.fromfile(
                self._shards[shard], self.dtype, taken[i].size,
                offset=(offset * self.views + int(view)) * taken[i].nbytes,
            ).reshape(self.shape)
        return taken


def _crc(array: np.ndarray) -> str:
    return f"{zlib.crc32(array.reshape(-1).view(np.uint8)):08x}"


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def stores(root: Path) -> list[tuple[Path, dict, int, bool]]:
    """The stores below `root`: folder, key, size in bytes, and whether it is complete."""
    return [
        (
            path.parent,
            json.loads(path.read_text()),
            sum(file.stat().st_size for file in path.parent.iterdir()),
            (path.parent / "complete").exists(),
        )
        for path in sorted(Path(root).glob("*/key.json"))
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.feature_store", description="Show or free stored features."
    )
    parser.add_argument("action", choices=["list", "prune"])
    parser.add_argument("keys", nargs="*", help="prune: these only (default: all)")
    parser.add_argument("--root", type=Path, default=Path("features"), help="default: features")
    options = parser.parse_args(arguments)
    found = stores(options.root)
    unknown = set(options.keys) - {folder.name for folder, *_ in found}
    if unknown:
        sys.exit(f"no such store in {options.root}: {', '.join(sorted(unknown))}")
    if options.keys:
        found = [store for store in found if store[0].name in options.keys]
    for folder, key, size, complete in found:
        state = "complete" if complete else "unfinished"
        print(f"{folder.name}  {_gib(size):>11}  {state:10}  {key['data']}  {key['backbone']}")
        if options.action == "prune":
            shutil.rmtree(folder)
            folder.with_suffix(".lock").unlink(missing_ok=True)
    verb = "freed" if options.action == "prune" else "in"
    print(f"{_gib(sum(size for _, _, size, _ in found))} {verb} {options.root}")


if __name__ == "__main__":
    main()
