"""Saves and loads the model of a run."""

from pathlib import Path

import keras

import files


def save_model(folder: Path, model: keras.Model) -> None:
    with files.atomic_path(folder / "model.keras") as unfinished:
        model.save(unfinished)


def load_model(folder: Path) -> keras.Model:
    import layers
    import models.adapter
    import models.inference_mode
    import models.preprocessing

    assert layers and models.adapter and models.inference_mode and models.preprocessing
    return keras.models.load_model(folder / "model.keras", compile=False)
