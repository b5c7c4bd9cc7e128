"""A folder of shards that several processes compute together; each shard is whole or absent.

The folder's name is the digest of a key: everything that the content depends on. It holds

    key.json                everything that the content depends on, for people to read
    00000-1a2b3c4d.bin      shards: arrays without a header; the name ends with the CRC-32 of all
                            bytes
    00001.lock              the claim of the process that computes this shard
    complete                written last: without it, the store is unfinished

A shard is written under a temporary name and renamed. Any number of processes that share the file
system fill one store together: each claims some of the missing shards, and no process computes a
shard that another one has claimed. A claim ends with its process, even if that is killed, and the
other processes take over. Each process that uses a store holds a lock file KEY.….lock next to it.
"""

import abc
import contextlib
import hashlib
import json
import logging
import shlex
import shutil
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock
import numpy as np
from tqdm import tqdm

import files
from data.locks import locked
from data.progress import progress
from errors import UserError

SPARE_BYTES = 256 * 2**20  # left free on the disk
MAX_CLAIMED = 16  # shards, by one process at a time
WAIT_SECONDS = 0.5  # between two attempts to claim a shard
RESUME = "start the run again: it resumes after the last complete shard"

logger = logging.getLogger(__name__)


class CannotStore(UserError):
    """A store is not complete, and nothing can be written into its folder."""


