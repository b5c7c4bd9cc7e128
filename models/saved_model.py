"""The saved model of a run, `model.keras`."""

import importlib.util
from pathlib import Path

import keras

# Importing these modules registers the layers of a saved model with Keras.
import layers  # noqa: F401
from errors import UserError
from files import atomic_path
from models import model_layers  # noqa: F401
from models.presets import REQUIREMENTS

FILE_NAME = "model.keras"


def save_model(folder: Path, model: keras.Model) -> None:
    """Writes `model` to the folder of its run. The file appears only when it is complete.

    Raises:
        UserError: the file cannot be written; see `files.explain_write_errors`.
    """
    with atomic_path(folder / FILE_NAME) as unfinished:
        model.save(unfinished)


def load_model(folder: Path) -> keras.Model:
    """Loads the model of a run, which takes RGB images in 0...255.

    Raises:
        UserError: the folder has no model, because its run has not finished; or the model has
            layers of keras-hub, which is not installed.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UserError(f"{folder}: has no {FILE_NAME}; the run has not finished")
    try:
        return keras.models.load_model(path, compile=False)
    except (ImportError, TypeError) as error:
        if "keras_hub" in str(error) and importlib.util.find_spec("keras_hub") is None:
            raise UserError(f"{path}: needs keras-hub: {REQUIREMENTS}") from error
        raise
