"""From the configuration to a data set: its pictures, its classes and its splits."""

import concurrent.futures
import dataclasses
import hashlib
import itertools
from pathlib import Path
from typing import Protocol

import numpy as np

from conf.schema import DataConfig
from data import catalog, decoding, image_folder, splits
from data.progress import progress
from errors import UserError


class ImageSource(Protocol):
    """Encoded pictures at random access; reading is safe from several threads at once."""

    labels: np.ndarray  # int64, one a picture

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def key(self, index: int) -> str: ...  # unlike all others', told without reading the picture
    def encoded(self, index: int) -> bytes: ...
    def fingerprint(self) -> str: ...


class Concatenated:
    """Several lots of pictures as one; each lot's names are kept."""

    def __init__(self, parts: list[ImageSource]):
        self.parts = parts
        self.starts = np.cumsum([0] + [len(part) for part in parts])
        self.labels = np.concatenate([part.labels for part in parts])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, index: int) -> str:
        part, offset = self._find(index)
        return part.name(offset)

    def key(self, index: int) -> str:
        part, offset = self._find(index)
        return part.key(offset)

    def encoded(self, index: int) -> bytes:
        part, offset = self._find(index)
        return part.encoded(offset)

    def fingerprint(self) -> str:
        return repr([part.fingerprint() for part in self.parts])

    def _find(self, index: int) -> tuple[ImageSource, int]:
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.parts[number], int(index - self.starts[number])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Pictures with their classes, and the splits as sorted positions among them.

    `splits` has "train" and "test"; "val" too, which is empty with `data.val_fraction=0`.
    """

    name: str
    images: ImageSource
    class_names: list[str]
    splits: dict[str, np.ndarray]
    citation: str
    damaged: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        return self.images.labels

    @property
    def indices(self) -> np.ndarray:
        """Every picture that some split uses, sorted."""
        return np.sort(np.concatenate(list(self.splits.values())))

    def summary(self) -> str:
        """One line: the name, and how many classes and pictures."""
        sizes = ", ".join(f"{len(indices)} {name}" for name, indices in self.splits.items())
        left_out = f"; {len(self.damaged)} damaged left out" if self.damaged else ""
        return f"{self.name}: {len(self.class_names)} classes, pictures: {sizes}{left_out}"

    def keys(self) -> dict[str, list[str]]:
        """The keys of each split's pictures, by which `with_split` finds them again."""
        return {
            name: [self.images.key(index) for index in indices]
            for name, indices in self.splits.items()
        }

    def with_split(self, name: str, keys: list[str]) -> "Dataset":
        """The same data set with one split, of the pictures that have these keys.

        Raises:
            UserError: some are no longer there.
        """
        indices = {self.images.key(index): index for index in range(len(self.images))}
        gone = [key for key in keys if key not in indices]
        if gone:
            raise UserError(
                f"{self.name}: {len(gone)} of the {len(keys)} pictures of the run's {name} split "
                f"are gone, {gone[0]} for one; restore them, or give other data, data.path=FOLDER"
            )
        found = np.sort(np.array([indices[key] for key in keys], np.int64))
        return dataclasses.replace(self, splits={name: found})

    def sizes(self) -> dict[str, int | list[str]]:
        """Pictures of each split, classes, and the names of what is damaged."""
        sizes = {name: len(indices) for name, indices in self.splits.items()}
        return sizes | {"classes": len(self.class_names), "damaged": list(self.damaged)}

    def fingerprint(self) -> str:
        """Identifies the pictures that are used; the same pictures split otherwise share it."""
        digest = hashlib.blake2b(self.images.fingerprint().encode(), digest_size=16)
        digest.update(self.indices.tobytes())
        return digest.hexdigest()


