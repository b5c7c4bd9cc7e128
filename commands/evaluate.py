"""Metrics of a finished run's saved model, on its own data or on other data."""

import dataclasses
import sys
from operator import attrgetter
from pathlib import Path

import run_folder
from conf.schema import Task
from data.datasets import Dataset, open_dataset
from data.inputs import ImageInputs
from errors import UserError
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_indices
from evaluation.retrieval import retrieval_metrics
from models.saved_model import load_model

# The values of `data` that determine the images and their splits.
split_settings = attrgetter(
    "name", "path", "val_fraction", "test_fraction", "skip_damaged", "limit", "limit_classes"
)


def evaluate_run(folder: Path, overrides: list[str], split: str) -> dict[str, float]:
    """Returns the metrics of a run's saved model on `split` of the run's own or of other data.

    On its own data, the model is evaluated on the images that the run had. Images that were added
    since are ignored, with a message on standard error.

    Other data for a classifier must have the classes of the run. Other data for metric learning may
    have any classes; they are split by class, and retrieval stays within `split`.

    Args:
        folder: Folder of a finished run.
        overrides: `key=value` changes to the configuration of the run.
        split: "train", "val", "test", or "all" three.

    Raises:
        UserError: the run has not finished, the data cannot be read or lack images of the run,
            their classes differ from the run's, or the split is empty.
    """
    for override in overrides:
        key = override.partition("=")[0]
        if key == "data.image_size" or not key.startswith(("data.", "trainer.batch_size")):
            raise UserError(
                f"{override}: the model is already trained; only trainer.batch_size and the keys "
                "of data, except image_size, can change"
            )
    own, config = run_folder.read_config(folder, []).data, run_folder.read_config(folder, overrides)
    if config.task is Task.one_class:
        raise UserError(
            f"{folder}: a run of task=one_class, whose scores need the templates of the run; its "
            "metrics are in metrics.json"
        )
    class_names = run_folder.read_classes(folder)
    model = load_model(folder)
    retrieval = config.task is Task.metric_learning
    dataset = open_dataset(config.data, config.seed, disjoint_classes=retrieval)
    if dataset.class_names != class_names and not retrieval:
        unknown = sorted(set(dataset.class_names) ^ set(class_names))
        difference = f"they differ in {unknown[:5]}" if unknown else "their order differs"
        raise UserError(f"{folder}: was trained on other classes; {difference}")
    if split_settings(own) == split_settings(config.data):
        dataset = _restore_split(folder, dataset, split)
    elif split == "all":
        dataset = dataclasses.replace(dataset, splits={"all": dataset.indices})
    indices = dataset.splits[split]
    if not len(indices):
        raise UserError(f"the {split} split is empty")
    inputs, labels = ImageInputs(dataset.images, config.data), dataset.labels[indices]
    batch_size, average_mirror = config.trainer.batch_size, config.data.average_mirror
    outputs = predict_indices(model, inputs, indices, batch_size, average_mirror)
    if retrieval:
        return retrieval_metrics(outputs, labels, config.seed)
    return classification_metrics(outputs, labels)


def _restore_split(folder: Path, dataset: Dataset, split: str) -> Dataset:
    """Returns `dataset` with the images that `split` had when the run started."""
    stored = run_folder.read_splits(folder)
    known = [key for keys in stored.values() for key in keys]
    new = set().union(*dataset.keys().values()).difference(known)
    if new:
        print(f"{len(new)} images that were added after the run are ignored", file=sys.stderr)
    return dataset.with_split(split, known if split == "all" else stored[split])
