"""The data sets from TFDS: their names and official splits.

TFDS is imported only when a data set is opened, so listing the catalog is fast.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import files
from data.locks import locked
from data.releases import stanford_cars
from errors import UserError


@dataclasses.dataclass(frozen=True)
class Entry:
    """One data set.

    `validation` and `test` are TFDS's names of the official splits; the training split is "train"
    in every data set. If `validation` is `None`, the validation split is a part of "train".
    """

    name: str
    tfds_name: str
    num_classes: int
    validation: str | None = None
    test: str = "test"
    module: str | None = None  # of this project, which registers the builder with TFDS
    needs: tuple[str, ...] = ()  # packages that TFDS imports to prepare the data set
    elsewhere: str = ""  # where to get it instead, if its server is gone


_ENTRIES = (
    # Generated, without a download.
    Entry("drawn_birds", "drawn_birds", 9, "validation", module="data.drawn_birds"),
    # 5,994 to train, 5,794 to test.
    Entry("cub200", "caltech_birds2011", 200, needs=("opencv-python-headless",)),
    # 8,144 to train, 8,041 to test. The authors' server is gone since 2023; data that TFDS
    # prepared before can be copied into data.path.
    Entry("stanford_cars", "cars196", 196, elsewhere=stanford_cars.SOURCE),
    # 12,000 to train, 8,580 to test. The images are from ImageNet, so ImageNet weights were
    # trained on the test images.
    Entry("stanford_dogs", "stanford_dogs", 120, needs=("scipy",)),
    # Per class 10 to train and 10 to validate; 6,149 to test. Papers often train on both.
    Entry("oxford_flowers102", "oxford_flowers102", 102, "validation", needs=("scipy",)),
    # 3,680 to train (the authors' trainval), 3,669 to test.
    Entry("oxford_iiit_pet", "oxford_iiit_pet", 37),
    # TFDS calls the authors' test split, 250 per class, "validation". Version 2.1.0 has the
    # names of the images.
    Entry("food101", "food101:2.1.0", 101, test="validation"),
    # 3,059 to train, 6,085 to test. TFDS has no Caltech-256.
    Entry("caltech101", "caltech101", 102, needs=("scipy",)),
    # The first of the authors' ten folds, the only one in TFDS: 40 per class in each split.
    Entry("dtd", "dtd", 47, "validation"),
    # 3,334 to train, 3,333 to validate, 3,333 to test; papers train on the first two.
    Entry("fgvc_aircraft", "fgvc_aircraft/variant", 100, "validation", module="data.fgvc_aircraft"),
)
ENTRIES = {entry.name: entry for entry in _ENTRIES}

MAX_RETRIES = 4  # of a download

_IMAGE, _LABEL = "image", "label"
# Features that hold the name of an image, in different data sets.
_NAMES = ("id", "file_name", "image/filename", "image/file_name")


class Records:
    """The encoded images of some splits, one split after the other, at random access.

    Several threads may read at once.

    Args:
        builder: a prepared TFDS builder, as `builder_for` returns it.
        splits: some of its splits, e.g. ["train", "test"].

    Attributes:
        labels: int64 of shape (len(self),). They are read once, and cached next to the data.
        splits: the indices of the images of each split.
    """

    def __init__(self, builder, splits: Iterable[str]):
        import tensorflow_datasets as tfds

        features, official = builder.info.features, builder.info.splits
        images = [key for key in features if isinstance(features[key], tfds.features.Image)]
        # Images, masks included, stay encoded.
        decoders = {key: tfds.decode.SkipDecoding() for key in images}
        self._name_key = next((key for key in _NAMES if key in features), None)
        self._members: list[tuple[str, Sequence[dict], int]] = []  # split, source, index in it
        self._identities, self.splits, labels = {}, {}, []
        for split in splits:
            source = builder.as_data_source(split, decoders=decoders)
            size = int(official[split].num_bytes) if split in official else 0
            self._identities[split] = f"{builder.info.full_name}/{split}/{size}"
            self.splits[split] = len(self) + np.arange(len(source))
            self._members += [(split, source, number) for number in range(len(source))]
            labels.append(_labels(source, Path(builder.data_dir, f"labels_{split}.npy")))
        self.labels = np.concatenate(labels)

    def __len__(self) -> int:
        return len(self._members)

    def encoded(self, index: int) -> bytes:
        """The bytes of the image's file, JPEG or PNG."""
        _, source, number = self._members[index]
        return bytes(source[number][_IMAGE])

    def box(self, index: int) -> None:
        """These data sets are read without boxes."""

    def name(self, index: int) -> str:
        """The image's name in the data set, or "split/index" if it has none."""
        split, source, number = self._members[index]
        if self._name_key is None:
            return f"{split}/{number}"
        name = source[number][self._name_key]
        return name.decode() if isinstance(name, bytes) else str(name)

    def key(self, index: int) -> str:
        split, _, number = self._members[index]
        return f"{self._identities[split]}/{number}"

    def fingerprint(self) -> str:
        """Changes with the data set, its version, the splits, their bytes and their labels."""
        digests = []
        for split, indices in self.splits.items():
            digest = hashlib.blake2b(self.labels[indices].tobytes(), digest_size=16)
            digests.append(f"{self._identities[split]}/{digest.hexdigest()}")
        return repr(digests)


