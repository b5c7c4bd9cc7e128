"""The files of a run's folder: configuration, splits, classes, predictions and metrics."""

import csv
import dataclasses
import json
import logging
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
from omegaconf import DictConfig, OmegaConf

import files
from conf import overrides
from conf.schema import RENAMED, Config, dotted, literal, nested, stage_2_of_earlier_versions
from conf.validation import checked
from data.datasets import Dataset
from data.names import class_name, normal
from errors import UserError

# The second file of each: of a second data set.
SPLITS = ("splits.json", "reference_splits.json")
CONTENT = ("content.json", "reference_content.json")
PREDICTIONS = ["picture", "label", "prediction", "probability"]  # columns of a classification's

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Results:
    """The outcome of a run on one worker.

    Attributes:
        val: metrics of the validation split; `None` without one.
        record: the content of `metrics.json`; `None` on every worker but the chief.
    """

    val: dict | None
    record: dict | None


def read_results(folder: Path) -> Results | None:
    """Returns the results of a finished run; `None` if the run has not finished."""
    path = folder / "metrics.json"
    if not path.exists():
        return None
    record = files.read_json(path)
    return Results(record["val"], record)


def write_json(path: Path, content: dict | list) -> None:
    """Writes a JSON file atomically."""
    files.write_text(path, json.dumps(content, indent=2) + "\n")


def as_yaml(config: Config) -> str:
    """Returns the content of `config.yaml`: every key, with `force` reset."""
    plain = nested(dataclasses.replace(config, force=False))
    return yaml.safe_dump(plain, allow_unicode=True, sort_keys=False, width=math.inf)


def stored_config(folder: Path) -> DictConfig:
    """Reads a run's `config.yaml`, on top of the schema's defaults.

    Keys that the program no longer has are ignored with one line.

    Raises:
        UserError: there is no `config.yaml`, or it belongs to another program.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder}: not a run's folder, it has no config.yaml")
    try:  # not by OmegaConf, which would take "${name}" in a path for a reference
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        content = None
    groups = ("task", "data", "backbone", "head", "trainer")
    if not isinstance(content, dict) or not all(group in content for group in groups):
        raise UserError(f"{path}: belongs to another program; give another folder")
    stored = OmegaConf.create(literal(content))
    schema = OmegaConf.structured(Config)
    for old, new in RENAMED.items():
        group, _, name = old.rpartition(".")
        if name in stored[group]:
            stored[group][new.rpartition(".")[2]] = stored[group].pop(name)
    for key, value in stage_2_of_earlier_versions(dotted(stored)).items():
        OmegaConf.update(stored, key, value)
    known = dotted(schema)
    removed = [
        key
        for key in dotted(stored)
        if key not in known and key.replace("reference.", "data.", 1) not in known
    ]
    for key in removed:
        group, _, name = key.rpartition(".")
        del (stored[group] if group else stored)[name]
    if removed:
        logger.warning("%s: ignored keys that no longer exist: %s", path, ", ".join(removed))
    merged = OmegaConf.merge(schema, stored)
    assert isinstance(merged, DictConfig)
    return merged


def read_config(folder: Path, texts: list[str]) -> Config:
    """Returns a run's configuration, changed by `key=value` texts in Hydra's grammar.

    Raises:
        UserError: see `stored_config`, `overrides.apply` and `checked`.
    """
    config = stored_config(folder)
    overrides.apply(config, texts)
    return checked(config)


def write_data(folder: Path, dataset: Dataset) -> None:
    """Writes the class names in the order of the model's outputs, the splits, and the citation.

    If the data set has coarser classes, it also writes `levels.json`: by level, the name of the
    group of each class.

    Raises:
        UserError: see `write_splits`.
    """
    write_splits(folder, dataset)
    write_json(folder / "classes.json", dataset.class_names)
    if dataset.levels:
        write_json(folder / "levels.json", dataset.levels)
    write_citations(folder, dataset)


def write_splits(folder: Path, *datasets: Dataset) -> None:
    """Writes the keys of the images of each split: one file for each data set.

    Raises:
        UserError: the folder holds the splits of a run on other images.
    """
    for name, dataset in zip(SPLITS, datasets, strict=False):
        path, keys = folder / name, dataset.keys()
        if path.exists() and (before := files.read_json(path)) != keys:
            changed = sum(len(set(keys[split]) ^ set(before[split])) for split in keys)
            raise UserError(
                f"{folder}: the images changed since this run began ({changed} were added to a "
                "split or removed from it); restore them, or start over with force=true"
            )
        write_json(path, keys)


def write_content(folder: Path, *datasets: Dataset) -> None:
    """Writes the content hashes of the images, by key, of each split: one file for each data set.

    Args:
        datasets: their `hashes` must have all images of their splits.

    Raises:
        UserError: the folder holds the hashes of a run on other images.
    """
    for name, dataset in zip(CONTENT, datasets, strict=False):
        path = folder / name
        content = {
            split: {dataset.images.key(index): dataset.hashes[index] for index in indices}
            for split, indices in dataset.splits.items()
        }
        if path.exists() and (before := files.read_json(path)) != content:
            changed = [
                key
                for split in content
                for key, digest in content[split].items()
                if before[split].get(key) != digest
            ]
            raise UserError(
                f"{folder}: the content of {len(changed)} images changed since this run began, "
                f"such as {changed[0]}; restore them, or start over with force=true"
            )
        write_json(path, content)


def write_citations(folder: Path, *datasets: Dataset) -> None:
    """Writes `citation.bib`, if a data set has a citation."""
    citations = "\n".join(dataset.citation for dataset in datasets if dataset.citation)
    if citations:
        files.write_text(folder / "citation.bib", citations)


def read_classes(folder: Path) -> list[str]:
    """Returns the class names of a run, in the order of its model's outputs.

    Earlier versions stored the names of folders as they were; see `class_name`.
    """
    return [class_name(name) for name in _read_json(folder / "classes.json")]


def read_levels(folder: Path) -> dict[str, list[str]]:
    """Returns the coarser classes of a run, by level, in the order of `read_classes`."""
    path = folder / "levels.json"
    return files.read_json(path) if path.exists() else {}


def read_splits(folder: Path) -> dict[str, list[str]]:
    """Returns the keys of the images of each split."""
    return _read_json(folder / "splits.json")


def read_content(folder: Path) -> dict[str, dict[str, str]]:
    """Returns the content hash of each split's images, by key; empty for runs of earlier versions.

    The splits are those of `read_splits`.
    """
    path = folder / CONTENT[0]
    return files.read_json(path) if path.exists() else {}


def _read_json(path: Path):
    if not path.is_file():
        raise UserError(f"{path.parent}: not a finished run's folder, it has no {path.name}")
    return files.read_json(path)


class Prediction(NamedTuple):
    """A test image's true and predicted class; `None`: no class, as a probability was NaN."""

    label: str
    predicted: str | None


