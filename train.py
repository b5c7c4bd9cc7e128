"""Trains a second-order classifier; see `python train.py --help` and conf/config.yaml.

    python train.py                                        the drawn birds: a minute, no download
    python train.py head=average                           another head
    python train.py -m head=average,bilinear seed=0,1,2    a sweep, with a table at its end
    python train.py -m hydra/sweeper=search                a search for the best learning rate etc.
    python train.py experiment=cub200_vgg16                a paper's recipe
    python train.py data=image_folder data.path=FOLDER     your own pictures

A run that was interrupted goes on with `python train.py hydra.run.dir=ITS_FOLDER`; a sweep with its
command and hydra.sweep.dir=ITS_FOLDER.
"""

import math
import os
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from commands.running import (
    exit_when_terminated,
    format_error,
    import_tensorflow,
    limit_threads,
    resume_hint,
    run_command,
)
from conf.schema import (  # it registers conf/config.yaml's schema
    PRIMARY_METRIC,
    Config,
    Task,
    reference_is_named,
)
from errors import UserError
from training.distributed.cluster import cluster_of

WORST = -math.inf  # what a sweeper hears of a job that failed: a NaN would end Optuna's search


@reference_is_named()
@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config) -> float:
    """Runs one configuration in Hydra's output folder; returns what a sweeper may maximise."""
    import run_folder  # here and below: --help and --cfg answer at once

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        config = run_folder.configuration(folder, config)
        results = run(config, folder)
    except (UserError, OmegaConfBaseException, OSError) as error:
        if HydraConfig.get().mode is RunMode.RUN:
            raise SystemExit(error) from error
        return failed(folder, format_error(error))
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(resume_hint()) from error
    except Exception:
        if HydraConfig.get().mode is RunMode.RUN:
            raise
        return failed(folder, traceback.format_exc())
    metrics = results["val"]  # never the test split's
    return metrics[PRIMARY_METRIC[config.task]] if metrics else WORST


def failed(folder: Path, reason: str) -> float:
    """Notes why a job of a sweep failed, which is no reason to lose the others."""
    print(f"error: {reason}", flush=True)
    (folder / "error.txt").write_text(f"{reason}\n")
    return WORST


def run(config: Config, folder: Path) -> dict:
    """Hands the configuration to its experiment, unless that is finished, and prints the result."""
    import run_folder
    from reporting import tables

    together = cluster_of(config.trainer.strategy, os.environ)
    results = None if together else run_folder.enter(folder, config)
    if results is None:
        limit_threads(HydraConfig.get().launcher.get("n_jobs", 1))
        print(f"{folder} on {import_tensorflow()}", flush=True)
        from commands.distributed_run import run_together

        results = (
            run_together(config, folder, experiment) if together else experiment(config, folder)
        )
    if "test" in results:  # the chief's, where several workers train
        print(tables.final_table(config.task, results, folder), flush=True)
    return results


def experiment(config: Config, folder: Path) -> dict:
    """Runs what the configuration describes, from where its folder has got to."""
    from experiments import classification, metric_learning
    from experiments.one_class import experiment as one_class
    from experiments.post_mortem import experiment as post_mortem
    from reporting import hparams
    from training.distributed.workers import workers_of
    from training.feature_extraction import warn_of_unused_crops

    workers_of(config)  # a strategy that cannot be is told before anything is read
    warn_of_unused_crops(config, list(HydraConfig.get().overrides.task))
    experiments = {
        Task.classification: classification.run,
        Task.metric_learning: metric_learning.run,
        Task.one_class: one_class.run,
        Task.post_mortem: post_mortem.run,
    }
    results = experiments[config.task](config, folder)
    if "test" in results:
        hparams.log_hparams(folder, config, results)
    return results


if __name__ == "__main__":
    with exit_when_terminated():
        run_command(main)
