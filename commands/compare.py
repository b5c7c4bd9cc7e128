"""A paired comparison of two finished runs on their test images, from their files alone."""

import sys
from pathlib import Path

import numpy as np

import run_folder
from conf.schema import Task
from data.names import normal
from errors import UserError
from evaluation.comparison import Comparison, compare
from run_folder import Prediction


def compare_runs(folder_a: Path, folder_b: Path) -> Comparison:
    """Compares the predictions that two runs wrote for their test images.

    The runs must have the same test images, matched by key and, where both runs stored content
    hashes, by content. With other test splits the models would differ in their training images
    too, and each might have trained on test images of the other one: that is refused.

    Args:
        folder_a: Folder of a finished run of task=classification.
        folder_b: Folder of another one.

    Raises:
        UserError: a run has not finished or predicts no classes, its files are damaged, or the
            runs differ in their classes, test images or labels.
    """
    predictions_a, predictions_b = (_predictions(folder) for folder in (folder_a, folder_b))
    _check_classes(folder_a, folder_b)
    _check_images(folder_a, folder_b, predictions_a, predictions_b)
    relabelled = [
        key for key, each in predictions_a.items() if each.label != predictions_b[key].label
    ]
    if relabelled:
        raise UserError(
            f"{folder_b}: {len(relabelled)} test images have another label than in {folder_a}, "
            f"such as {relabelled[0]}; train both runs on the same labels"
        )
    right_a, right_b = (
        np.array([predictions[key].predicted == predictions[key].label for key in predictions_a])
        for predictions in (predictions_a, predictions_b)
    )
    return compare(right_a, right_b)


def _predictions(folder: Path) -> dict[str, Prediction]:
    task = run_folder.read_config(folder, []).task
    if task is not Task.classification:
        raise UserError(
            f"{folder}: a run of task={task.value}; only runs of task=classification, which "
            "predict one class for each test image, can be compared"
        )
    if run_folder.read_results(folder) is None:
        raise UserError(f"{folder}: has no metrics.json; the run has not finished")
    return run_folder.read_predictions(folder)


def _check_classes(folder_a: Path, folder_b: Path) -> None:
    classes_a, classes_b = map(run_folder.read_classes, (folder_a, folder_b))
    different = sorted(set(classes_a) ^ set(classes_b))
    if different:
        only = folder_a if different[0] in classes_a else folder_b
        raise UserError(
            f"{folder_b}: has other classes than {folder_a} ({len(different)} are only in one of "
            f"both, such as {different[0]} in {only}); train both runs on the same classes"
        )


def _check_images(
    folder_a: Path, folder_b: Path, a: dict[str, Prediction], b: dict[str, Prediction]
) -> None:
    common = a.keys() & b.keys()
    if not len(a) == len(b) == len(common):
        raise UserError(
            f"{folder_b}: has another test split than {folder_a} ({len(common)} images are in "
            f"both, of {len(a)} and {len(b)}); train both runs on the same data with the same seed"
        )
    hashes_a, hashes_b = map(_hashes, (folder_a, folder_b))
    if not hashes_a or not hashes_b:
        print("images are recognised by name only: a run has no content hashes", file=sys.stderr)
        return
    changed = [key for key in a if hashes_a.get(key) != hashes_b.get(key)]
    if changed:
        raise UserError(
            f"{folder_b}: {len(changed)} test images have the name of an image of {folder_a} and "
            f"other content, such as {changed[0]}; train both runs on the same images"
        )


def _hashes(folder: Path) -> dict[str, str]:
    """Returns the content hashes of the test images by key; empty if the run has none."""
    hashes = run_folder.read_content(folder).get("test", {})
    return {normal(key): digest for key, digest in hashes.items()}
