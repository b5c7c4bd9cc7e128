"""A finished run with a model that classifies colours by construction."""

import keras
import numpy as np
import pytest

import run_folder
from commands import resuming
from data.content import hash_images
from data.datasets import open_dataset


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, folder_config, image_folder_path):
    """A run on `image_folder_path`, whose classes are the channels with the largest mean."""
    folder = tmp_path_factory.mktemp("run")
    config = folder_config(image_folder_path, "data.image_size=16", "seed=3")
    resuming.enter(folder, config)
    dataset = open_dataset(config.data, config.seed)
    run_folder.write_data(folder, dataset)
    hash_images(dataset, dataset.indices)
    run_folder.write_content(folder, dataset)
    colour_model().save(folder / "model.keras")
    return folder


def colour_model() -> keras.Model:
    """RGB in 0...255 to the probabilities of blue, green and red."""
    images = keras.Input((16, 16, 3))
    linear = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(images, linear(keras.layers.GlobalAveragePooling2D()(images)))
    linear.set_weights([0.02 * np.eye(3)[::-1], np.zeros(3)])
    return model