def read_predictions(folder: Path) -> dict[str, Prediction]:
    """Returns what a finished classification predicted for its test images, by key.

    Raises:
        UserError: a file is missing, or `predictions.csv` does not fit the test split.
    """
    path = folder / "predictions.csv"
    keys = read_splits(folder)["test"]
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; restore it, or repeat the run")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *lines = csv.reader(file)
        if header != PREDICTIONS or len(lines) != len(keys):
            raise ValueError
        predictions = {}
        # The names of a folder's images are their keys, and those of TFDS are not.
        named = {normal(name) for name, *_ in lines} == set(map(normal, keys))
        for key, (name, label, predicted, probability) in zip(keys, lines, strict=True):
            if named and normal(name) != normal(key):
                raise ValueError
            best = None if probability == "nan" else class_name(predicted)
            predictions[normal(key)] = Prediction(class_name(label), best)
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: does not have the columns {','.join(PREDICTIONS)} and one line for each of "
            f"the {len(keys)} test images in splits.json, in their order; restore it, or repeat "
            "the run"
        ) from error
    return predictions


def write_predictions(path: Path, dataset: Dataset, split: str, probabilities: np.ndarray) -> None:
    """Writes one line per image: name, label, predicted class, and its probability."""
    best = probabilities.argmax(axis=1)
    files.write_csv(
        path,
        PREDICTIONS,
        [
            [*name_and_label(dataset, index), dataset.class_names[label], f"{scores[label]:.6f}"]
            for index, label, scores in zip(dataset.splits[split], best, probabilities, strict=True)
        ],
    )


def write_neighbours(path: Path, dataset: Dataset, split: str, nearest: np.ndarray) -> None:
    """Writes one line per image: name, label, and those of its nearest other image.

    Args:
        nearest: for each image, the position of its nearest other image in the split, (n,).
    """
    indices = dataset.splits[split]
    files.write_csv(
        path,
        ["picture", "label", "nearest", "nearest_label"],
        [
            [*name_and_label(dataset, index), *name_and_label(dataset, neighbour)]
            for index, neighbour in zip(indices, indices[nearest], strict=True)
        ],
    )


def name_and_label(dataset: Dataset, index: int) -> tuple[str, str]:
    """Returns the name of an image and the name of its class."""
    return dataset.images.name(index), dataset.class_names[dataset.labels[index]]
