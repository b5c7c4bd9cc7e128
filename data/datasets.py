"""Opens the data set of a configuration: its images, classes and splits."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from conf.schema import DataConfig, Region
from data import catalog, decoding
from data.collection import Collection, ImageSource, Splits
from data.image_folder import read_folder
from data.image_list import read_list
from data.levels import at_level
from data.names import printable
from data.progress import map_images
from data.releases.registry import RELEASES
from data.splits import by_class, split_by_class, stratified_split
from errors import UserError


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
        levels: the coarser classes, see `Collection`.
        hashes: content hashes by index, of the images that were hashed so far; see `content.py`.
        left: sorted indices of the training images that `data.shots` leaves out. Their features
            are stored too, so that all numbers of shots share one store.
        test_is_drawn: the data set defines no test split, so each seed draws another one.
    """

    name: str
    images: ImageSource
    class_names: list[str]
    splits: Splits
    citation: str
    damaged: tuple[str, ...] = ()
    levels: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    hashes: dict[int, str] = dataclasses.field(default_factory=dict, compare=False)
    left: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))
    test_is_drawn: bool = False

    @property
    def labels(self) -> np.ndarray:
        return self.images.labels

    @property
    def indices(self) -> np.ndarray:
        """The indices of all splits and of `left`, sorted."""
        return np.sort(np.concatenate([*self.splits.values(), self.left]))

    def summary(self) -> str:
        """One line: the name, and the numbers of classes and images, in all and in each split."""
        classes, sizes = len(self.class_names), []
        for name, indices in self.splits.items():
            present = len(np.unique(self.labels[indices]))
            lacking = f" ({present} of the classes)" if 0 < present < classes else ""
            sizes.append(f"{len(indices)} {name}{lacking}")
        left_out = f"; {len(self.damaged)} damaged left out" if self.damaged else ""
        groups = "".join(f" ({len(set(names))} {level})" for level, names in self.levels.items())
        return f"{self.name}: {classes} classes{groups}, images: {', '.join(sizes)}{left_out}"

    def keys(self) -> dict[str, list[str]]:
        """The keys of each split's images."""
        return {name: [self.images.key(i) for i in split] for name, split in self.splits.items()}

    def sizes(self) -> dict[str, int | list[str]]:
        """The size of each split, the number of classes, and the names of the damaged images."""
        sizes = {name: len(indices) for name, indices in self.splits.items()}
        return {**sizes, "classes": len(self.class_names), "damaged": list(self.damaged)}

    def fingerprint(self) -> str:
        """Identifies the images of `indices`, however they are divided."""
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
    opened = _open_images(config)
    images, labels = opened.images, opened.images.labels
    class_names = opened.class_names[: config.limit_classes]
    splits = {
        name: indices[labels[indices] < len(class_names)] for name, indices in opened.splits.items()
    }
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
    left = splits["train"][:0]
    if config.shots is not None:
        train = few_of_each_class(splits["train"], labels, config.shots, seed)
        left = np.setdiff1d(splits["train"], train)
        splits["train"] = train
    levels = {level: names[: config.limit_classes] for level, names in opened.levels.items()}
    return Dataset(
        config.name,
        images,
        class_names,
        splits,
        opened.citation,
        damaged,
        levels,
        left=left,
        test_is_drawn="test" not in opened.splits,
    )


def open_all_images(config: DataConfig) -> Dataset:
    """Opens `config.name` for evaluation, which needs neither a training split nor every class.

    The splits are those that the data set defines: only "train" if it defines none. They may lack
    classes. `limit`, `limit_classes` and the fractions of `config` are not read.

    Raises:
        UserError: the folder or the data set cannot be read, or has no images.
    """
    opened = _open_images(config, train_required=False)
    splits, damaged = _without_damaged(opened.images, opened.splits, config)
    if not any(map(len, splits.values())):
        raise UserError(f"{config.path or config.name}: it has no images")
    return Dataset(
        config.name,
        opened.images,
        opened.class_names,
        splits,
        opened.citation,
        damaged,
        opened.levels,
    )


def _open_images(config: DataConfig, train_required: bool = True) -> Collection:
    """Reads the images; see `open_dataset`.

    Raises:
        UserError: see `_read`; or the data do not have the boxes that `config.crop` needs, or the
            level `config.level`.
    """
    collection = _read(config, train_required)
    if config.level is not None:
        collection = at_level(collection, config.level)
    images = collection.images
    if config.crop is Region.box and len(images) and images.box(0) is None:
        raise UserError(
            f"data.crop=box: {config.path or config.name} has no boxes; set data.crop=image"
        )
    return collection


def _read(config: DataConfig, train_required: bool) -> Collection:
    """Reads what `config.name` names: one of `READERS`, a release on disk, or TFDS's data."""
    entry, release = catalog.ENTRIES.get(config.name), RELEASES.get(config.name)
    if config.name not in READERS and entry is None and release is None:
        known = ", ".join(dict.fromkeys([*READERS, *RELEASES, *catalog.ENTRIES]))
        raise UserError(f"data.name={config.name}: unknown; known are {known}")
    if config.path is None:
        if entry is None:
            raise UserError(f"data.path=null: data={config.name} needs the place of the images")
        return _open_catalog(config, entry)
    if config.name in READERS:
        return READERS[config.name](config, train_required)
    if release is not None:
        folder = release.find(Path(config.path))
        if folder is not None:
            return release.read(folder, config, train_required)
        if entry is None or not catalog.is_data_dir(Path(config.path)):
            others = "" if entry is None else ", nor is it empty or the folder of TFDS's data sets"
            raise UserError(
                f"data.path={printable(config.path)}: there is no {release.description()}{others}"
            )
    assert entry is not None
    return _open_catalog(config, entry)


def _open_folder(config: DataConfig, train_required: bool) -> Collection:
    assert config.path is not None
    return Collection(*read_folder(Path(config.path), config.split_folders, train_required))


# Images of the user. The second argument is that of `open_all_images`: whether training
# images are required.
READERS: dict[str, Callable[[DataConfig, bool], Collection]] = {
    "image_folder": _open_folder,
    "image_list": read_list,
}


def _open_catalog(config: DataConfig, entry: catalog.Entry) -> Collection:
    builder = catalog.builder_for(entry, config.path)
    official = {"train": "train", "val": entry.validation, "test": entry.test}
    names = {name: split for name, split in official.items() if split is not None}
    images = catalog.Records(builder, names.values())
    splits = {name: images.splits[split] for name, split in names.items()}
    names_of_classes = catalog.class_names(builder, entry)
    return Collection(images, names_of_classes, splits, citation=builder.info.citation)


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
    kept = [members[:limit] for members in by_class(indices, labels)]
    return np.sort(np.concatenate([indices[:0], *kept]))


def few_of_each_class(indices: np.ndarray, labels: np.ndarray, shots: int, seed: int) -> np.ndarray:
    """Returns at most `shots` random indices of each class, sorted; fewer are a part of more."""
    kept = [
        np.random.default_rng([seed, labels[members[0]]]).permutation(members)[:shots]
        for members in by_class(indices, labels)
    ]
    return np.sort(np.concatenate(kept))


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
        box = images.box(index) if config.crop is Region.box else None
        try:
            with decoding.decoded(images.encoded(index), images.name(index), config, box):
                return False
        except UserError:
            return True

    indices = np.concatenate(list(splits.values())).tolist()
    checked = map_images(is_damaged, indices, "checking images")
    return [index for index, fails in zip(indices, checked, strict=True) if fails]
