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

from conf.schema import Config, Task, reference_is_named  # it registers conf/config.yaml's schema
from errors import UserError
from experiments.commands import (
    described,
    exit_when_terminated,
    import_tensorflow,
    run_command,
    share_cores,
    way_on,
)
from training.cluster import cluster_of

WORST = -math.inf  # what a sweeper hears of a job that failed: a NaN would end Optuna's search


@reference_is_named()
@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config) -> float:
    """Runs one configuration in Hydra's output folder; returns what a sweeper may maximise."""
    from experiments import report, run_folder  # here and below: --help and --cfg answer at once

    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        results = run(run_folder.configuration(folder, config), folder)
    except (UserError, OmegaConfBaseException, OSError) as error:
        if HydraConfig.get().mode is RunMode.RUN:
            raise SystemExit(error) from error
        return failed(folder, described(error))
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(way_on()) from error
    except Exception:
        if HydraConfig.get().mode is RunMode.RUN:
            raise
        return failed(folder, traceback.format_exc())
    figures = results["val"]  # never the test split's
    return figures[report.headline(figures)] if figures else WORST


def failed(folder: Path, reason: str) -> float:
    """Notes why a job of a sweep failed, which is no reason to lose the others."""
    print(f"error: {reason}", flush=True)
    (folder / "error.txt").write_text(f"{reason}\n")
    return WORST


def run(config: Config, folder: Path) -> dict:
    """Hands the configuration to its experiment, unless that is finished, and prints the result."""
    from experiments import report, run_folder

    together = cluster_of(config.trainer.strategy, os.environ)
    results = None if together else run_folder.enter(folder, config)
    if results is None:
        share_cores(HydraConfig.get().launcher.get("n_jobs", 1))
        print(f"{folder} on {import_tensorflow()}", flush=True)
        from experiments.together import run_together

        results = (run_together(config, folder, experiment) if together
                   else experiment(config, folder))
    elif not run_folder.hparams_files(folder):  # it was stopped before its very last step
        import_tensorflow()
        from experiments import hparams

        hparams.log_hparams(folder, config, results)
    if "test" in results:  # the chief's, where several workers train
        print(report.final_table(results, folder), flush=True)
    return results


def experiment(config: Config, folder: Path) -> dict:
    """Runs what the configuration describes, from where its folder has got to."""
    from experiments import classification, hparams, metric_learning, one_class, post_mortem
    from training.frozen import warn_of_unused_crops
    from training.workers import workers_of

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
