"""What a run leaves behind: figures, predictions, configuration, model."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import files
from conf.schema import Config, checked, dotted
from data.datasets import Dataset
from errors import UserError

SPLITS = ("splits.json", "reference_splits.json")  # the latter of a second data set
UNTRAINED = ("config.yaml", *SPLITS, "checkpoints/precision.json")  # what it may leave
TRAINED = ("metrics.json", "metrics.jsonl", "record.json", "*.h5", "*.keras")  # by which it is told


def write_json(path: Path, content: dict | list) -> None:
    """Writes a file whole or not at all."""
    files.write_text(path, json.dumps(content, indent=2) + "\n")


def configuration(folder: Path, composed: DictConfig) -> Config:
    """What to run: `composed`, or, where the command line asks for nothing but a folder that holds
    a run, that run's own configuration."""
    path, asked = folder / "config.yaml", HydraConfig.get().overrides.task
    if path.is_file() and all(text.startswith("force=") for text in asked):
        _check_ours(folder, path.read_text())
        return read_config(folder, list(asked))
    return checked(composed)


def enter(folder: Path, config: Config) -> dict | None:
    """Prepares a run's folder: new, or to go on in; `config.force` empties it first.

    A run that failed before it trained anything, as on its data, leaves nothing to go on with: its
    configuration gives way to another one, and its pictures to others.

    Returns:
        The results of the run, if it is finished.

    Raises:
        UserError: the folder holds a run of another configuration.
    """
    path, text = folder / "config.yaml", as_yaml(config)
    if config.force:
        _empty(folder)
    elif path.exists():
        _meet(folder, path.read_text(), text)
    (folder / "error.txt").unlink(missing_ok=True)
    if not path.exists():
        files.write_text(path, text)
    finished = folder / "metrics.json"
    if not finished.exists():
        return None
    print(f"{folder} is finished; force=true repeats it", flush=True)
    return json.loads(finished.read_text())


def _meet(folder: Path, before: str, text: str) -> None:
    """Refuses configuration `text` where a run of another one, `before`, has trained something;
    where nothing was trained, removes what would hold `text` to it."""
    _check_ours(folder, before)
    kept = _trained(folder)
    if before != text:
        changed = _changes(before, text)
        if kept:
            raise UserError(
                f"{folder}: holds a run of another configuration ({changed}); give the same one, "
                "another hydra.run.dir, or force=true to overwrite it"
            )
        print(f"{folder}: nothing was trained there; what changed is taken ({changed})", flush=True)
    if not kept:
        for name in UNTRAINED:
            (folder / name).unlink(missing_ok=True)


def _trained(folder: Path) -> bool:
    return any(any(folder.rglob(name)) for name in TRAINED)


def _check_ours(folder: Path, text: str) -> None:
    """Refuses what is not even an earlier version's configuration of this program."""
    groups = ("task", "data", "backbone", "head", "trainer")
    if not all(f"\n{group}:" in f"\n{text}" for group in groups):
        raise UserError(
            f"{folder}: holds another program's config.yaml; give another hydra.run.dir"
        )


def _changes(before: str, text: str) -> str:
    """Such as "data.path: a -> b" of two configurations."""
    old, new = (dotted(OmegaConf.to_container(OmegaConf.create(yaml))) for yaml in (before, text))
    return ", ".join(
        f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}"
        for key in {**old, **new}
        if old.get(key, "unset") != new.get(key, "unset")
    )


def _empty(folder: Path) -> None:
    """Removes what a run in it would go on with."""
    for name in ("checkpoints", "dynamics", "tensorboard", "targets", "variants"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "metrics.json",
        "metrics.jsonl",
        "config.yaml",
        "model.keras",
        "target.json",
        *SPLITS,
    ):
        (folder / name).unlink(missing_ok=True)


def write_data(folder: Path, dataset: Dataset) -> None:
    """Leaves `classes.json`, in the order of a model's outputs, the splits, and whom to cite.

    Raises:
        UserError: see `write_splits`.
    """
    write_splits(folder, dataset)
    write_json(folder / "classes.json", dataset.class_names)
    write_citations(folder, dataset)


