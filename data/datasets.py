"""Opens the data set of a configuration: its images, classes and splits."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np

from conf.schema import DataConfig
from data import catalog, decoding, image_folder
from data.progress import map_images
from data.splits import split_by_class, stratified_split
from errors import UserError

Splits = dict[str, np.ndarray]  # sorted indices by the name of the split


class ImageSource(Protocol):
    """Encoded images at random access; several threads may read at once.

    `name` is for people; `key` identifies an image among all images of the data set, and is known
    without reading the image. `fingerprint` changes when an image changes.
    """

    labels: np.ndarray  # int64 of shape (len(self),)

    def __len__(self) -> int: ...
    def name(self, index: int) -> str: ...
    def key(self, index: int) -> str: ...
    def encoded(self, index: int) -> bytes: ...
    def fingerprint(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images with their labels and splits.

    Attributes:
        name: the configuration's `data.name`.
        images: all images, of any split.
        class_names: in the order of the labels.
        splits: sorted indices of "train", "val" and "test"; "val" may be empty.
        citation: BibTeX, or empty.
        damaged: names of the images that cannot be decoded and are left out.
        hashes: content hashes by index, of the images that were hashed so far; see `content.py`.
    """

    name: str
    images: ImageSource
    class_names: list[str]
    splits: Splits
    citation: str
    damaged: tuple[str, ...] = ()
    hashes: dict[int, str] = dataclasses.field(default_factory=dict, compare=False)

    @property
    def labels(self) -> np.ndarray:
        return self.images.labels

    @property
    def indices(self) -> np.ndarray:
        """The indices of all splits, sorted."""
        return np.sort(np.concatenate(list(self.splits.values())))

    def summary(self) -> str:
        """One line: the name and the numbers of classes and images."""
        sizes = ", ".join(f"{len(indices)} {name}" for name, indices in self.splits.items())
        left_out = f"; {len(self.damaged)} damaged left out" if self.damaged else ""
        return f"{self.name}: {len(self.class_names)} classes, images: {sizes}{left_out}"

    def keys(self) -> dict[str, list[str]]:
        """The keys of each split's images."""
        return {name: [self.images.key(i) for i in split] for name, split in self.splits.items()}

    def sizes(self) -> dict[str, int | list[str]]:
        """The size of each split, the number of classes, and the names of the damaged images."""
        sizes = {name: len(indices) for name, indices in self.splits.items()}
        return {**sizes, "classes": len(self.class_names), "damaged": list(self.damaged)}

    def fingerprint(self) -> str:
        """Identifies the images of all splits, however they are divided."""
        digest = hashlib.blake2b(self.images.fingerprint().encode(), digest_size=16)
        digest.update(self.indices.tobytes())
        return digest.hexdigest()


def open_dataset(config: DataConfig, seed: int, disjoint_classes: bool = False) -> Dataset:
    """Opens `config.name`; downloads or generates it first if necessary.

    A split that the data set does not define is a stratified, random part of another split: the
    test split is a part of all images, the validation split a part of the training split.

    Args:
        config: the data set and its division.
        seed: of the division.
        disjoint_classes: ignore the official splits and divide by class, see `split_by_class`.

    Raises:
        UserError: the folder or the data set cannot be read; a class is too small to be split;
            there are fewer than two classes; or a class has no images left without the damaged
            ones.
    """
    images, class_names, splits, citation = _open_images(config)
    labels = images.labels
    class_names = class_names[: config.limit_classes]
    splits = {name: indices[labels[indices] < len(class_names)] for name, indices in splits.items()}
    if len(class_names) < 2:
        raise UserError(
            f"{config.path or config.name}: it has one class only ({class_names[0]}); "
            "classification needs at least two"
        )
    splits, damaged = _without_damaged(images, splits, config)
    if disjoint_classes:
        indices = np.sort(np.concatenate(list(splits.values())))
        splits = split_by_class(indices, labels, config.val_fraction, seed, class_names)
    else:
        splits = _complete(splits, labels, class_names, config, seed)
    if config.limit is not None:
        splits = {
            name: first_of_each_class(indices, labels, config.limit)
            for name, indices in splits.items()
        }
    return Dataset(config.name, images, class_names, splits, citation, damaged)


