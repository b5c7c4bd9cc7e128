"""Predictions of a finished run's model for new images."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import run_folder
from conf.schema import DataConfig, Region, Task
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
    class_names = run_folder.read_classes(folder)
    images = list_images(paths)
    model = load_model(folder)
    warn_of_boxes(config.data)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        views, errors = read_views(batch, config.data)
        outputs = model.predict(np.stack(list(views.values())), verbose=0) if views else []
        probabilities = dict(zip(views, outputs, strict=True))
        for path in batch:
            scores = probabilities.get(path, np.empty(0))
            best = np.argsort(-scores, kind="stable")[:top]
            yield path, [(class_names[i], float(scores[i])) for i in best], errors.get(path)
    warn_of_missing_ends()


def list_images(paths: list[Path]) -> list[Path]:
    """Returns the images among and below the paths.

    Raises:
        UserError: a path does not exist or contains no images.
    """
    images = []
    for path in paths:
        if not path.exists():
            raise UserError(f"{printable(path)}: no such file or folder")
        below = find_images(path)
        if not below:
            raise UserError(f"{printable(path)}: no images below this folder")
        images += below
    return images


def warn_of_boxes(config: DataConfig) -> None:
    """Says that new images have no boxes, if the run reads boxes."""
    if config.crop is Region.box:
        note = "images on the command line have no boxes: all of each image is read"
        print(f"data.crop=box: {note}", file=sys.stderr)


def read_views(
    images: list[Path], config: DataConfig
) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """Reads images as the network sees them.

    Returns:
        The views, uint8 of shape (side, side, 3); and for each other image why it has none.
    """
    views, errors = {}, {}
    for path in images:
        try:
            views[path] = evaluation_view(path.read_bytes(), str(path), config)
        except UndecodableError as error:
            errors[path] = f"{printable(path)} cannot be decoded ({error.reason})"
        except OSError as error:
            errors[path] = f"{printable(path)} cannot be read ({error.strerror})"
    return views, errors
