"""Stage 1 of a classification run, in the process of a benchmark."""

import contextlib
import io
from pathlib import Path

from hydra import compose, initialize

from conf.schema import Config
from conf.validation import checked
from experiments.classification import Classification
from training.distributed.workers import connect


def configuration(features: Path, *overrides: str) -> Config:
    """Composes the configuration of `python train.py OVERRIDES` with its own feature stores."""
    with initialize("../conf", version_base="1.3"):
        return checked(compose("config", [f"trainer.feature_dir={features}", *overrides]))


def train_stage_1(config: Config, folder: Path) -> Classification:
    """Trains the head, without the output of Keras; `stages["head"]` of the result has the time."""
    folder.mkdir()
    experiment = Classification(config, folder, connect(config.task, config.trainer.strategy))
    with contextlib.redirect_stdout(io.StringIO()):
        experiment.open_data()
        experiment.build_model()
        experiment.train_head()
    return experiment