def write_splits(folder: Path, *datasets: Dataset) -> None:
    """Leaves in `splits.json` which pictures are in which split; those of a second data set in
    `reference_splits.json`.

    Raises:
        UserError: the folder holds the splits of a run that began with other pictures.
    """
    for name, dataset in zip(SPLITS, datasets, strict=False):
        path, keys = folder / name, dataset.keys()
        if path.exists() and (before := json.loads(path.read_text())) != keys:
            changed = sum(len(set(keys[split]) ^ set(before[split])) for split in keys)
            raise UserError(
                f"{folder}: the pictures changed since this run began ({changed} came to a split "
                "or left one); restore them, or start over with force=true"
            )
        write_json(path, keys)


def write_citations(folder: Path, *datasets: Dataset) -> None:
    """Leaves whom to cite in `citation.bib`, if there is anybody."""
    citations = "\n".join(dataset.citation for dataset in datasets if dataset.citation)
    if citations:
        (folder / "citation.bib").write_text(citations)


def as_yaml(config: Config) -> str:
    """What `config.yaml` holds: all keys, with `force` at rest."""
    return OmegaConf.to_yaml(OmegaConf.structured(dataclasses.replace(config, force=False)))


def save_model(folder: Path, model) -> None:
    """Writes `model.keras`, whole or not at all."""
    with files.atomic_path(folder / "model.keras") as unfinished:
        model.save(unfinished)


def read_config(folder: Path, overrides: list[str]) -> Config:
    """A finished run's configuration, with `key=value` overrides, checked against the schema.

    Raises:
        UserError: the folder is no run's; see also `checked`.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder}: not a run's folder, it has no config.yaml")
    return checked(OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(overrides)))


def read_classes(folder: Path) -> list[str]:
    """The class names of a run, in the order of its model's outputs."""
    path = folder / "classes.json"
    if not path.is_file():
        raise UserError(f"{folder}: not a finished run's folder, it has no classes.json")
    return json.loads(path.read_text())


def read_splits(folder: Path) -> dict[str, list[str]] | None:
    """The keys of the pictures of each of a run's splits; `None` of a run that kept none."""
    path = folder / "splits.json"
    return json.loads(path.read_text()) if path.is_file() else None


def load_model(folder: Path):
    """A run's `model.keras`: RGB in 0...255 to probabilities.

    Raises:
        UserError: the run has not finished.
    """
    import keras

    import layers  # registers what the model is made of
    import models.adapter
    import models.inference_mode
    import models.preprocessing

    assert layers and models.adapter and models.inference_mode and models.preprocessing
    path = folder / "model.keras"
    if not path.is_file():
        raise UserError(f"{folder}: has no model.keras; the run has not finished")
    return keras.models.load_model(path, compile=False)


def write_predictions(path: Path, dataset: Dataset, split: str, probabilities: np.ndarray) -> None:
    """One line a picture: its name, its class, the predicted class and that one's probability."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "label", "prediction", "probability"])
        for index, chances in zip(dataset.splits[split], probabilities, strict=True):
            best = int(chances.argmax())
            label = dataset.class_names[dataset.labels[index]]
            writer.writerow(
                [
                    dataset.images.name(index),
                    label,
                    dataset.class_names[best],
                    f"{chances[best]:.6f}",
                ]
            )


def write_neighbours(path: Path, dataset: Dataset, split: str, nearest: np.ndarray) -> None:
    """One line a picture: its name, its class, its nearest other picture and that one's class.

    Args:
        nearest: the place in `split` of each picture's nearest other, (n,).
    """
    indices = dataset.splits[split]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["picture", "label", "nearest", "nearest_label"])
        for index, found in zip(indices, indices[nearest], strict=True):
            writer.writerow(
                [
                    text
                    for each in (index, found)
                    for text in (
                        dataset.images.name(each),
                        dataset.class_names[dataset.labels[each]],
                    )
                ]
            )
