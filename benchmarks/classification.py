"""Stage 1 of a classification, and a data set without images, for benchmarks."""

import contextlib
import io
from pathlib import Path

import numpy as np
from hydra import compose, initialize

from conf.schema import Config
from conf.validation import checked
from data.datasets import Dataset
from data.image_folder import FolderImages
from experiments.classification import Classification
from training.distributed.workers import connect


def configuration(features: Path, *overrides: str) -> Config:
    """Composes the configuration of `python train.py OVERRIDES` with its own feature stores."""
    with initialize("../conf", version_base="1.3"):
        return checked(compose("config", [f"trainer.feature_dir={features}", *overrides]))


def made_dataset(samples: int, classes: int) -> Dataset:
    """Returns a training split whose images are never read: the features are made too."""
    indices, none = np.arange(samples), np.arange(0)
    images = FolderImages(Path("made"), [str(index) for index in indices], indices % classes)
    splits = {"train": indices, "val": none, "test": none}
    hashes = dict(enumerate(images.files))
    return Dataset(
        "made", images, [str(label) for label in range(classes)], splits, "", hashes=hashes
    )


def train_stage_1(config: Config, folder: Path) -> Classification:
    """Trains the head, without its output; `stages["head"]` of the result has the time."""
    folder.mkdir()
    experiment = Classification(config, folder, connect(config.task, config.trainer.strategy))
    with contextlib.redirect_stdout(io.StringIO()):
        experiment.open_data()
        experiment.build_model()
        experiment.train_head()
    return experiment
