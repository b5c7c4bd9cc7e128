"""The data sets that come through TFDS: what they are called, and their official splits.

TFDS is imported only when a data set is opened, so listing the catalog costs nothing.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import logging
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import filelock
import numpy as np

from errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set.

    `train`, `validation` and `test` are the names that TFDS gives to the official splits. Where
    `validation` is `None` there is none, and one has to be carved from training.
    """

    name: str
    tfds_name: str
    num_classes: int
    train: str = "train"
    validation: str | None = None
    test: str = "test"
    module: str | None = None  # of this project, whose import makes the builder known to TFDS
    needs: tuple[str, ...] = ()  # packages that TFDS wants while it prepares the data set


ENTRIES = {
    entry.name: entry
    for entry in (
        # Generated on the spot, no download.
        Entry("drawn_birds", "drawn_birds", 9, validation="validation", module="data.drawn_birds"),
        # 5,994 to train, 5,794 to test.
        Entry("cub200", "caltech_birds2011", 200, needs=("opencv-python-headless",)),
        # 8,144 to train, 8,041 to test. The authors' server, which TFDS downloads from, is often
        # away; data that TFDS prepared elsewhere can be copied into data.path.
        Entry("stanford_cars", "cars196", 196, needs=("scipy",)),
        # 12,000 to train, 8,580 to test. Its pictures are ImageNet's, so ImageNet weights have
        # seen the test pictures.
        Entry("stanford_dogs", "stanford_dogs", 120, needs=("scipy",)),
        # Ten a class to train, ten to validate, 6,149 to test; papers often train on both.
        Entry(
            "oxford_flowers102", "oxford_flowers102", 102, validation="validation", needs=("scipy",)
        ),
        # 3,680 to train (the authors' trainval), 3,669 to test.
        Entry("oxford_iiit_pet", "oxford_iiit_pet", 37),
        # TFDS calls the authors' test split, 250 a class, "validation". 2.1.0 is the version that
        # keeps the pictures' names.
        Entry("food101", "food101:2.1.0", 101, test="validation"),
        # 3,059 to train, 6,085 to test. TFDS has no Caltech-256.
        Entry("caltech101", "caltech101", 102, needs=("scipy",)),
        # The first of the authors' ten folds, the only one in TFDS: 40 a class in each split.
        Entry("dtd", "dtd", 47, validation="validation"),
        # 3,334 to train, 3,333 to validate, 3,333 to test; papers train on the first two.
        Entry(
            "fgvc_aircraft",
            "fgvc_aircraft/variant",
            100,
            validation="validation",
            module="data.fgvc_aircraft",
        ),
    )
}

_IMAGE, _LABEL = "image", "label"
# Features that name a picture, as sets have them.
_NAMES = ("id", "file_name", "image/filename", "image/file_name")


class Records:
    """The encoded pictures of one split at random access, safe to read from several threads.

    Args:
        builder: a prepared TFDS builder, as `builder_for` returns it.
        split: a split of it, e.g. "train".

    Attributes:
        labels: int64, one a picture. Read once; kept beside the prepared data.
    """

    def __init__(self, builder, split: str):
        self._source = builder.as_data_source(split, decoders=_undecoded(builder.info.features))
        self._split = split
        self._name_key = next((key for key in _NAMES if key in builder.info.features), None)
        self.labels = self._labels(Path(builder.data_dir))
        self._identity = f"{builder.info.full_name}/{split}/{_size(builder, split)}"

    def __len__(self) -> int:
        return len(self._source)

    def encoded(self, index: int) -> bytes:
        """The picture's file: JPEG or PNG."""
        return bytes(self._source[int(index)][_IMAGE])

    def name(self, index: int) -> str:
        """The name that the data set gives to the picture, or else "split/index"."""
        if self._name_key is None:
            return f"{self._split}/{index}"
        name = self._source[int(index)][self._name_key]
        return name.decode() if isinstance(name, bytes) else str(name)

    def key(self, index: int) -> str:
        return f"{self._identity}/{index}"

    def fingerprint(self) -> str:
        """Changes with the data set, its version, the split, its bytes and its labels."""
        digest = hashlib.blake2b(self.labels.tobytes(), digest_size=16)
        return f"{self._identity}/{digest.hexdigest()}"

    def _labels(self, folder: Path) -> np.ndarray:
        file = folder / f"labels_{self._split}.npy"
        if file.exists():
            return np.load(file)
        labels = np.array([record[_LABEL] for record in self._source], np.int64)
        if folder.exists():
            _save(file, labels)
        return labels