def _labels(source: Sequence[dict], file: Path) -> np.ndarray:
    """The labels of one split, cached in `file`."""
    if file.exists():
        labels = np.load(file)
        if len(labels) == len(source):  # else the data were prepared anew
            return labels
    labels = np.array([record[_LABEL] for record in source], np.int64)
    # The data may be read-only for this user.
    with contextlib.suppress(UserError), files.atomic_path(file) as unfinished:
        np.save(unfinished, labels)
    return labels


def builder_for(entry: Entry, data_dir: str | None = None):
    """Opens a data set; downloads or generates it first if necessary.

    Args:
        entry: one of `ENTRIES`.
        data_dir: the folder of TFDS's data sets. Default: the environment variable
            `TFDS_DATA_DIR`, or else `~/tensorflow_datasets`, as in TFDS.

    Returns:
        A TFDS builder whose splits `Records` can read.

    Raises:
        UserError: there is no network, the server does not have the files, the disk is full, a
            package is missing, or the data was prepared in a format without random access.
    """
    import tensorflow_datasets as tfds

    if entry.module is not None:
        importlib.import_module(entry.module)
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    default_dir = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    folder = Path(data_dir or default_dir).expanduser()
    try:
        builder = tfds.builder(entry.tfds_name, data_dir=folder, file_format="array_record")
    except ValueError as error:  # it is prepared in another format
        raise UserError(
            f"{folder}: {entry.name} is stored in a format without random access; "
            "move it away, or set data.path to another folder"
        ) from error
    # TFDS renames the folder when it is complete.
    if not Path(builder.data_dir).exists():
        if entry.elsewhere:
            raise UserError(
                f"{entry.name}: its server is gone, and TFDS has not prepared it in {folder}; get "
                f"it from {entry.elsewhere}, and set data.path to its folder"
            )
        _prepare(entry, builder, folder)
    return builder


def is_data_dir(folder: Path) -> bool:
    """Whether a folder is absent or empty, or holds data sets or downloads of TFDS."""
    if not folder.exists():
        return True
    if not folder.is_dir():
        return False
    visible = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    depths = ("*/*", "*/*/*")  # name/version, name/configuration/version
    return (
        not visible
        or "downloads" in visible
        or any(any(folder.glob(f"{depth}/dataset_info.json")) for depth in depths)
    )


def class_names(builder, entry: Entry) -> list[str]:
    """The names of the classes in the order of their labels."""
    names = list(builder.info.features[_LABEL].names)
    assert len(names) == entry.num_classes, (entry.name, len(names))
    return names


def _prepare(entry: Entry, builder, folder: Path) -> None:
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
    from tensorflow_datasets.core.download.extractor import ExtractError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{entry.name}.lock"), _few_retries():
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    except ImportError as error:
        raise UserError(
            f"{entry.name}: TFDS needs more packages to prepare it; "
            f"pip install {' '.join(entry.needs)}"
        ) from error
    except requests.ConnectionError as error:
        server = urlsplit(str(error.request.url)).hostname if error.request else "the server"
        raise UserError(
            f"{entry.name}: cannot be downloaded, {server} does not answer; connect to the "
            "network, or set data.path to a folder where TFDS has prepared it"
        ) from error
    except (OSError, tfds.download.DownloadError, NonMatchingChecksumError, ExtractError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise UserError(f"{entry.name}: cannot be prepared in {folder}: {reason}") from error


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Limits the retries of a download to seconds; TFDS's own, with warnings, take minutes."""
    from tensorflow_datasets.core.download import downloader

    urllib3_logger = logging.getLogger("urllib3.connectionpool")
    level = urllib3_logger.level
    urllib3_logger.setLevel(logging.ERROR)
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, MAX_RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
        urllib3_logger.setLevel(level)
