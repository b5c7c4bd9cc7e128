"""A folder of images with one sub-folder per class."""

import collections
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.collection import Box
from data.decoding import FORMATS
from data.metadata import JPEG_START, PNG_START
from data.names import class_name, printable
from errors import UserError

SPLITS = {  # names of split folders, in any case
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}  # not opened to list
RAW_SUFFIXES = {".arw", ".cr2", ".dng", ".nef", ".nrw", ".orf", ".pef", ".rw2", ".srw"}
BMP_HEADER_SIZES = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}
THUMBNAILS = {"__MACOSX", "@eaDir"}  # folders that systems add

logger = logging.getLogger(__name__)


class FolderImages:
    """The images of a folder, at random access.

    Args:
        root: the folder.
        files: the images' paths below it, with "/" between the parts.
        labels: int64 of shape (len(files),).
        boxes: float64 of shape (len(files), 4), see `Box`. Default: `None`, no boxes.
    """

    def __init__(
        self, root: Path, files: list[str], labels: np.ndarray, boxes: np.ndarray | None = None
    ):
        self.root, self.files, self.labels, self.boxes = root, files, labels, boxes

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return printable(self.files[index])

    key = name

    def box(self, index: int) -> Box | None:
        return None if self.boxes is None else tuple(self.boxes[index].tolist())

    def encoded(self, index: int) -> bytes:
        path = self.root / self.files[index]
        try:
            return path.read_bytes()
        except OSError as error:
            name = printable(path)
            raise UserError(
                f"{name} cannot be read ({error.strerror}); restore or remove it, or set "
                "data.skip_damaged=true"
            ) from error

    def fingerprint(self) -> str:
        """Changes when an image is added, removed, renamed or modified."""
        return repr([(self.name(i), *self._state(i)) for i in range(len(self))])

    def _state(self, index: int) -> tuple[int, int]:
        try:
            state = os.stat(os.path.join(self.root, self.files[index]))
        except OSError:  # `encoded` raises it, with the name
            return -1, -1
        return state.st_size, state.st_mtime_ns


class Listing:
    """Lists the images below folders, and counts the files that are not images.

    An image is a file with a suffix of `SUFFIXES`, or another one whose first bytes are those of an
    image. Links are followed. A link without a target is listed if its suffix is in `SUFFIXES`.
    """

    def __init__(self) -> None:
        self.passed_over: dict[str, list[str]] = collections.defaultdict(list)  # paths by reason

    def images(self, folder: Path) -> list[str]:
        """The paths of the images anywhere below `folder`, relative to it, sorted by their parts.

        Raises:
            UserError: a folder cannot be listed.
        """
        return sorted(self._below(folder, "", set()), key=lambda path: path.split("/"))

    def log(self, root: Path) -> None:
        """Logs one line: how many files were passed over, and why."""
        reasons = [
            f"{len(paths)} {reason} (such as {min(paths)})"
            for reason, paths in sorted(self.passed_over.items())
        ]
        if reasons:
            logger.info("%s: passed over: %s", printable(root), ", ".join(reasons))

    def _below(self, folder: Path, prefix: str, parents: set[tuple[int, int]]) -> Iterator[str]:
        try:
            state = folder.stat()
            entries = list(os.scandir(folder))
        except OSError as error:
            name = printable(folder)
            raise UserError(f"{name}: cannot be listed ({error.strerror})") from error
        identity = state.st_dev, state.st_ino
        if identity in parents:
            self.pass_over("links to their own parent folder", folder)
            return
        for entry in entries:
            if _is_hidden(entry.name):
                self.pass_over("hidden", Path(entry))
            elif os.path.isdir(entry):
                yield from self._below(Path(entry), f"{prefix}{entry.name}/", parents | {identity})
            elif reason := _why_no_image(entry):
                self.pass_over(reason, Path(entry))
            else:
                yield prefix + entry.name

    def pass_over(self, reason: str, path: Path) -> None:
        """Counts a file or folder that is no image."""
        self.passed_over[reason].append(printable(path))