def builder_for(entry: Entry, data_dir: str | None = None):
    """Downloads or generates a data set, unless that is done already.

    Args:
        entry: one of `ENTRIES`.
        data_dir: where TFDS keeps its data sets. Default: TFDS's own default, `TFDS_DATA_DIR` or
            `~/tensorflow_datasets`.

    Returns:
        A TFDS builder whose splits `records` can read.

    Raises:
        UserError: there is no network, the server does not have the files, the disk is full, a
            package is missing, or the data was prepared in a format without random access.
    """
    import tensorflow_datasets as tfds

    if entry.module is not None:
        importlib.import_module(entry.module)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    folder = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    try:
        builder = tfds.builder(entry.tfds_name, data_dir=folder, file_format="array_record")
    except ValueError as error:  # TFDS found it prepared, but as another format
        raise UserError(
            f"{folder}: {entry.name} lies there in a format without random access; "
            "move it away, or set data.path to another folder"
        ) from error
    # TFDS writes elsewhere and renames at the end: a folder that exists is complete.
    if not Path(builder.data_dir).exists():
        _prepare(entry, builder, folder)
    return builder


def records(builder, split: str) -> Records:
    """Opens one split of a prepared builder."""
    return Records(builder, split)


def class_names(builder, entry: Entry) -> list[str]:
    """The classes' names, in the order of their labels."""
    names = list(builder.info.features[_LABEL].names)
    assert len(names) == entry.num_classes, (entry.name, len(names))
    return names


def _prepare(entry: Entry, builder, folder: Path) -> None:
    import requests
    import tensorflow_datasets as tfds

    folder.mkdir(parents=True, exist_ok=True)
    try:
        # Of several runs started together, one prepares and the others wait.
        with filelock.FileLock(folder / f".{entry.name}.lock"), _little_patience():
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(try_download_gcs=False)
            )
    except ImportError as error:
        raise UserError(
            f"{entry.name}: TFDS needs more packages to prepare it; "
            f"pip install {' '.join(entry.needs)}"
        ) from error
    except requests.ConnectionError as error:
        raise UserError(
            f"{entry.name}: cannot be downloaded, {urlsplit(error.request.url).hostname} does not "
            "answer; connect to the network, or set data.path to where TFDS has prepared it"
        ) from error
    except (
        OSError,
        tfds.download.DownloadError,
        tfds.download.download_manager.NonMatchingChecksumError,
        tfds.download.extractor.ExtractError,
    ) as error:
        raise UserError(
            f"{entry.name}: cannot be prepared in {folder}: {_first_line(error)}"
        ) from error


@contextlib.contextmanager
def _little_patience():
    """Gives up on a server after seconds; TFDS by itself tries, and warns, for minutes."""
    from tensorflow_datasets.core.download import downloader

    log, retries = logging.getLogger("urllib3.connectionpool"), downloader.MAX_RETRIES
    level = log.level
    log.setLevel(logging.ERROR)
    downloader.MAX_RETRIES = 4
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
        log.setLevel(level)


def _undecoded(features) -> dict:
    """Keeps pictures, masks too, as they are stored."""
    import tensorflow_datasets as tfds

    return {
        key: tfds.decode.SkipDecoding()
        for key, feature in features.items()
        if isinstance(feature, tfds.features.Image)
    }


def _size(builder, split: str) -> int:
    return int(builder.info.splits[split].num_bytes) if split in builder.info.splits else 0


def _save(file: Path, labels: np.ndarray) -> None:
    """Writes the labels whole or not at all; a folder that may not be written to is left alone."""
    part = file.with_name(f".{file.stem}.{os.getpid()}.npy")
    with contextlib.suppress(PermissionError):
        np.save(part, labels)
        part.replace(file)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
