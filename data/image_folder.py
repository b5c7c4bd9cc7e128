"""A folder of images with one sub-folder per class."""

from pathlib import Path

import numpy as np

from errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SPLITS = ("train", "val", "test")


class FolderImages:
    """The images of a folder, at random access.

    Args:
        root: the folder; the images' names are relative to it.
        paths: the images' files.
        labels: int64 of shape (len(paths),).
    """

    def __init__(self, root: Path, paths: list[Path], labels: np.ndarray):
        self.root, self.paths, self.labels = root, paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()

    key = name

    def encoded(self, index: int) -> bytes:
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise UserError(f"{self.paths[index]} cannot be read: {error.strerror}") from error

    def fingerprint(self) -> str:
        """Changes when an image is added, removed, renamed or modified."""
        stats = [path.stat() for path in self.paths]
        return repr([(self.name(i), s.st_size, s.st_mtime_ns) for i, s in enumerate(stats)])


def read_folder(root: Path) -> tuple[FolderImages, list[str], dict[str, np.ndarray]]:
    """Lists `root/class/image` or `root/{train,val,test}/class/image`.

    Hidden files and files with a suffix that is not in `SUFFIXES` are ignored.

    Returns:
        The images, the sorted class names, and the splits of the folder as int64 arrays of indices:
        only "train" for the flat layout, otherwise each of "train", "val" and "test" that exists.

    Raises:
        UserError: the folder is missing or has no class folders, a class has no images, or a
            split has a class that "train" lacks.
    """
    if not root.is_dir():
        raise UserError(f"data.path={root}: there is no such folder")
    split_roots = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" not in split_roots:
        if split_roots:
            raise UserError(f"data.path={root}: has {', '.join(split_roots)} but no train folder")
        split_roots = {"train": root}
    class_names = _folders(split_roots["train"])
    if not class_names:
        raise UserError(
            f"data.path={split_roots['train']}: it has no class folders; put the images into "
            "class/image or train|val|test/class/image"
        )
    paths: list[Path] = []
    labels: list[int] = []
    splits = {}
    for split, split_root in split_roots.items():
        start = len(paths)
        for folder in _folders(split_root):
            if folder not in class_names:
                raise UserError(f"{split_root / folder}: train has no class of this name")
            class_paths = sorted(filter(_is_image, (split_root / folder).iterdir()))
            if not class_paths:
                suffixes = ", ".join(sorted(SUFFIXES))
                raise UserError(f"{split_root / folder}: it has no images (supported: {suffixes})")
            paths += class_paths
            labels += [class_names.index(folder)] * len(class_paths)
        splits[split] = np.arange(start, len(paths))
    return FolderImages(root, paths, np.array(labels, np.int64)), class_names, splits


def find_images(path: Path) -> list[Path]:
    """The path itself if it is a file; the images anywhere below it, sorted, if it is a folder."""
    if path.is_dir():
        return sorted(filter(_is_image, path.rglob("*")))
    return [path]


def _folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
