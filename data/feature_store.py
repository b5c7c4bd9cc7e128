"""Frozen features, computed once and kept on disk.

A store is a folder named by the digest of all that its features depend on. It holds

    key.json                what they depend on, to read
    00000-1a2b3c4d.bin      shards: bare numbers of shape (pictures, views, *map), each named with
                            the CRC-32 of all its bytes
    00001.part              a shard that is being made, locked by the process that makes it
    complete                written last: without it, the store is still being made

A shard is renamed when it is whole, so that it is whole or absent. Any number of processes that
share the file system fill one store together: each claims some of the missing shards, and none
makes what another one has claimed. The claim of a process that ends, however it ends, ends with it,
and the others take over. All who use a store hold the file KEY.lock beside it.

    python -m data.feature_store list
    python -m data.feature_store prune [KEY ...]
"""

import argparse
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import sys
import time
import uuid
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.inputs import ArrayInputs
from data.progress import progress
from errors import UserError

SHARD_BYTES = 64 * 2**20  # large enough to read at the disk's full rate, small enough to redo
SPARE_BYTES = 256 * 2**20  # left free on the disk
PIECE_BYTES = 2**20  # read at a time to check a shard
EXTRACTION_BATCH = 32  # pictures that a backbone sees at once
MOST_CLAIMED = 16  # shards, by one process at a time
WAIT_SECONDS = 0.5  # until a process that found nothing to claim looks again


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
        self,
        root: Path,
        key: dict,
        indices: np.ndarray,
        shape: tuple[int, ...],
        dtype: str,
        views: int,
    ):
        self.indices, self.shape, self.dtype, self.views = indices, shape, np.dtype(dtype), views
        self.sample_bytes = views * int(np.prod(shape)) * self.dtype.itemsize
        # Whole batches, so that a picture is computed among the same others whoever makes a shard:
        # the last bits of a feature may depend on them.
        batches = max(1, SHARD_BYTES // (self.sample_bytes * EXTRACTION_BATCH))
        self.shard_size = batches * EXTRACTION_BATCH
        self.key = {
            **key,
            "shape": list(shape),
            "dtype": str(self.dtype),
            "views": views,
            "shard_rows": self.shard_size,
        }
        text = json.dumps(self.key, sort_keys=True)
        self.folder = Path(root) / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self._shards: dict[int, Path] = {}

    @property
    def complete(self) -> bool:
        """Whether all shards were made; they may have been damaged since."""
        return (self.folder / "complete").exists()

    def open(self, features_of: Callable[[np.ndarray], Iterator[np.ndarray]]) -> ArrayInputs:
        """Makes what is missing or damaged, and opens the store for reading.

        While others make some of it too, it is shared out, and each waits for all.

        Args:
            features_of: computes features: from rows of shape (n,), the members of some shards,
                arrays of shape (b, views, *shape) that together cover them in their order.

        Raises:
            UserError: the folder cannot be written, or the disk has no room.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            in_use = _locked(self.folder.with_suffix(".lock"), fcntl.LOCK_SH)
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(
                f"trainer.feature_dir={self.folder.parent}: cannot be written, or has no file "
                f"locks ({error.strerror})"
            ) from error
        with contextlib.ExitStack() as held:
            held.enter_context(in_use)
            self._fill(features_of)
            self._shards = self._found()
            inputs = ArrayInputs(self.indices, self._take, self.shape, self.dtype, self.views)
            weakref.finalize(inputs, held.pop_all().close)
        return inputs

    def _fill(self, features_of) -> None:
        missing = self._missing(range(-(-len(self.indices) // self.shard_size)))
        if missing:
            (self.folder / "complete").unlink(missing_ok=True)
            self._check_room(missing)
            self._write_key()
            self._extract(missing, features_of)
        (self.folder / "complete").touch()

    def _extract(self, missing: list[int], features_of) -> None:
        """Makes the missing shards, each unless another process does; returns when all are made."""
        waits = False
        with progress(self._count(missing), "extracting features") as bar:
            while missing:
                with self._claim(missing) as claimed:
                    if claimed:
                        indices = np.concatenate([self._members(shard) for shard in claimed])
                        images = itertools.chain.from_iterable(features_of(indices))
                    for shard, file in claimed.items():
                        self._write(shard, file, images, bar)
                if not claimed:
                    if not waits:
                        print(f"others are filling {self.folder}; waiting for them", flush=True)
                    waits = True
                    time.sleep(WAIT_SECONDS)
                others = [shard for shard in missing if shard not in claimed]
                missing = self._missing(others)
                bar.update(self._count(others) - self._count(missing))

    @contextlib.contextmanager
    def _claim(self, missing: list[int]) -> Iterator[dict[int, BinaryIO]]:
        """The unfinished files of some missing shards, locked: a quarter of those, so that others
        find some too. Empty where others have claimed them all."""
        most = min(MOST_CLAIMED, -(-len(missing) // 4))
        claimed = {}
        try:
            for shard in missing:
                if len(claimed) == most:
                    break
                file = _locked(self._unfinished(shard), fcntl.LOCK_EX | fcntl.LOCK_NB)
                if file is None:
                    continue
                claimed[shard] = file
                if self._missing([shard]):
                    self._remove_damaged(shard)
                else:  # somebody made it just before
                    self._leave(shard, claimed.pop(shard))
            yield claimed
        finally:
            for shard, file in claimed.items():
                self._leave(shard, file)

    def _unfinished(self, shard: int) -> Path:
        return self.folder / f"{shard:05d}.part"

    def _leave(self, shard: int, file: BinaryIO) -> None:
        """Ends the claim of a shard that was renamed, or that was not finished."""
        if _names(self._unfinished(shard), file):
            self._unfinished(shard).unlink()
        file.close()

    def _members(self, shard: int) -> np.ndarray:
        return self.indices[shard * self.shard_size : (shard + 1) * self.shard_size]

    def _count(self, shards: Iterable[int]) -> int:
        return sum(len(self._members(shard)) for shard in shards)

    def _found(self) -> dict[int, Path]:
        return {int(path.name.split("-")[0]): path for path in self.folder.glob("*-*.bin")}

    def _missing(self, shards: Iterable[int]) -> list[int]:
        """Those which are not there, or whose bytes are not those that were written."""
        found = self._found()
        return [shard for shard in shards if shard not in found or not self._is_sound(found[shard])]

    def _is_sound(self, path: Path) -> bool:
        shard, crc = path.stem.split("-")
        try:
            size = path.stat().st_size
            return size == self._count([int(shard)]) * self.sample_bytes and _crc(path) == crc
        except FileNotFoundError:  # somebody else found it damaged, and removed it
            return False

    def _remove_damaged(self, shard: int) -> None:
        """Only who has claimed a shard may do this: else it might be the new one."""
        for path in self.folder.glob(f"{shard:05d}-*.bin"):
            print(f"{path} is damaged; its features are computed again", flush=True)
            path.unlink()

    def _check_room(self, missing: list[int]) -> None:
        needed = self._count(missing) * self.sample_bytes
        free = shutil.disk_usage(self.folder).free - SPARE_BYTES
        if needed > free:
            raise UserError(
                f"the features need {_gib(needed)} in {self.folder.parent}, {_gib(max(free, 0))} "
                "are free; set trainer.feature_dir to a larger disk, free some with "
                "`python -m data.feature_store prune`, or set trainer.feature_store=false"
            )

    def _write_key(self) -> None:
        unfinished = self.folder / f"{uuid.uuid4().hex}.part"  # others may write it meanwhile
        with self._writing():
            unfinished.write_text(json.dumps(self.key, indent=2) + "\n")
            unfinished.rename(self.folder / "key.json")

    def _write(self, shard: int, file: BinaryIO, images: Iterator[np.ndarray], bar) -> None:
        """Takes as many pictures as the shard holds, and leaves the rest to the next one."""
        features, crc = np.empty((self.views, *self.shape), self.dtype), 0
        file.truncate(0)  # of what a process wrote that was killed
        for _ in self._members(shard):
            features[...] = next(images)
            crc = zlib.crc32(features.data, crc)
            with self._writing():
                file.write(features.data)
            bar.update()
        with self._writing():
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the name without the bytes
            self._unfinished(shard).rename(self.folder / f"{shard:05d}-{crc:08x}.bin")

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{self.folder}: writing features failed ({error.strerror}); what was finished is "
                "kept, and the next run goes on from there"
            ) from error

    def _take(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        taken = np.empty((len(positions), *self.shape), self.dtype)
        for i, (position, view) in enumerate(zip(positions, views, strict=True)):
            shard, offset = divmod(int(position), self.shard_size)
            # Read, not mapped: the pages of a mapped store would count as this process's memory.
            taken[i] = np.fromfile(
                self._shards[shard],
                self.dtype,
                taken[i].size,
                offset=(offset * self.views + int(view)) * taken[i].nbytes,
            ).reshape(self.shape)
        return taken


def _crc(path: Path) -> str:
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            crc = zlib.crc32(piece, crc)
    return f"{crc:08x}"


def _locked(path: Path, how: int) -> BinaryIO | None:
    """Opens a file, which is made where there is none, and locks it as `fcntl.flock` does; None
    where it would have to wait and `how` forbids that. The lock ends when the file is closed, or
    with the process."""
    while True:
        file = path.open("a+b")
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            file.close()
            return None
        if _names(path, file):
            return file
        file.close()  # it was renamed or removed before the lock was there


def _names(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


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
    prune, total = options.action == "prune", 0
    for folder, key, size, complete in found:
        state = "complete" if complete else "unfinished"
        if prune and not _remove(folder):
            state = "in use: kept"
        else:
            total += size
        print(f"{folder.name}  {_gib(size):>11}  {state:12}  {key['data']}  {key['backbone']}")
    print(f"{_gib(total)} {'freed in' if prune else 'in'} {options.root}")


def _remove(folder: Path) -> bool:
    """Frees a store, unless a run reads or fills it."""
    lock = _locked(folder.with_suffix(".lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is None:
        return False
    with lock:
        shutil.rmtree(folder)
        folder.with_suffix(".lock").unlink()
    return True


if __name__ == "__main__":
    main()