class ShardStore(abc.ABC):
    """A store; a subclass says what its shards contain.

    Args:
        root: the folder of all stores.
        key: everything that the content depends on, JSON-serialisable.

    Attributes:
        content_name: what the store holds, for messages.
        doing: what computing it is called, for the progress bar.
        unit: what the progress bar counts.
    """

    content_name: str
    doing: str
    unit: str

    def __init__(self, root: Path, key: dict):
        self.key = key
        text = json.dumps(key, sort_keys=True)
        self.folder = Path(root) / hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    @abc.abstractmethod
    def shards(self) -> range:
        """Returns the numbers of all shards."""

    @abc.abstractmethod
    def size(self, shard: int) -> int:
        """Returns the number of items of a shard, which the progress bar counts."""

    @abc.abstractmethod
    def shard_bytes(self, shard: int) -> int:
        """Returns the size of a shard's content."""

    @abc.abstractmethod
    def compute(self, shards: list[int], bar: tqdm) -> Iterator[np.ndarray]:
        """Yields the content of each of the given shards, and updates the progress bar."""

    def most_claimed(self, missing: int) -> int:
        """Returns how many of the missing shards this process computes at a time."""
        return min(MAX_CLAIMED, -(-missing // 4))  # the others are left for other processes

    @property
    def complete(self) -> bool:
        """Whether all shards were written; they may have been damaged since."""
        return (self.folder / "complete").exists()

    def fill(self) -> contextlib.ExitStack:
        """Computes the shards that are missing or damaged.

        Processes that fill the same store at the same time divide the missing shards among them;
        each returns when all shards are there.

        Returns:
            The lock that says that this process uses the store; to be closed when it does not.

        Raises:
            UserError: shards are missing, and the folder cannot be written or the disk is full; a
                `CannotStore`, if that is so before any is computed.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                with locked(self.folder.with_suffix(".lock")):  # `remove` does not run meanwhile
                    use = self.folder.with_suffix(f".{uuid.uuid4().hex}.lock")
                    stack.enter_context(locked(use))
                    self.folder.mkdir(exist_ok=True)
            except OSError as error:
                if self._missing(self.shards()):
                    raise CannotStore(
                        f"trainer.feature_dir={self.folder.parent}: cannot be written, or has no "
                        f"file locks ({error.strerror}); set it to another folder, or set "
                        "trainer.feature_store=false"
                    ) from error
            else:
                self._fill(self._missing(self.shards()))
            return stack.pop_all()

    def _fill(self, missing: list[int]) -> None:
        if missing:
            with files.explain_write_errors(self.folder, RESUME):
                (self.folder / "complete").unlink(missing_ok=True)
            self._check_room(missing)
            self._save("key.json", json.dumps(self.key, indent=2).encode() + b"\n")
            self._compute(missing)
        if not self.complete:
            self._save("complete", b"")

    def _compute(self, missing: list[int]) -> None:
        """Computes the missing shards that no other process claims; returns when all are stored."""
        waiting = False
        with progress(self._count(missing), self.doing, self.unit) as bar:
            while missing:
                with contextlib.ExitStack() as claims:
                    with files.explain_write_errors(self.folder, RESUME):
                        claimed = self._claim(missing, claims)
                    contents = self.compute(claimed, bar) if claimed else ()
                    for shard, content in zip(claimed, contents, strict=True):
                        self._save(f"{shard:05d}-{crc(content.data)}.bin", content.data)
                if not claimed:
                    if not waiting:
                        logger.info("other processes are filling %s; waiting", self.folder)
                    waiting = True
                    time.sleep(WAIT_SECONDS)
                others = [shard for shard in missing if shard not in claimed]
                missing = self._missing(others)
                bar.update(self._count(others) - self._count(missing))

    def _claim(self, missing: list[int], claims: contextlib.ExitStack) -> list[int]:
        """Claims some of the missing shards.

        Returns:
            The claimed shards; none if other processes hold all claims.
        """
        claimed: list[int] = []
        for shard in missing:
            if len(claimed) == self.most_claimed(len(missing)):
                break
            with contextlib.suppress(filelock.Timeout):
                claims.enter_context(locked(self.folder / f"{shard:05d}.lock", blocking=False))
                if self._missing([shard]):  # not stored meanwhile
                    self._clear(shard)
                    claimed.append(shard)
        return claimed

    def _count(self, shards: Iterable[int]) -> int:
        return sum(map(self.size, shards))

    def paths(self) -> dict[int, Path]:
        """Returns the file of each stored shard."""
        return {int(path.name.split("-")[0]): path for path in self.folder.glob("[0-9]*-*.bin")}

    def _missing(self, shards: Iterable[int]) -> list[int]:
        """The shards that are absent or damaged."""
        stored = self.paths()
        return [shard for shard in shards if shard not in stored or not self._intact(stored[shard])]

    def _intact(self, path: Path) -> bool:
        shard, expected = path.stem.split("-")
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # another process deleted it, because it is damaged
            return False
        return len(content) == self.shard_bytes(int(shard)) and crc(content) == expected

    def _clear(self, shard: int) -> None:
        """Deletes a claimed shard's damaged file, and the unfinished file of a killed process."""
        for path in self.folder.glob(f"{shard:05d}-*.bin"):
            logger.warning("%s is damaged; it is computed again", path)
            path.unlink()
        for path in self.folder.glob(f"unfinished-{shard:05d}-*"):
            shutil.rmtree(path)

    def _check_room(self, missing: list[int]) -> None:
        needed = sum(map(self.shard_bytes, missing))
        root = self.folder.parent
        free = shutil.disk_usage(self.folder).free - SPARE_BYTES
        if needed > free:
            raise CannotStore(
                f"the {self.content_name} need {gib(needed)} in {root}, {gib(max(free, 0))} are "
                "free; set trainer.feature_dir to a larger disk, set trainer.feature_store=false, "
                "or free some with: "
                f"python -m data.feature_store prune --root {shlex.quote(str(root))}"
            )

    def _save(self, name: str, content: bytes | memoryview) -> None:
        with files.atomic_path(self.folder / name, RESUME) as unfinished:
            unfinished.write_bytes(content)


def crc(content: bytes | memoryview) -> str:
    return f"{zlib.crc32(content):08x}"


def remove(folder: Path) -> bool:
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


def gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def stores(root: Path) -> list[tuple[Path, dict, int, bool]]:
    """The stores in `root`: folder, key, size in bytes, and whether it is complete."""
    listed = []
    for folder in sorted(path.parent for path in Path(root).glob("*/key.json")):
        size = sum(file.stat().st_size for file in folder.iterdir())
        key = files.read_json(folder / "key.json")
        listed.append((folder, key, size, (folder / "complete").exists()))
    return listed
