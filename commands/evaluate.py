"""Metrics of a finished run's saved model, on its own data or on other data."""

import dataclasses
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

import files
import run_folder
from commands.evaluated_images import choose_images
from conf import overrides
from conf.schema import Task
from data.datasets import Dataset, first_of_each_class, open_all_images
from data.decoding import warn_of_missing_ends
from data.inputs import ImageInputs
from data.names import normal
from errors import UserError
from evaluation.bootstrap import Interval
from evaluation.class_metrics import ClassMetrics, class_metrics
from evaluation.metrics import classification_intervals, classification_metrics
from evaluation.outcomes import image_outcomes
from evaluation.prediction import predict_indices
from evaluation.retrieval import retrieval_metrics
from models.saved_model import load_model

AGAIN = "evaluate the run again"


class Evaluation(NamedTuple):
    """The metrics of a split, and of a classifier the 95% interval of most of them."""

    split: str
    metrics: dict[str, float]
    intervals: dict[str, Interval]


def evaluate_run(
    folder: Path, texts: list[str], split: str | None = None, per_class: Path | None = None
) -> Evaluation:
    """Evaluates a run's saved model on a split of the run's own or of other data.

    The run's own splits decide, wherever its images lie: its images are recognised by their key
    and, if the run stored content hashes, by their content. A line on standard error says what is
    evaluated, unless it is a whole split of the run in data that did not change.

    Other data need no splits, and not every class. Data for a classifier may have no other classes
    than the run; data for metric learning may have any.

    Args:
        folder: Folder of a finished run.
        texts: `key=value` changes to the configuration of the run.
        split: "train", "val" or "test": this split of the run or, if other data have no image of
            it, of the data; "test" then leaves out images that the run has trained on. "all": in
            the run's own data, the three splits; in other data, all images that the run has not
            trained on. "new": images that the run did not have. Default: `None`, "test" in the
            run's own data and where images of the run's test split are, otherwise "all".
        per_class: CSV file for the metrics of each class. Default: `None`, it is not written.

    Raises:
        UserError: the run has not finished, the data cannot be read or lack images of the run,
            they have classes that the run has not, or the split is empty; `per_class` cannot be
            written, or the run predicts no classes.
    """
    changed = _changed_keys(texts)
    own, config = run_folder.read_config(folder, []).data, run_folder.read_config(folder, texts)
    if config.task is Task.one_class:
        raise UserError(
            f"{folder}: a run of task=one_class, whose scores need the templates of the run; its "
            "metrics are in metrics.json"
        )
    retrieval = config.task is Task.metric_learning
    if retrieval and per_class is not None:
        raise UserError(f"{folder}: a run of task={config.task.value}, which predicts no classes")
    if per_class is not None:
        files.require_writable(per_class, AGAIN)
    class_names = run_folder.read_classes(folder)
    model = load_model(folder)
    limit = config.data.limit if "data.limit" in changed else None  # the run's own splits have it
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, limit=limit))
    dataset = open_all_images(config.data)
    labels = dataset.labels
    if not retrieval:
        labels = _labels(folder, dataset, class_names, config.data.limit_classes is not None)
    classes = np.arange(len(dataset.class_names if retrieval else class_names))
    kept = np.isin(labels, classes[: config.data.limit_classes])
    splits = {name: indices[kept[indices]] for name, indices in dataset.splits.items()}
    dataset = dataclasses.replace(dataset, splits=splits)
    choice = choose_images(folder, own, config, dataset, split)
    fractions = sorted(changed & {"data.val_fraction", "data.test_fraction"})
    if choice.of_run and fractions:
        choice.notes.append(f"{', '.join(fractions)}: not read, as the run's own splits decide")
    if choice.notes:
        print("; ".join(choice.notes), file=sys.stderr)
    indices = choice.indices
    if limit is not None:
        indices = first_of_each_class(indices, labels, limit)
    inputs, labels = ImageInputs(dataset.images, config.data), labels[indices]
    batch_size, average_mirror = config.trainer.batch_size, config.data.average_mirror
    outputs = predict_indices(model, inputs, indices, batch_size, average_mirror)
    warn_of_missing_ends()
    if retrieval:
        return Evaluation(choice.split, retrieval_metrics(outputs, labels, config.seed), {})
    levels, top_k = run_folder.read_levels(folder), config.report.top_k
    if per_class is not None:
        predictions = image_outcomes(outputs, labels).predictions
        _write_classes(per_class, class_metrics(labels, predictions, class_names))
    return Evaluation(
        choice.split,
        classification_metrics(outputs, labels, levels, top_k),
        classification_intervals(outputs, labels, levels, top_k),
    )


def _write_classes(path: Path, metrics: list[ClassMetrics]) -> None:
    header = ["class", *ClassMetrics._fields[1:]]
    files.write_csv(path, header, [list(each) for each in metrics], AGAIN)


def _changed_keys(texts: list[str]) -> set[str]:
    changed = set()
    for override in overrides.parse(texts):
        key = override.key_or_group
        allowed = ("data.", "report.", "trainer.batch_size")
        if key == "data.image_size" or not key.startswith(allowed):
            raise UserError(
                f"{override.input_line}: the model is already trained; only trainer.batch_size, "
                "report.top_k and the keys of data, except image_size, can change"
            )
        changed.add(key)
    return changed


def _labels(folder: Path, dataset: Dataset, class_names: list[str], limited: bool) -> np.ndarray:
    """Returns the labels of all images in the order of the run's classes; -1: of no class of it.

    Args:
        folder: the run's folder.
        dataset: the images.
        class_names: the run's classes.
        limited: whether `data.limit_classes` leaves images out.

    Raises:
        UserError: there are images of other classes, and `limited` is `False`.
    """
    numbers = {normal(name): number for number, name in enumerate(class_names)}
    of_class = np.array([numbers.get(normal(name), -1) for name in dataset.class_names])
    labels = of_class[dataset.labels]
    unknown = np.unique(dataset.labels[dataset.indices][labels[dataset.indices] < 0])
    if len(unknown) and not limited:
        names = ", ".join(dataset.class_names[label] for label in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise UserError(
            f"{folder}: was trained on other classes, not on {names}{more}; its "
            f"{len(class_names)} classes are listed in its classes.json"
        )
    return labels
