"""Names of images and classes as text that can be written to any file, plot or terminal."""

import functools
import unicodedata
from pathlib import Path

# Control characters, lone surrogates (bytes that are not UTF-8, as Python reads them), line breaks.
_ESCAPED = {"Cc", "Cs", "Zl", "Zp"}


def printable(name: str | Path) -> str:
    r"""Escapes what cannot be written: the byte E9 becomes `\udce9`, a line break `\n`.

    Backslashes of such a name are doubled, so different names stay different. The inverse is
    `text.encode("latin-1", "backslashreplace").decode("unicode_escape")`, as for a Python literal.
    All other names stay as they are.
    """
    text = str(name)
    # The first test is quick, and true of nearly all names.
    if text.isprintable() or not any(unicodedata.category(each) in _ESCAPED for each in text):
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character == "\\" or unicodedata.category(character) in _ESCAPED:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character


def normal(name: str) -> str:
    """The form (NFC) of a name that is the same on every file system.

    Some systems store an accented letter as one character, others as a letter and an accent (NFD).
    """
    return unicodedata.normalize("NFC", name)


@functools.lru_cache(2**16)  # lists repeat the names of classes and groups with each image
def class_name(folder: str) -> str:
    """The name of the class whose images are in a folder."""
    return printable(normal(folder))
