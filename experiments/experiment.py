"""The steps of a run, which `train.py` takes in order and every task defines."""

import abc
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import run_folder
from conf.schema import Config
from data.content import copies_within, hash_images
from data.datasets import Dataset, open_dataset
from reporting.hparams import log_hparams
from run_folder import Results
from training.distributed.workers import Workers
from training.precision import resolve_precision
from training.reproducibility import seed_everything

logger = logging.getLogger(__name__)


class Trial(abc.ABC):
    """One model that is built, trained and evaluated."""

    @abc.abstractmethod
    def build_model(self) -> None:
        """Builds the backbone, the descriptor and the linear part."""

    @abc.abstractmethod
    def train_head(self) -> None:
        """Stage 1: trains the head on the frozen backbone."""

    @abc.abstractmethod
    def fine_tune(self) -> None:
        """Stage 2: trains all weights from images, if `trainer.fine_tune_epochs` is set."""

    @abc.abstractmethod
    def evaluate(self) -> None:
        """Computes the test metrics."""


class Experiment(abc.ABC):
    """A run of one task.

    Args:
        config: the configuration.
        folder: the run's folder; for workers other than the chief, a temporary one.
        workers: the devices that train together.
    """

    disjoint_classes = False  # whether the test classes differ from the training classes

    def __init__(self, config: Config, folder: Path, workers: Workers):
        self.started = time.perf_counter()
        self.config, self.folder, self.workers = config, folder, workers

    def open_data(self) -> None:
        """Opens the images, labels and splits.

        It also writes the splits to the run's folder, resolves `trainer.precision=auto`, seeds all
        random generators, and sets the dtype policy of the backbone.
        """
        self.dataset = open_dataset(self.config.data, self.config.seed, self.disjoint_classes)
        logger.info(self.dataset.summary())
        self.config = resolve_precision(self.config, self.dataset, self.folder, self.workers)
        seed_everything(self.config)
        run_folder.write_data(self.folder, self.dataset)

    def compare_images(self, *datasets: Dataset) -> None:
        """Stores the images' content hashes in the run's folder, and reports exact copies.

        Images whose features were not stored before are read once. Only the chief does this.

        Raises:
            UserError: see `write_content`; or an image cannot be read.
        """
        if not self.workers.is_chief:
            return
        for dataset in datasets:
            hash_images(dataset, dataset.indices)
            if copies := copies_within(dataset):
                logger.warning(copies)
        run_folder.write_content(self.folder, *datasets)

    @abc.abstractmethod
    def trials(self) -> Iterator[Trial]:
        """Yields the models to train, one after the other."""

    @abc.abstractmethod
    def report(self) -> Results:
        """Writes predictions, TensorBoard's logs and `metrics.json`; returns the results."""

    def seconds(self) -> float:
        """Returns the seconds since the experiment began."""
        return round(time.perf_counter() - self.started, 3)

    def finish(self, record: dict) -> Results:
        """Writes the row of HParams, and then `metrics.json`, which marks a finished run."""
        log_hparams(self.folder, self.config, record)
        run_folder.write_json(self.folder / "metrics.json", record)
        return Results(record["val"], record)
