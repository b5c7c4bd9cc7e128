"""A list of images: a CSV file with a path and a label, and optionally a split and a coarse label.

    python -m data.image_list FOLDER

writes such a list for a folder of class folders.
"""

import argparse
import collections
import csv
import io
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

import files
from conf.paths import expanded
from conf.schema import BoxFormat, DataConfig
from data.collection import Box, Collection
from data.image_folder import SPLITS, SUFFIXES, FolderImages, read_folder
from data.names import class_name, printable
from errors import UserError, os_reason

COLUMNS = ("path", "label", "split", "coarse", "box")  # also their order without a header
REQUIRED = ("path", "label")
COARSE, BOX = "coarse", "box"
DELIMITERS = ("\t", ";", ",")
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
SPLIT_ORDER = ("train", "val", "test")

logger = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where something is written, for error messages."""

    file: Path
    line: int
    unit: str = "line"  # what `line` counts

    def __str__(self) -> str:
        return f"{printable(self.file)}, {self.unit} {self.line}"


class Entry(NamedTuple):
    """What a line says about an image."""

    label: str
    split: str
    groups: Mapping[str, str]
    box: Box | None
    place: Place

    def __str__(self) -> str:
        box = "" if self.box is None else "box " + " ".join(f"{side:g}" for side in self.box)
        return ", ".join(filter(None, (self.label, self.split, *self.groups.values(), box)))


class ImageList:
    """Collects the lines of one or several lists, and checks them against each other.

    Args:
        root: the folder that the paths are relative to.
        files_required: whether a missing file is an error. Default: `True`.
        advice: what to do about a missing file. Default: restore it.
    """

    def __init__(self, root: Path, files_required: bool = True, advice: str = "restore it"):
        self._root, self._files_required, self._advice = root, files_required, advice
        self._entries: dict[str, Entry] = {}  # by path
        self._first_of_class: dict[str, Entry] = {}
        self._groups: dict[tuple[tuple[str, str], ...], Mapping[str, str]] = {}
        self._missing: list[tuple[Place, str]] = []
        self._repeated: list[Place] = []

    def add(
        self,
        place: Place,
        path: str,
        label: str,
        split: str = "train",
        groups: Mapping[str, str] | None = None,
        box: Box | None = None,
    ) -> None:
        """Adds a line.

        Args:
            place: where it stands.
            path: of the image, absolute or relative to the root.
            label: the name of the class.
            split: a name of `SPLITS`, in any case. Default: "train".
            groups: the name of the coarser class by level, such as "coarse", from the finest level
                to the coarsest. Default: `None`, the list has none.
            box: encloses the object. Default: `None`, the list has no boxes.

        Raises:
            UserError: a value is empty, the split is unknown, or the line contradicts another one.
        """
        groups = groups or {}
        values = [("path", path), ("label", label)]
        values += [(f"{level} label", group) for level, group in groups.items()]
        for meaning, value in values:
            if not value.strip():
                raise UserError(f"{place}: the {meaning} is empty")
        name = split.strip().casefold()
        if name not in SPLITS:
            known = ", ".join(SPLITS)
            raise UserError(f"{place}: the split {split.strip()!r} is unknown; known are {known}")
        groups = {level: class_name(group.strip()) for level, group in groups.items()}
        groups = self._groups.setdefault(tuple(groups.items()), groups)  # shared: millions of lines
        entry = Entry(class_name(label.strip()), SPLITS[name], groups, box, place)
        path = self._existing(path, place)
        before = self._entries.setdefault(path, entry)
        if before is not entry:
            _compare(f"{printable(path)} is", entry, before)
            self._repeated.append(place)
            return
        first = self._first_of_class.setdefault(entry.label, entry)
        for level, group in groups.items():
            if first.groups[level] != group:
                raise UserError(
                    f"{place}: class {entry.label} belongs to {group}, but to "
                    f"{first.groups[level]} in {first.place}; correct one of them"
                )

    def collection(
        self,
        class_names: list[str] | None = None,
        train_required: bool = True,
        citation: str = "",
    ) -> Collection:
        """Returns the images, sorted by split, class and path, as those of a folder are.

        Args:
            class_names: the order of the labels. Default: `None`, sorted by name.
            train_required: whether each listed class needs training images. Default: `True`.
            citation: BibTeX of the data set. Default: empty.

        Raises:
            UserError: a file is missing, or a class has no training images.
        """
        if self._missing and self._files_required:
            place, path = self._missing[0]
            raise UserError(
                f"{place}: there is no file {printable(path)} in {printable(self._root)} "
                f"({len(self._missing)} of {len(self._entries)} are missing); {self._advice}, "
                "or set data.skip_damaged=true"
            )
        if self._repeated:
            count, place = len(self._repeated), self._repeated[0]
            logger.info("%s: %d lines repeat another one and are ignored", place, count)
        if train_required:
            self._check_training_images()
        if class_names is None:
            class_names = sorted(self._first_of_class)
        else:
            class_names = [class_name(name.strip()) for name in class_names]
            for name, count in collections.Counter(class_names).items():
                if count > 1:
                    raise UserError(f"{printable(self._root)}: {count} classes are called {name}")
        numbers = {name: number for number, name in enumerate(class_names)}
        order = sorted(
            (SPLIT_ORDER.index(entry.split), numbers[entry.label], path.split("/"))
            for path, entry in self._entries.items()
        )
        split_numbers = np.array([split for split, _, _ in order], np.int64)
        labels = np.array([label for _, label, _ in order], np.int64)
        splits = {
            SPLIT_ORDER[number]: np.flatnonzero(split_numbers == number)
            for number in np.unique(split_numbers)
        }
        paths = ["/".join(parts) for _, _, parts in order]
        images = FolderImages(self._root, paths, labels, self._boxes(paths))
        return Collection(images, class_names, splits, self._levels(class_names), citation)

    def _existing(self, path: str, place: Place) -> str:
        """Returns a path in its shortest form, without spaces around it if no file has them."""
        if not os.path.isfile(os.path.join(self._root, path)):
            path = path.strip()
            if not os.path.isfile(os.path.join(self._root, path)):
                self._missing.append((place, path))
        return os.path.normpath(path)

    def _check_training_images(self) -> None:
        trained = {entry.label for entry in self._entries.values() if entry.split == "train"}
        for label, first in self._first_of_class.items():
            if not trained:
                raise UserError(
                    f"{first.place}: neither this line nor another one has the split train; "
                    "data.split_column=null draws the splits"
                )
            if label not in trained:
                raise UserError(
                    f"{first.place}: class {label} has no training images; list some, or remove "
                    "the class"
                )

    def _boxes(self, paths: list[str]) -> np.ndarray | None:
        boxes = [box for path in paths if (box := self._entries[path].box) is not None]
        return np.array(boxes) if len(boxes) == len(paths) else None

    def _levels(self, class_names: list[str]) -> dict[str, list[str]]:
        groups = [
            first.groups
            for name in class_names
            if (first := self._first_of_class.get(name)) is not None
        ]
        if not groups or len(groups) < len(class_names):
            return {}
        return {level: [each[level] for each in groups] for level in groups[0]}


def _compare(subject: str, entry: Entry, before: Entry) -> None:
    if entry[:-1] != before[:-1]:
        raise UserError(
            f"{entry.place}: {subject} {entry}, but {before} in {before.place}; "
            "remove one of the two lines"
        )


def read_list(config: DataConfig, train_required: bool = True) -> Collection:
    """Reads the list `config.path`: one image a line, with its path, label, split, coarse label and
    box.

    Cells are separated by tabs, semicolons or commas, and may stand in double quotes. The first
    line is a header if one of its cells is `config.path_column`. In a list without a header the
    columns are in the order of `COLUMNS`, or `config.path_column` and the like are numbers from 1.
    No image is opened.

    Args:
        config: the list, the names of its columns, and the folder that its paths are relative to:
            `root`, or else the folder of the list.
        train_required: see `ImageList.collection`. Default: `True`.

    Raises:
        UserError: the list cannot be read, or a line is not as it should be; the line is named.
    """
    assert config.path is not None
    file = Path(config.path)
    root = file.parent if config.root is None else Path(config.root)
    text = read_text(file)
    if not root.is_dir():
        raise UserError(f"data.root={printable(root)}: there is no such folder")
    layout = _layout(file, text, root, config)
    advice = "restore it, set data.root to the folder of the images"
    images, width = ImageList(root, not config.skip_damaged, advice), None
    for position, (number, cells) in enumerate(read_lines(file, text, layout.delimiter)):
        place = Place(file, number)
        width = width or len(cells)
        if len(cells) != width:
            raise UserError(
                f"{place}: it has {len(cells)} cells instead of {width}; put a cell that contains "
                f"{layout.delimiter!r} into double quotes"
            )
        if position == 0 and layout.has_header:
            continue
        texts = {
            name: " ".join(cells[column] for column in columns)
            for name, columns in layout.columns.items()
        }
        box = _box(texts.pop(BOX), config.box_format, place) if BOX in texts else None
        groups = {COARSE: texts.pop(COARSE)} if COARSE in texts else None
        images.add(place, **texts, groups=groups, box=box)
    return images.collection(train_required=train_required)


def _box(text: str, box_format: BoxFormat, place: Place) -> Box:
    """Parses four numbers, which are separated by spaces or commas."""
    try:
        left, top, right, bottom = map(float, text.replace(",", " ").split())
    except ValueError:
        raise UserError(f"{place}: the box {text.strip()!r} must be four numbers") from None
    if box_format is BoxFormat.xywh:
        right, bottom = left + right, top + bottom
    if not (0 < right - left < math.inf and 0 < bottom - top < math.inf):
        raise UserError(
            f"{place}: the box {text.strip()!r} has no area as data.box_format={box_format.value}"
        )
    return left, top, right, bottom


def read_lines(file: Path, text: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yields the number and the cells of each line that is not blank.

    Raises:
        UserError: a line is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(
                f"{Place(file, reader.line_num)}: it cannot be read ({error})"
            ) from None
        if any(cells):
            yield reader.line_num, cells


def read_text(file: Path) -> str:
    """Reads a list: UTF-8 or, as spreadsheets may write it, UTF-16. Other bytes are kept."""
    if file.is_dir():
        raise UserError(
            f"data.path={printable(file)}: is a folder; data=image_folder reads folders"
        )
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            f"data.path={printable(file)}: cannot be read ({os_reason(error)})"
        ) from error
    encoding = "utf-16" if content.startswith(UTF_16) else "utf-8-sig"
    return content.decode(encoding, "surrogateescape")


class Layout(NamedTuple):
    """How the lines of a list are read: for each of `COLUMNS`, the positions of its cells."""

    delimiter: str
    has_header: bool
    columns: dict[str, list[int]]


def _layout(file: Path, text: str, root: Path, config: DataConfig) -> Layout:
    """Recognises the delimiter and the header, from the first line."""
    wanted = {name: getattr(config, f"{name}_column") for name in COLUMNS if name != BOX}
    wanted = {name: [column] for name, column in wanted.items() if column is not None}
    if config.box_columns:
        wanted[BOX] = list(config.box_columns)
    if len(wanted.get(BOX, [""])) not in (1, 4):
        raise UserError(f"data.box_columns={','.join(wanted[BOX])}: give one column, or four")
    firsts = [next(read_lines(file, text, delimiter), (1, [])) for delimiter in DELIMITERS]
    for delimiter, (number, cells) in zip(DELIMITERS, firsts, strict=True):
        header = [cell.strip().casefold() for cell in cells]
        if wanted["path"][0].casefold() in header:
            return Layout(delimiter, True, _named_columns(Place(file, number), header, wanted))
    for delimiter, (_, cells) in zip(DELIMITERS, firsts, strict=True):
        columns = _numbered_columns(len(cells), wanted)
        if columns and _is_image(root, cells[columns["path"][0]]):
            return Layout(delimiter, False, columns)
    number, cells = max(firsts, key=lambda first: len(first[1]))
    if not cells:
        raise UserError(f"data.path={printable(file)}: it has no lines")
    raise UserError(
        f"{Place(file, number)}: it neither names an image nor is a header with the column "
        f"{wanted['path'][0]}; set data.path_column and data.label_column to two of its columns: "
        f"{printable(', '.join(cells))}"
    )


def _named_columns(
    place: Place, header: list[str], wanted: dict[str, list[str]]
) -> dict[str, list[int]]:
    columns = {}
    for name, texts in wanted.items():
        lacking = [text for text in texts if text.casefold() not in header]
        key = "box_columns" if name == BOX else f"{name}_column"
        if lacking and (name in REQUIRED or texts != [name]):
            raise UserError(
                f"{place}: there is no column {lacking[0]} (data.{key}); the columns are "
                f"{printable(', '.join(header))}"
            )
        for text in texts:
            if header.count(text.casefold()) > 1:
                raise UserError(f"{place}: several columns are called {text}; rename all but one")
        if not lacking:
            columns[name] = [header.index(text.casefold()) for text in texts]
    read = {position for positions in columns.values() for position in positions}
    unread = [text for position, text in enumerate(header) if position not in read]
    if unread:
        logger.info("%s: columns that are not read: %s", place, printable(", ".join(unread)))
    return columns


def _numbered_columns(width: int, wanted: dict[str, list[str]]) -> dict[str, list[int]]:
    """Returns the columns of a list without a header; none if a column has another name."""
    chosen = {
        name: [int(text) - 1 for text in texts]
        for name, texts in wanted.items()
        if all(text.isdecimal() for text in texts)
    }
    taken = {position for positions in chosen.values() for position in positions}
    for position, name in enumerate(COLUMNS):
        if wanted.get(name) == [name] and position < width and position not in taken:
            chosen[name] = [position]
    in_range = all(0 <= position < width for position in taken)
    is_complete = all(name in chosen or texts == [name] for name, texts in wanted.items())
    return chosen if in_range and is_complete and chosen.keys() >= set(REQUIRED) else {}


def _is_image(root: Path, path: str) -> bool:
    return Path(path.strip()).suffix.lower() in SUFFIXES or os.path.isfile(os.path.join(root, path))


def write_list(folder: Path, output: Path, split_folders: bool = True) -> int:
    """Writes the list of a folder of class folders, with paths relative to the list.

    The column "split" is left out if the folder has no split folders.

    Args:
        folder: see `read_folder`.
        output: the file to write.
        split_folders: see `read_folder`. Default: `True`.

    Returns:
        The number of images.

    Raises:
        UserError: the folder cannot be read, or the list cannot be written.
    """
    images, class_names, splits = read_folder(folder, split_folders, train_required=False)
    base = Path(os.path.relpath(folder, output.parent))
    text = io.StringIO(newline="")
    paths = [(base / path).as_posix() for path in images.files]
    # A reader that ignores spaces after a separator keeps those within quotes.
    quoting = csv.QUOTE_ALL if any(path[0].isspace() for path in paths) else csv.QUOTE_MINIMAL
    writer = csv.writer(text, quoting=quoting)  # type: ignore[arg-type]
    split_of = {index: split for split, indices in splits.items() for index in indices.tolist()}
    has_splits = list(splits) != ["train"]
    writer.writerow(["path", "label", "split"] if has_splits else ["path", "label"])
    for index, (path, label) in enumerate(zip(paths, images.labels.tolist(), strict=True)):
        split = [split_of[index]] if has_splits else []
        writer.writerow([path, class_names[label], *split])
    with files.atomic_path(output, "write the list again") as unfinished:
        unfinished.write_bytes(text.getvalue().encode("utf-8", "surrogateescape"))
    return len(paths)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.image_list",
        description="Writes a list for data=image_list: the images of a folder of class folders.",
    )
    parser.add_argument("folder", type=expanded, help="class/image or train|val|test/class/image")
    parser.add_argument(
        "--output", type=expanded, metavar="FILE", help="the list; default: images.csv in FOLDER"
    )
    parser.add_argument(
        "--no-split-folders",
        dest="split_folders",
        action="store_false",
        help="folders called train, val or test are classes",
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    output = options.output or options.folder / "images.csv"
    if output.exists():
        sys.exit(f"error: {output} exists already; remove it, or give another file with --output")
    try:
        count = write_list(options.folder, output, options.split_folders)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"{output}: {count} images")


if __name__ == "__main__":
    main()
