"""Frozen features, computed once and kept on disk.

A store is a folder. Its name is the digest of everything that its features depend on. It holds

    key.json                everything that the features depend on, for people to read
    00000-1a2b3c4d.bin      shards: arrays of shape (images, views, *map) without a header; the name
                            ends with the CRC-32 of all bytes
    00001.lock              the claim of the process that computes this shard
    complete                written last: without it, the store is unfinished
    content-1a2b3c4d.txt    optional: a line for each image, the hash of its content (its file's
                            bytes); the name ends with the CRC-32 of the text

A shard is written under a temporary name and renamed, so it is whole or absent. Any number of
processes that share the file system fill one store together: each claims some of the missing
shards, and no process computes a shard that another one has claimed. A claim ends with its process,
even if that is killed, and the other processes take over. Each process that uses a store holds a
lock file KEY.….lock next to it.

    python -m data.feature_store list
    python -m data.feature_store prune [KEY ...]
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import logging
import shlex
import shutil
import sys
import time
import uuid
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import filelock
import numpy as np
from tqdm import tqdm

import files
from conf.paths import expanded
from data.inputs import ArrayInputs
from data.locks import locked
from data.progress import progress
from errors import UserError

SHARD_BYTES = 64 * 2**20  # large enough to read at the disk's full rate, cheap enough to recompute
SPARE_BYTES = 256 * 2**20  # left free on the disk
EXTRACTION_BATCH = 32  # images per call of the backbone
MAX_CLAIMED = 16  # shards, by one process at a time
WAIT_SECONDS = 0.5  # between two attempts to claim a shard
RESUME = "start the run again: it resumes after the last complete shard"

logger = logging.getLogger(__name__)

Extract = Callable[[np.ndarray], Iterator[np.ndarray]]


class FeatureStore:
    """The features of one data set under one frozen backbone.

    Args:
        root: the folder of all stores.
        key: everything that the features depend on, JSON-serialisable.
        indices: the images, sorted, int64 of shape (n,).
        shape: of one feature map, (H, W, C).
        dtype: of the features.
        views: 1, or 2 to store the features of the mirrored images too.
    """

    def __init__(
        self, root: Path, key: dict, indices: np.ndarray, shape: tuple, dtype: str, views: int
    ):
        self.indices, self.shape, self.dtype, self.views = indices, shape, np.dtype(dtype), views
        self.sample_bytes = views * int(np.prod(shape)) * self.dtype.itemsize
        # The last bits of a feature may depend on the other images of its batch. Shards of whole
        # batches give an image the same batch, whichever process computes the shard.
        batches = max(1, SHARD_BYTES // (self.sample_bytes * EXTRACTION_BATCH))
        self.shard_size = batches * EXTRACTION_BATCH
        self.key = key | {"shape": list(shape), "dtype": str(self.dtype), "views": views}
        self.key["shard_rows"] = self.shard_size
        text = json.dumps(self.key, sort_keys=True)
        self.folder = Path(root) / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self._shards: dict[int, Path] = {}

    @property
    def complete(self) -> bool:
        """Whether all shards were written; they may have been damaged since."""
        return (self.folder / "complete").exists()

    def open(self, extract: Extract) -> ArrayInputs:
        """Computes the shards that are missing or damaged, and opens the store for reading.

        Processes that open the same store at the same time divide the missing shards among them;
        each returns when all shards are there.

        Args:
            extract: computes features. It takes indices of shape (n,), and yields arrays of shape
                (b, views, *shape) that together cover the indices in their order.

        Raises:
            UserError: shards are missing, and the folder cannot be written or the disk is full.
        """
        shards = range(-(-len(self.indices) // self.shard_size))
        with contextlib.ExitStack() as stack:
            try:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                with locked(self.folder.with_suffix(".lock")):  # `_remove` does not run meanwhile
                    use = self.folder.with_suffix(f".{uuid.uuid4().hex}.lock")
                    stack.enter_context(locked(use))
                    self.folder.mkdir(exist_ok=True)
            except OSError as error:
                if self._missing(shards):
                    raise UserError(
                        f"trainer.feature_dir={self.folder.parent}: cannot be written, or has no "
                        f"file locks ({error.strerror}); set it to another folder, or set "
                        "trainer.feature_store=false"
                    ) from error
            else:
                self._fill(self._missing(shards), extract)
            self._shards = self._stored()
            inputs = ArrayInputs(self.indices, self._take, self.shape, self.dtype, self.views)
            weakref.finalize(inputs, stack.pop_all().close)
        return inputs

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

    def _fill(self, missing: list[int], extract: Extract) -> None:
        if missing:
            with files.explain_write_errors(self.folder, RESUME):
                (self.folder / "complete").unlink(missing_ok=True)
            self._check_room(missing)
            self._save("key.json", json.dumps(self.key, indent=2).encode() + b"\n")
            self._extract(missing, extract)
        if not self.complete:
            self._save("complete", b"")

    def _extract(self, missing: list[int], extract: Extract) -> None:
        """Computes the missing shards that no other process claims; returns when all are stored."""
        waiting = False
        with progress(self._count(missing), "extracting features") as bar:
            while missing:
                with contextlib.ExitStack() as claims:
                    with files.explain_write_errors(self.folder, RESUME):
                        claimed = self._claim(missing, claims)
                    if claimed:
                        indices = np.concatenate([self._members(shard) for shard in claimed])
                        features = itertools.chain.from_iterable(extract(indices))
                    for shard in claimed:
                        self._write(shard, features, bar)
                if not claimed:
                    if not waiting:
                        logger.info("other processes are filling %s; waiting", self.folder)
                    waiting = True
                    time.sleep(WAIT_SECONDS)
                others = [shard for shard in missing if shard not in claimed]
                missing = self._missing(others)
                bar.update(self._count(others) - self._count(missing))

    def _claim(self, missing: list[int], claims: contextlib.ExitStack) -> list[int]:
        """Claims up to a quarter of the missing shards, which leaves some for other processes.

        Returns:
            The claimed shards; none if other processes hold all claims.
        """
        claimed: list[int] = []
        for shard in missing:
            if len(claimed) == min(MAX_CLAIMED, -(-len(missing) // 4)):
                break
            with contextlib.suppress(filelock.Timeout):
                claims.enter_context(locked(self.folder / f"{shard:05d}.lock", blocking=False))
                if self._missing([shard]):  # not stored meanwhile
                    self._clear(shard)
                    claimed.append(shard)
        return claimed

    def _members(self, shard: int) -> np.ndarray:
        return self.indices[shard * self.shard_size : (shard + 1) * self.shard_size]

    def _count(self, shards: Iterable[int]) -> int:
        return sum(len(self._members(shard)) for shard in shards)

    def _stored(self) -> dict[int, Path]:
        return {int(path.name.split("-")[0]): path for path in self.folder.glob("[0-9]*-*.bin")}

    def _missing(self, shards: Iterable[int]) -> list[int]:
        """The shards that are absent or damaged."""
        stored = self._stored()
        return [shard for shard in shards if shard not in stored or not self._intact(stored[shard])]

    def _intact(self, path: Path) -> bool:
        shard, crc = path.stem.split("-")
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # another process deleted it, because it is damaged
            return False
        size = self._count([int(shard)]) * self.sample_bytes
        return len(content) == size and _crc(content) == crc

    def _clear(self, shard: int) -> None:
        """Deletes a claimed shard's damaged file, and the unfinished file of a killed process."""
        for path in self.folder.glob(f"{shard:05d}-*.bin"):
            logger.warning("%s is damaged; its features are computed again", path)
            path.unlink()
        for path in self.folder.glob(f"unfinished-{shard:05d}-*"):
            shutil.rmtree(path)

    def _check_room(self, missing: list[int]) -> None:
        needed = self._count(missing) * self.sample_bytes
        root = self.folder.parent
        free = shutil.disk_usage(self.folder).free - SPARE_BYTES
        if needed > free:
            raise UserError(
                f"the features need {_gib(needed)} in {root}, {_gib(max(free, 0))} are free; set "
                "trainer.feature_dir to a larger disk, set trainer.feature_store=false, or free "
                f"some with: python -m data.feature_store prune --root {shlex.quote(str(root))}"
            )

    def _write(self, shard: int, features: Iterator[np.ndarray], bar: tqdm) -> None:
        """Takes the shard's features from the iterator, and writes them."""
        content = np.empty((len(self._members(shard)), self.views, *self.shape), self.dtype)
        for sample in content:
            sample[...] = next(features)
            bar.update()
        self._save(f"{shard:05d}-{_crc(content.data)}.bin", content.data)

    def _save(self, name: str, content: bytes | memoryview) -> None:
        with files.atomic_path(self.folder / name, RESUME) as unfinished:
            unfinished.write_bytes(content)

    def _take(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        taken = np.empty((len(positions), *self.shape), self.dtype)
        for i, (position, view) in enumerate(zip(positions, views, strict=True)):
            shard, offset = divmod(int(position), self.shard_size)
            start = (offset * self.views + int(view)) * taken[i].nbytes
            # Not memory-mapped: the pages of a map would count as memory of this process.
            sample = np.fromfile(self._shards[shard], self.dtype, taken[i].size, offset=start)
            taken[i] = sample.reshape(self.shape)
        return taken


def _crc(content: bytes | memoryview) -> str:
    return f"{zlib.crc32(content):08x}"


def _content_name(text: bytes) -> str:
    return f"content-{_crc(text)}.txt"


def _remove(folder: Path) -> bool:
    """Deletes a store unless a process uses it; returns whether it did."""
    with locked(folder.with_suffix(".lock")):  # no process starts to use it meanwhile
        try:
            for path in folder.parent.glob(f"{folder.name}.*.lock"):
                with locked(path, blocking=False):  # also deletes the file of a killed process
                    pass
        except filelock.Timeout:
            return False
        shutil.rmtree(folder)
    return True


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def stores(root: Path) -> list[tuple[Path, dict, int, bool]]:
    """The stores in `root`: folder, key, size in bytes, and whether it is complete."""
    listed = []
    for folder in sorted(path.parent for path in Path(root).glob("*/key.json")):
        size = sum(file.stat().st_size for file in folder.iterdir())
        key = files.read_json(folder / "key.json")
        listed.append((folder, key, size, (folder / "complete").exists()))
    return listed


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.feature_store", description="Lists or deletes stored features."
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
        if prune and not _remove(folder):
            state = "in use: kept"
        else:
            total += size
        print(f"{folder.name}  {_gib(size):>11}  {state:12}  {key['data']}  {key['backbone']}")
    print(f"{_gib(total)} {'freed in' if prune else 'in'} {options.root}")


if __name__ == "__main__":
    from commands.running import run_command  # only here: this module is a command then

    run_command(main)
