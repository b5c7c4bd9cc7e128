"""A run of several workers: what each of them does around the experiment."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from conf.schema import Config
from errors import UserError
from experiments import run_folder
from experiments.hparams import flat
from training.workers import lost_workers, workers_of

# What may differ from machine to machine.
PATHS = {"data.path", "reference.path", "backbone.weights", "trainer.feature_dir"}


def run_together(
    config: Config, folder: Path, experiment: Callable[[Config, Path], dict]
) -> dict:
    """Joins the cluster, and takes part in the experiment unless its results are there already.

    Args:
        folder: the run's, where this worker is the chief. What the others write is thrown away.
        experiment: from the configuration and the folder to the results.

    Returns:
        The results; without "test" on workers that had not to know it.

    Raises:
        WorkerLost: another worker has ended.
        UserError: of the experiment, on the worker that it happened to.
    """
    workers = workers_of(config)
    with lost_workers(), tempfile.TemporaryDirectory() as nowhere:
        _check_same(flat(config), workers.from_chief(flat(config)), workers.index)
        if workers.is_chief:
            results = workers.from_chief(run_folder.enter(folder, config))
        else:
            results, folder = workers.from_chief(None), Path(nowhere)
        if results is None:
            results = experiment(config, folder)
        workers.from_chief(None)  # an end that the others are not ready for looks like a failure
    return results


def _check_same(own: dict, chiefs: dict, index: int) -> None:
    """Workers that run something else would wait for one another, or worse."""
    compared = (own | chiefs).keys() - PATHS
    differing = sorted(key for key in compared if own.get(key) != chiefs.get(key))
    if differing:
        raise UserError(
            f"worker {index + 1} has another {', '.join(differing)} than the first one; start all "
            "with the same command"
        )