def open_all_images(config: DataConfig) -> Dataset:
    """Opens `config.name` for evaluation, which needs neither a training split nor every class.

    The splits are those that the data set defines: only "train" if it defines none. They may lack
    classes. `limit`, `limit_classes` and the fractions of `config` are not read.

    Raises:
        UserError: the folder or the data set cannot be read, or has no images.
    """
    images, class_names, splits, citation = _open_images(config, train_required=False)
    splits, damaged = _without_damaged(images, splits, config)
    if not any(map(len, splits.values())):
        raise UserError(f"{config.path or config.name}: it has no images")
    return Dataset(config.name, images, class_names, splits, citation, damaged)


def _open_images(
    config: DataConfig, train_required: bool = True
) -> tuple[ImageSource, list[str], Splits, str]:
    """Returns the images, the class names, the splits that are defined, and the citation."""
    if config.name != "image_folder":
        return _open_catalog(config)
    if config.path is None:
        raise UserError("data.path=null: data=image_folder needs the folder of the images")
    folder = Path(config.path)
    return *image_folder.read_folder(folder, config.split_folders, train_required), ""


def _open_catalog(config: DataConfig) -> tuple[ImageSource, list[str], Splits, str]:
    if config.name not in catalog.ENTRIES:
        known = ", ".join(["image_folder", *catalog.ENTRIES])
        raise UserError(f"data.name={config.name}: unknown; known are {known}")
    entry = catalog.ENTRIES[config.name]
    builder = catalog.builder_for(entry, config.path)
    official = {"train": "train", "val": entry.validation, "test": entry.test}
    names = {name: split for name, split in official.items() if split is not None}
    images = catalog.Records(builder, names.values())
    splits = {name: images.splits[split] for name, split in names.items()}
    return images, catalog.class_names(builder, entry), splits, builder.info.citation


def _complete(
    splits: Splits, labels: np.ndarray, class_names: list[str], config: DataConfig, seed: int
) -> Splits:
    """Adds the missing splits, and checks that the training split has images of every class."""
    for name, indices in splits.items():
        if not len(indices):
            raise UserError(f"the {name} split has no images; add some, or remove the split")
    train, test, val = splits["train"], splits.get("test"), splits.get("val")
    missing = np.setdiff1d(np.arange(len(class_names)), labels[train])
    if len(missing):
        raise UserError(f"class {class_names[missing[0]]!r} has no training images")

    def divide(fraction: float, key: str) -> tuple[np.ndarray, np.ndarray]:
        return stratified_split(train, labels, fraction, seed, class_names, key)

    if test is None:
        train, test = divide(config.test_fraction, "data.test_fraction")
        if not len(test):
            raise UserError("data.test_fraction=0: the test split would be empty")
    if val is None:
        train, val = divide(config.val_fraction, "data.val_fraction")
    return {"train": train, "val": val, "test": test}


def first_of_each_class(indices: np.ndarray, labels: np.ndarray, limit: int) -> np.ndarray:
    """Returns the first `limit` indices of each class, sorted."""
    kept = [indices[labels[indices] == label][:limit] for label in np.unique(labels[indices])]
    return np.sort(np.concatenate([indices[:0], *kept]))


def _without_damaged(
    images: ImageSource, splits: Splits, config: DataConfig
) -> tuple[Splits, tuple[str, ...]]:
    """Returns the splits without the images that `config.skip_damaged` skips, and their names."""
    if not config.skip_damaged:
        return splits, ()
    damaged = _damaged(images, splits, config)
    splits = {name: np.setdiff1d(indices, damaged) for name, indices in splits.items()}
    return splits, tuple(images.name(index) for index in damaged)


def _damaged(images: ImageSource, splits: Splits, config: DataConfig) -> list[int]:
    """Decodes all images of all splits; returns the indices of those that cannot be decoded."""

    def is_damaged(index: int) -> bool:
        try:
            with decoding.decoded(images.encoded(index), images.name(index), config):
                return False
        except UserError:
            return True

    indices = np.concatenate(list(splits.values())).tolist()
    checked = map_images(is_damaged, indices, "checking images")
    return [index for index, fails in zip(indices, checked, strict=True) if fails]
