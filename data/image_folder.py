"""A folder of pictures, one sub-folder a class."""

from pathlib import Path

import numpy as np

from errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
SPLITS = ("train", "val", "test")


class FolderImages:
    """The pictures of a folder, at random access.

    Args:
        root: the folder that names are relative to.
        paths: the pictures' files.
        labels: their classes, int64 of shape (len(paths),).
    """

    def __init__(self, root: Path, paths: list[Path], labels: np.ndarray):
        self.root, self.paths, self.labels = root, paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, index: int) -> str:
        return self.paths[index].relative_to(self.root).as_posix()

    def key(self, index: int) -> str:
        return self.name(index)

    def encoded(self, index: int) -> bytes:
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise UserError(f"{self.paths[index]} cannot be read: {error.strerror}") from error

    def fingerprint(self) -> str:
        """Changes when a picture is added, removed, renamed, or written again."""
        stats = [path.stat() for path in self.paths]
        return repr([(self.name(i), s.st_size, s.st_mtime_ns) for i, s in enumerate(stats)])


def read_folder(root: Path) -> tuple[FolderImages, list[str], dict[str, np.ndarray]]:
    """Lists `root/class/picture` or `root/{train,val,test}/class/picture`.

    Hidden files and files with other endings than a picture's are passed over.

    Returns:
        The pictures, the sorted class names, and the splits that the folder itself makes:
        "train" alone for the flat layout, else each of "train", "val", "test" that is there,
        as int64 arrays of positions.

    Raises:
        UserError: the folder is missing, has no class folders, or a class has no pictures; a
            split has a class that "train" lacks.
    """
    if not root.is_dir():
        raise UserError(f"data.path={root}: there is no such folder")
    split_roots = {split: root / split for split in SPLITS if (root / split).is_dir()}
    if "train" not in split_roots:
        if split_roots:
            raise UserError(f"data.path={root}: has {_listed(split_roots)} but no train folder")
        split_roots = {"train": root}
    class_names = _folders(split_roots["train"])
    if not class_names:
        raise UserError(
            f"data.path={split_roots['train']}: no class folders in it; put the pictures into "
            "class/picture or train|val|test/class/picture"
        )
    paths, labels, splits = [], [], {}
    for split, split_root in split_roots.items():
        start = len(paths)
        for folder in _folders(split_root):
            if folder not in class_names:
                raise UserError(f"{split_root / folder}: train has no class of this name")
            found = _images(split_root / folder)
            paths += found
            labels += [class_names.index(folder)] * len(found)
        splits[split] = np.arange(start, len(paths))
    return FolderImages(root, paths, np.array(labels, np.int64)), class_names, splits


def find_images(path: Path) -> list[Path]:
    """A picture's own path, or the pictures anywhere below a folder, sorted."""
    if path.is_dir():
        return sorted(filter(_is_image, path.rglob("*")))
    return [path]


def _folders(root: Path) -> list[str]:
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    found = sorted(filter(_is_image, folder.iterdir()))
    if not found:
        raise UserError(f"{folder}: no pictures in it (endings read: {_listed(sorted(SUFFIXES))})")
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _listed(words) -> str:
    return ", ".join(words)
