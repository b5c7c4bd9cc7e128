"""Takes the steps of a run in this process, without the command line."""

from pathlib import Path

from commands import resuming
from conf.schema import Config, Strategy, Task
from run_folder import Results
from train import train
from training.distributed.workers import Workers, connect


def run_steps(config: Config, folder: Path) -> Results:
    """Enters a folder and takes the steps of a run in it, as `train.py` does."""
    results = resuming.enter(folder, config)
    return results or train(config, folder, connect(config.task, config.trainer.strategy))


def one_worker() -> Workers:
    """The workers of a run in one process on one device."""
    return connect(Task.classification, Strategy.none)
