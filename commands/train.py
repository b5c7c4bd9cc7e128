"""Runs one configuration in its folder: resuming, workers, and failures in a sweep."""

import contextlib
import logging
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import files
from commands import standard_streams
from commands.error_messages import format_error
from commands.run_lock import RunInProgress
from commands.running import configure_logging, import_tensorflow, limit_threads, resume_hint
from conf.paths import PATH_KEYS
from conf.schema import PRIMARY_METRIC, Config
from conf.validation import unused_options
from errors import UserError

if TYPE_CHECKING:
    from run_folder import Results
    from training.distributed.workers import Workers

WORST = -math.inf  # the value of a failed job for a sweeper; a NaN would end Optuna's search

Steps = Callable[[Config, Path, "Workers"], "Results"]  # `train` in train.py

logger = logging.getLogger(__name__)


def run(composed: DictConfig, steps: Steps) -> float:
    """Takes the steps of a run in Hydra's output folder.

    In a sweep, a failed job is reported, and the other jobs continue.

    Returns:
        The validation metric that a sweeper may maximise.
    """
    from commands import resuming  # here and below: `--help` and `--cfg` do not wait for imports

    standard_streams.outlive_output()  # a run is worth more than what it prints
    configure_logging(sys.stdout)
    hydra_config = HydraConfig.get()
    single = hydra_config.mode is RunMode.RUN
    folder = Path(hydra_config.runtime.output_dir)
    # Not resolved: an override may hold "${name}", which `composed` has resolved at its key.
    overrides = OmegaConf.to_container(hydra_config.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    try:
        config = resuming.configuration(folder, composed, overrides)  # checked
        _check_unused(unused_options(config, overrides), single)
        results = _train_or_read(config, folder, steps)
    except RunInProgress as error:
        if single:
            raise SystemExit(error) from error
        logger.error("error: %s", error)  # and no error.txt in the folder of the other process
        return WORST
    except (UserError, OmegaConfBaseException, OSError) as error:
        if single:
            raise SystemExit(error) from error
        return _failed(folder, format_error(error))
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(resume_hint()) from error
    except Exception:
        if single:
            raise
        return _failed(folder, traceback.format_exc())
    return results.val[PRIMARY_METRIC[config.task]] if results.val else WORST


def _check_unused(messages: list[str], single: bool) -> None:
    if messages and single:
        raise UserError("; ".join(messages))
    if messages:
        logger.warning("warning: %s", "; ".join(messages))


def _failed(folder: Path, reason: str) -> float:
    """Stores the reason of a failed job, which the sweep's summary repeats."""
    logger.error("error: %s", reason)
    try:
        files.write_text(folder / "error.txt", f"{reason}\n")
    except UserError as error:  # the other jobs are not lost to it
        logger.error("error: %s", error)
    return WORST


def _train_or_read(config: Config, folder: Path, steps: Steps) -> "Results":
    """Trains, unless the run has finished before, and prints the final table."""
    from commands import resuming
    from reporting.tables import final_table
    from training.distributed.cluster import cluster_of

    alone = cluster_of(config.trainer.strategy, os.environ) is None
    with resuming.entered(folder, config) if alone else contextlib.nullcontext() as results:
        if results is None:
            limit_threads(HydraConfig.get().launcher.get("n_jobs", 1))
            logger.info("%s on %s", folder, import_tensorflow())
            from data.decoding import warn_of_missing_ends
            from training.distributed.workers import connect, lost_workers

            workers = connect(config.task, config.trainer.strategy)
            if alone:
                results = steps(config, folder, workers)
            else:
                with lost_workers():
                    results = _train_together(config, folder, steps, workers)
            warn_of_missing_ends()
    if results.record is not None:
        print(final_table(config.task, results.record, folder), flush=True)
    return results


def _train_together(config: Config, folder: Path, steps: Steps, workers: "Workers") -> "Results":
    """Trains with several workers. Only the chief uses the run's folder."""
    from commands import resuming
    from reporting.hparams import flat
    from run_folder import Results

    _check_same(flat(config), workers.broadcast_object(flat(config)), workers.index)
    with contextlib.ExitStack() as stack:
        discarded = stack.enter_context(tempfile.TemporaryDirectory())
        finished = None
        if workers.is_chief:
            finished = stack.enter_context(resuming.entered(folder, config))
        record = workers.broadcast_object(finished and finished.record)
        if record is not None:
            results = Results(record["val"], record if workers.is_chief else None)
        else:
            results = steps(config, folder if workers.is_chief else Path(discarded), workers)
        # A worker that exits while others are still busy looks to them like a failure.
        workers.broadcast_object(None)
    return results


def _check_same(own: dict, chiefs: dict, index: int) -> None:
    """Refuses a worker of another configuration: the workers would wait for each other."""
    compared = (own | chiefs).keys() - PATH_KEYS
    differing = sorted(key for key in compared if own.get(key) != chiefs.get(key))
    if differing:
        raise UserError(
            f"worker {index + 1} has another {', '.join(differing)} than the first one; start all "
            "workers with the same command"
        )
