"""A finished run's model on new pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

import run_folder
from conf.schema import Task
from data.decoding import evaluation_view
from data.image_folder import find_images
from errors import UserError
from models.saved_model import load_model

BATCH = 32

Prediction = tuple[Path, list[tuple[str, float]], str | None]


def predict_images(folder: Path, paths: list[Path], top: int) -> Iterator[Prediction]:
    """Yields each picture with its `top` classes and their probabilities, best first.

    A picture that cannot be read comes with no classes and the reason as the third item.

    Raises:
        UserError: `folder` is not the run of a finished classifier, or a path does not exist or
            holds no picture.
    """
    config = run_folder.read_config(folder, [])
    if config.task is not Task.classification:
        raise UserError(
            f"{folder}: a run of task={config.task.value}, which names no classes; its "
            "figures are in metrics.json"
        )
    class_names = run_folder.read_classes(folder)
    found = [image for path in paths for image in _found(path)]
    model = load_model(folder)
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        views, errors = {}, {}
        for path in batch:
            try:
                views[path] = evaluation_view(path.read_bytes(), str(path), config.data)
            except (UserError, OSError) as error:
                errors[path] = str(error).partition("; ")[0]  # the rest is for training
        chances = dict(zip(views, _probabilities(model, list(views.values())), strict=True))
        for path in batch:
            if path in errors:
                yield path, [], errors[path]
            else:
                best = np.argsort(-chances[path], kind="stable")[:top]
                yield path, [(class_names[i], float(chances[path][i])) for i in best], None


def _found(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    found = find_images(path)
    if not found:
        raise UserError(f"{path}: no pictures below this folder")
    return found


def _probabilities(model, views: list[np.ndarray]) -> np.ndarray:
    return model.predict(np.stack(views), verbose=0) if views else np.empty((0, 0))
