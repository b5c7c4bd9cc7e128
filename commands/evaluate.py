"""Metrics of a finished run's saved model, on its own data or on other data."""

import dataclasses
import sys
from pathlib import Path

import run_folder
from conf.schema import Task
from data.datasets import Dataset, open_dataset
from data.inputs import ImageInputs
from errors import UserError
from evaluation import retrieval
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_split
from models.saved_model import load_model

DIVIDING = (  # keys of data that say which pictures there are, and in which split
    "name",
    "path",
    "val_fraction",
    "test_fraction",
    "skip_damaged",
    "limit",
    "limit_classes",
)


def evaluate_run(folder: Path, overrides: list[str], split: str) -> dict[str, float]:
    """The figures of a finished run's saved model on `split` of its own or of other data.

    Its own are the pictures that it had: what came to a folder since is left out, and said.
    A classifier's data must have the run's classes. An embedding's may have any: `split` is one of
    their division by classes, and retrieval is within it.

    Args:
        folder: the run's.
        overrides: `key=value` changes to its configuration.
        split: "train", "val", "test", or "all" three.

    Raises:
        UserError: the run has not finished, the data cannot be read, their classes are not the
            run's, pictures of the run's are gone, or the split is empty.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key == "data.image_size" or not key.startswith(("data.", "trainer.batch_size")):
            raise UserError(
                f"{override}: the saved model is what it is; only data.* but image_size, and "
                "trainer.batch_size can change"
            )
    own, config = run_folder.read_config(folder, []).data, run_folder.read_config(folder, overrides)
    if config.task is Task.one_class:
        raise UserError(
            f"{folder}: a run of task=one_class, whose scores need its templates; its figures are "
            "in metrics.json"
        )
    class_names = run_folder.read_classes(folder)
    model = load_model(folder)
    retrieving = config.task is Task.metric_learning
    dataset = open_dataset(config.data, config.seed, disjoint_classes=retrieving)
    if dataset.class_names != class_names and not retrieving:
        unknown = sorted(set(dataset.class_names) ^ set(class_names))
        how = f"they differ in {unknown[:5]}" if unknown else "their order differs"
        raise UserError(f"{folder}: was trained on other classes; {how}")
    if all(getattr(own, key) == getattr(config.data, key) for key in DIVIDING):
        dataset = _as_the_run_had_it(folder, dataset, split)
    elif split == "all":
        dataset = dataclasses.replace(dataset, splits={"all": dataset.indices})
    if not len(dataset.splits[split]):
        raise UserError(f"the {split} split is empty")
    labels = dataset.labels[dataset.splits[split]]
    inputs = ImageInputs(dataset.images, config.data)
    how = (inputs, dataset, split, config.trainer.batch_size, config.data.average_mirror)
    outputs = predict_split(model, *how)
    if retrieving:
        return retrieval.retrieval_metrics(outputs, labels, config.seed)
    return classification_metrics(outputs, labels)


def _as_the_run_had_it(folder: Path, dataset: Dataset, split: str) -> Dataset:
    """`dataset` with the pictures that were in `split` when the run began."""
    kept = run_folder.read_splits(folder)
    if kept is None:
        print(f"{folder}: has no splits.json; its data are divided anew", file=sys.stderr)
        kept = dataset.keys()
    known = [key for keys in kept.values() for key in keys]
    new = set().union(*dataset.keys().values()).difference(known)
    if new:
        print(f"{len(new)} pictures that came since the run are left out", file=sys.stderr)
    return dataset.with_split(split, known if split == "all" else kept[split])
