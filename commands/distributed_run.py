"""A run of several workers: what each of them does around the experiment."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import run_folder
from conf.schema import Config
from errors import UserError
from reporting.hparams import flat
from training.distributed.workers import lost_workers, workers_of

# What may differ from machine to machine.
PATHS = {"data.path", "reference.path", "backbone.weights", "trainer.feature_dir"}


def run_together(config: Config, folder: Path, experiment: Callable[[Config, Path], dict]) -> dict:
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
        _check_same(flat(config), workers.broadcast_object(flat(config)), workers.index)
        if workers.is_chief:
            results = workers.broadcast_object(run_folder.enter(folder, config))
        else:
            results, folder = workers.broadcast_object(None), Path(nowhere)
        if results is None:
            results = experiment(config, folder)
        workers.broadcast_object(
            None
        )  # an end that the others are not ready for looks like a failure
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