def open_dataset(config: DataConfig, seed: int, disjoint_classes: bool = False) -> Dataset:
    """Opens `config.name`, downloading or generating it first where that is needed.

    A split that the data set does not define is carved from another, stratified and by `seed`:
    the test split from everything, the validation split from training.

    Args:
        config: which data, and how it is divided.
        seed: of the division.
        disjoint_classes: divide by classes instead, see `data/splits.py`; official splits are then
            passed over.

    Raises:
        UserError: the folder or the data set cannot be read; a class is too small to be split;
            there are fewer than two classes; a picture is damaged and `config.skip_damaged` is
            set but leaves a class empty.
    """
    _check(config)
    if config.name == "image_folder":
        source, class_names, parts = image_folder.read_folder(Path(config.path))
        citation = ""
    else:
        source, class_names, parts, citation = _open_catalog(config)
    if config.limit_classes is not None:
        class_names = class_names[: config.limit_classes]
    parts = {
        name: indices[source.labels[indices] < len(class_names)] for name, indices in parts.items()
    }
    if len(class_names) < 2:
        raise UserError(
            f"{config.path or config.name}: has one class only ({class_names[0]}); "
            "telling classes apart takes at least two"
        )
    damaged = _damaged(source, parts) if config.skip_damaged else []
    parts = {name: np.setdiff1d(indices, damaged) for name, indices in parts.items()}
    if disjoint_classes:
        indices = np.sort(np.concatenate(list(parts.values())))
        parts = splits.disjoint_classes(
            indices, source.labels, config.val_fraction, seed, class_names
        )
    else:
        parts = _complete(parts, source.labels, class_names, config, seed)
    if config.limit is not None:
        parts = {
            name: _limit(indices, source.labels, config.limit) for name, indices in parts.items()
        }
    names = tuple(source.name(index) for index in damaged)
    return Dataset(config.name, source, class_names, parts, citation, names)


def _check(config: DataConfig) -> None:
    if config.name != "image_folder" and config.name not in catalog.ENTRIES:
        known = ", ".join(["image_folder", *catalog.ENTRIES])
        raise UserError(f"data.name={config.name}: unknown; known are {known}")
    if config.name == "image_folder" and config.path is None:
        raise UserError("data.path=null: data=image_folder takes the folder of the pictures")


def _open_catalog(config: DataConfig):
    entry = catalog.ENTRIES[config.name]
    builder = catalog.builder_for(entry, config.path)
    official = {"train": entry.train, "val": entry.validation, "test": entry.test}
    sources = {part: catalog.records(builder, split) for part, split in official.items() if split}
    ends = itertools.accumulate(len(source) for source in sources.values())
    parts = {
        name: np.arange(end - len(source), end)
        for (name, source), end in zip(sources.items(), ends, strict=True)
    }
    class_names = catalog.class_names(builder, entry)
    return Concatenated(list(sources.values())), class_names, parts, builder.info.citation


def _complete(parts, labels, class_names, config: DataConfig, seed: int) -> dict[str, np.ndarray]:
    """Adds the splits that are missing, and checks that training knows every class."""
    for name, indices in parts.items():
        if not len(indices):
            raise UserError(f"the {name} split has no pictures; add some, or remove the split")
    train, test, val = parts["train"], parts.get("test"), parts.get("val")
    missing = np.setdiff1d(np.arange(len(class_names)), labels[train])
    if len(missing):
        raise UserError(f"class {class_names[missing[0]]!r} has no pictures to train on")
    if test is None:
        train, test = splits.stratified_split(
            train, labels, config.test_fraction, seed, class_names, "data.test_fraction"
        )
        if not len(test):
            raise UserError("data.test_fraction=0: nothing would be left to test on")
    if val is None:
        train, val = splits.stratified_split(
            train, labels, config.val_fraction, seed, class_names, "data.val_fraction"
        )
    return {"train": train, "val": val, "test": test}


def _limit(indices: np.ndarray, labels: np.ndarray, limit: int) -> np.ndarray:
    kept = [indices[labels[indices] == label][:limit] for label in np.unique(labels[indices])]
    return np.sort(np.concatenate([indices[:0], *kept]))


def _damaged(source: ImageSource, parts: dict[str, np.ndarray]) -> list[int]:
    """The positions that cannot be decoded, found by decoding everything once."""
    indices = np.concatenate(list(parts.values()))
    sound = []
    with (
        concurrent.futures.ThreadPoolExecutor() as pool,
        progress(len(indices), "checking pictures") as bar,
    ):
        for is_sound in pool.map(lambda index: _is_sound(source, index), indices):
            sound.append(is_sound)
            bar.update()
    return [int(index) for index, is_sound in zip(indices, sound, strict=True) if not is_sound]


def _is_sound(source: ImageSource, index: int) -> bool:
    try:
        decoding.decode(source.encoded(index), source.name(index))
    except UserError:
        return False
    return True