def read_folder(
    root: Path, split_folders: bool = True, train_required: bool = True
) -> tuple[FolderImages, list[str], dict[str, np.ndarray]]:
    """Lists `root/class/…/image` or `root/split/class/…/image`.

    A first-level folder is a class. `SPLITS` has the names of the split folders. One line is logged
    about files that are not images.

    Args:
        root: the folder.
        split_folders: whether folders called "train", "test" and so on are splits. Default: `True`;
            `False` takes them for classes.
        train_required: with `False`, the folder for training may be missing, and it may lack
            classes of other splits, or their images. The class names are then those of all splits.
            Default: `True`.

    Returns:
        The images, the sorted class names, and the splits of the folder as int64 arrays of indices:
        only "train" for the flat layout, otherwise each of "train", "val" and "test" that exists.

    Raises:
        UserError: the folder is missing or has no class folders, a class has no images, a split has
            a class that "train" lacks, or class folders lie beside split folders.
    """
    if not root.is_dir():
        raise UserError(f"data.path={printable(root)}: there is no such folder")
    listing = Listing()
    split_roots = _split_roots(root, listing) if split_folders else {"train": root}
    if "train" not in split_roots and train_required:
        raise UserError(
            f"data.path={printable(root)}: has {', '.join(split_roots)} but no train folder; "
            "with data.split_folders=false every folder is a class"
        )
    class_folders = {split: _class_folders(folder) for split, folder in split_roots.items()}
    named_by = [class_folders["train"]] if train_required else class_folders.values()
    class_names = sorted({name for folders in named_by for name in folders})
    if not class_names:
        raise UserError(
            f"data.path={printable(split_roots.get('train', root))}: it has no class folders; "
            "put the images into class/image or train|val|test/class/image"
        )
    files: list[str] = []
    labels: list[int] = []
    splits = {}
    for split, split_root in split_roots.items():
        start = len(files)
        _note_files(split_root, listing)
        for name, folder in class_folders[split].items():
            if name not in class_names:
                raise UserError(f"{printable(folder)}: train has no class of this name")
            images = listing.images(folder)
            if not images and train_required:
                raise UserError(
                    f"{printable(folder)}: it has no images (supported: {', '.join(FORMATS)})"
                )
            prefix = folder.relative_to(root).as_posix()
            files += [f"{prefix}/{image}" for image in images]
            labels += [class_names.index(name)] * len(images)
        splits[split] = np.arange(start, len(files))
    listing.log(root)
    return FolderImages(root, files, np.array(labels, np.int64)), class_names, splits


def find_images(path: Path) -> list[Path]:
    """The path itself if it is a file; the images anywhere below it, sorted, if it is a folder."""
    if not path.is_dir():
        return [path]
    listing = Listing()
    images = [path / image for image in listing.images(path)]
    listing.log(path)
    return images


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in THUMBNAILS


def _split_roots(root: Path, listing: Listing) -> dict[str, Path]:
    """The folder of each split, in the order of training, validation, test."""
    roots: dict[str, Path] = {}
    others = []
    for folder in _folders(root):
        split = SPLITS.get(folder.name.casefold())
        if split is None:
            others.append(folder)
        elif split in roots:
            raise UserError(
                f"data.path={printable(root)}: {roots[split].name} and {folder.name} both "
                f"hold the {split} split; move one of them away, or set data.split_folders=false"
            )
        else:
            roots[split] = folder
    if not roots:
        return {"train": root}
    for folder in others:
        if Listing().images(folder):
            raise UserError(
                f"data.path={printable(root)}: {printable(folder.name)} lies beside the split "
                f"folders {', '.join(path.name for path in roots.values())}; move it into them or "
                "away, or set data.split_folders=false if every folder is a class"
            )
        listing.pass_over("folders without images", folder)
    return {split: roots[split] for split in ("train", "val", "test") if split in roots}


def _class_folders(root: Path) -> dict[str, Path]:
    """The folder of each class, sorted by the folders' names."""
    folders: dict[str, Path] = {}
    for folder in _folders(root):
        name = class_name(folder.name)
        if name in folders:
            raise UserError(
                f"{root}: two folders are called {name}, in different Unicode forms; merge them"
            )
        folders[name] = folder
    return folders


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _note_files(root: Path, listing: Listing) -> None:
    """Counts the files beside the class folders."""
    for path in root.iterdir():
        if not path.is_dir() and not _is_hidden(path.name):
            listing.pass_over("outside of class folders", path)


def _why_no_image(entry: os.DirEntry[str]) -> str:
    """The reason why a file is not an image; empty if it is one."""
    suffix = Path(entry.name).suffix.lower()
    if not os.path.isfile(entry):
        is_broken_link = not os.path.exists(entry)
        return "" if is_broken_link and suffix in SUFFIXES else "broken links or special files"
    if suffix in SUFFIXES:
        return ""
    if suffix in RAW_SUFFIXES:
        return "raw images of cameras"
    try:
        with open(entry, "rb") as file:
            return "" if _is_image(file.read(18)) else "not images"
    except OSError:
        return "unreadable"


def _is_image(head: bytes) -> bool:
    """Whether a file that begins with these 18 bytes has one of `FORMATS`."""
    jpeg, gif = JPEG_START + b"\xff", b"GIF8"
    tiff = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # with "+": of more than 4 GiB
    is_bmp = head[:2] == b"BM" and head[14:18] in BMP_HEADER_SIZES
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return is_bmp or is_webp or head.startswith((jpeg, PNG_START, gif, *tiff))
