"""The files that releases consist of: tables of text, MATLAB files and JSON; and their boxes."""

import json
import math
from collections.abc import Collection as Keys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io

from data.collection import Box
from data.image_list import Place, read_text
from data.names import printable
from errors import UserError

TEXT_COMMENT = "#"


class Cell(NamedTuple):
    """A value of an image or a class, and its place in a file."""

    text: str
    place: Place


def read_table(file: Path) -> dict[str, Cell]:
    """Reads lines of a key, a space, and a text. Blank lines and comments are left out.

    Raises:
        UserError: the file cannot be read, a line has no text, or two lines contradict each other.
    """
    table: dict[str, Cell] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        key, _, text = line.strip().partition(" ")
        if not key or key.startswith(TEXT_COMMENT):
            continue
        cell = Cell(text.strip(), Place(file, number))
        if not cell.text:
            raise UserError(f"{cell.place}: {printable(line.strip())!r} lacks its second cell")
        before = table.setdefault(key, cell)
        if before.text != cell.text:
            name, text, other = map(printable, (key, cell.text, before.text))
            raise UserError(
                f"{cell.place}: {name} is {text}, but {other} in {before.place}; remove one of "
                "the two lines"
            )
    return table


def read_names(file: Path) -> dict[str, Place]:
    """Reads a name a line, and where it stands. Blank lines are left out.

    Raises:
        UserError: the file cannot be read, or has a name twice.
    """
    names: dict[str, Place] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        name, place = line.strip(), Place(file, number)
        if name in names:
            raise UserError(f"{place}: {printable(name)} stands in line {names[name].line} too")
        if name:
            names[name] = place
    return names


def same_keys(first: Path, keys: Keys[str], second: Path, others: Keys[str]) -> None:
    """Checks that two files list the same images or classes.

    Raises:
        UserError: it names the file that lacks some, and one of them.
    """
    for file, present, other, wanted in (
        (first, keys, second, others),
        (second, others, first, keys),
    ):
        lacking = [key for key in wanted if key not in present]
        if lacking:
            raise UserError(
                f"{printable(file)}: it lacks {printable(lacking[0])}, which {other.name} has "
                f"({len(lacking)} are lacking); restore it"
            )


def look_up(table: Mapping[str, str], cell: Cell, file: str, kind: str = "class") -> str:
    """Returns the entry of a cell in the table of another file.

    Raises:
        UserError: there is none.
    """
    if cell.text not in table:
        raise UserError(f"{cell.place}: {kind} {printable(cell.text)} is not in {file}")
    return table[cell.text]


def numbers(cell: Cell, count: int) -> list[float]:
    """Parses numbers that are separated by spaces.

    Raises:
        UserError: they are not as many, or no numbers.
    """
    try:
        values = [float(text) for text in cell.text.split()]
    except ValueError:
        values = []
    if len(values) != count:
        raise UserError(f"{cell.place}: expected {count} numbers instead of {cell.text!r}")
    return values


def box(sides: Iterable[float], place: Place) -> Box:
    """Checks a box: left, top, right, bottom.

    Raises:
        UserError: it has no area.
    """
    left, top, right, bottom = sides
    if not (0 < right - left < math.inf and 0 < bottom - top < math.inf):
        raise UserError(f"{place}: the box {left:g} {top:g} {right:g} {bottom:g} has no area")
    return left, top, right, bottom


def box_from_one(sides: Iterable[float], place: Place) -> Box:
    """Converts a box that counts pixels from 1, and whose last pixels are part of it.

    Raises:
        UserError: it is not four numbers, or has no area.
    """
    try:
        left, top, right, bottom = map(float, sides)
    except (TypeError, ValueError):
        raise UserError(f"{place}: its box is not four numbers") from None
    return box((left - 1, top - 1, right, bottom), place)


def read_json(file: Path) -> Any:
    """Parses a JSON file.

    Raises:
        UserError: the file cannot be read, or is no JSON.
    """
    try:
        return json.loads(read_text(file))
    except ValueError as error:
        raise UserError(f"{printable(file)}: it cannot be read ({error}); restore it") from error


def read_mat(file: Path, *variables: str) -> list[np.ndarray]:
    """Returns variables of a MATLAB file, of one dimension each.

    Raises:
        UserError: the file cannot be read, or has no such variable.
    """
    try:
        content = scipy.io.loadmat(file, squeeze_me=True)
    # Damaged files make scipy raise exceptions of many types.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{printable(file)}: it cannot be read ({reason}); restore it") from error
    for name in variables:
        if name not in content:
            raise UserError(f"{printable(file)}: it has no variable {name}; restore it")
    return [np.atleast_1d(content[name]) for name in variables]


def integers(file: Path, array: np.ndarray) -> list[int]:
    """Returns the values of an array.

    Raises:
        UserError: they are no integers.
    """
    try:
        values = array.astype(np.int64)
        if (values == array).all():
            return values.tolist()
    except (TypeError, ValueError):
        pass
    raise UserError(f"{printable(file)}: it has values that are no integers; restore it")


def fields(file: Path, structs: np.ndarray, *names: str) -> list[list]:
    """Returns the fields of the structs that `read_mat` returned.

    Raises:
        UserError: there is no such field.
    """
    for name in names:
        if name not in (structs.dtype.names or ()):
            raise UserError(f"{printable(file)}: its structs have no field {name}; restore it")
    return [structs[name].tolist() for name in names]
