"""Predictions of a finished run's model for new images."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import run_folder
from conf.schema import Region, Task
from data.decoding import UndecodableError, evaluation_view, warn_of_missing_ends
from data.image_folder import find_images
from data.names import printable
from errors import UserError
from models.saved_model import load_model

BATCH = 32

Prediction = tuple[Path, list[tuple[str, float]], str | None]


def predict_images(folder: Path, paths: list[Path], top: int) -> Iterator[Prediction]:
    """Yields each image with its `top` most probable classes and their probabilities.

    An image that cannot be read is yielded without classes; the third item is the reason.

    Raises:
        UserError: `folder` is not a finished run of task=classification, or a path does not exist
            or contains no images.
    """
    config = run_folder.read_config(folder, [])
    if config.task is not Task.classification:
        raise UserError(
            f"{folder}: a run of task={config.task.value}, which predicts no classes; its metrics "
            "are in metrics.json"
        )
    if config.data.crop is Region.box:
        note = "images on the command line have no boxes: all of each image is read"
        print(f"data.crop=box: {note}", file=sys.stderr)
    class_names = run_folder.read_classes(folder)
    images = [image for path in paths for image in _list_images(path)]
    model = load_model(folder)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        views, errors = {}, {}
        for path in batch:
            try:
                views[path] = evaluation_view(path.read_bytes(), str(path), config.data)
            except UndecodableError as error:
                errors[path] = f"{printable(path)} cannot be decoded ({error.reason})"
            except OSError as error:
                errors[path] = f"{printable(path)} cannot be read ({error.strerror})"
        outputs = model.predict(np.stack(list(views.values())), verbose=0) if views else []
        probabilities = dict(zip(views, outputs, strict=True))
        for path in batch:
            scores = probabilities.get(path, np.empty(0))
            best = np.argsort(-scores, kind="stable")[:top]
            yield path, [(class_names[i], float(scores[i])) for i in best], errors.get(path)
    warn_of_missing_ends()


def _list_images(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{printable(path)}: no such file or folder")
    images = find_images(path)
    if not images:
        raise UserError(f"{printable(path)}: no images below this folder")
    return images
