"""A finished run whose model tells colours apart without having learnt it."""

import keras
import numpy as np
import pytest

from data.datasets import open_dataset
from experiments import run_folder


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, folder_config, picture_folder):
    """A run's folder on `picture_folder`: the class is the channel whose mean is the largest."""
    folder = tmp_path_factory.mktemp("run")
    config = folder_config(picture_folder, "data.image_size=16", "seed=3")
    run_folder.enter(folder, config)
    run_folder.write_data(folder, open_dataset(config.data, config.seed))
    colour_model().save(folder / "model.keras")
    return folder


def colour_model() -> keras.Model:
    """RGB in 0...255 to the probabilities of blue, green and red."""
    pictures = keras.Input((16, 16, 3))
    linear = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(pictures, linear(keras.layers.GlobalAveragePooling2D()(pictures)))
    linear.set_weights([0.02 * np.eye(3)[::-1], np.zeros(3)])
    return model
