"""Identifiers and modules are named with the nouns of the field."""

import ast
import builtins
import dataclasses
import re
from pathlib import Path

import pytest

from conf.schema import TrainerConfig

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "lot", "lots", "told", "found", "picture", "pictures", "figure", "figures", "row", "rows",
    "gathered",
}  # fmt: skip
FORBIDDEN_NAMES = {"way_on", "begin_linear", "settle_precision"}
PUBLISHED = {field.name for field in dataclasses.fields(TrainerConfig)}  # pictures_per_class
TABLES = {  # files in which a row is a row of a table, of a matrix or of a grid of pixels
    "benchmarks/losses.py",
    "commands/hydra_callbacks.py",
    "data/bird_drawing.py",
    "losses/triplet_semi_hard_loss.py",
    "models/portable.py",
    "reporting/class_plots.py",
    "reporting/confusion_matrix.py",
    "reporting/image_grid.py",
    "reporting/sweep_summary.py",
    "reporting/tables.py",
    "summarize.py",
    "tests/layer_references.py",
    "tests/reporting/test_confusion_matrix.py",
    "tests/reporting/test_image_grid.py",
    "tests/reporting/test_hparams.py",
    "tests/reporting/test_sweep_summary.py",
    "tests/reporting/test_tables.py",
}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.rglob("*.py")
    if not any(part.startswith(".") or part in ("build", "venv") for part in path.parts)
    and path.relative_to(ROOT).parts[:1] != ("layers",)
    and path.relative_to(ROOT).parts[:2] != ("tests", "layers")
)


def words(name: str) -> set[str]:
    """`"FolderImages"` and `"folder_images"` as {"folder", "images"}."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def identifiers(source: str) -> set[str]:
    """Every name that a file defines or uses, without those of Python itself."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name", "asname"):
            value = getattr(node, field, None)
            if isinstance(value, str):
                names |= set(value.split("."))
    return names - set(dir(builtins))


def forbidden(file: str, source: str) -> set[str]:
    stem = Path(file).stem
    names = (identifiers(source) | {stem}) - PUBLISHED
    allowed = {"row", "rows"} if file in TABLES else set()
    if file.startswith(("reporting/", "tests/reporting/")):
        allowed |= {"figure"}  # matplotlib's
    return {
        name for name in names if words(name) & (FORBIDDEN - allowed) or name in FORBIDDEN_NAMES
    }


@pytest.mark.parametrize("file", FILES)
def test_identifiers_are_nouns_of_the_field(file):
    assert not forbidden(file, (ROOT / file).read_text())


@pytest.mark.parametrize(
    "source", ["rows = []", "def told(): ...", "x.found", "f(pictures=1)", 'f"{figures}"']
)
def test_the_rule_knows_a_forbidden_name_wherever_it_stands(source):
    assert forbidden("data/module.py", source)
