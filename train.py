"""Trains a fine-grained classifier, an embedding, or one-class features.

    python train.py                                        the drawn birds: a minute, no download
    python train.py head=average                           another head
    python train.py -m head=average,bilinear seed=0,1,2    a sweep, with a table at its end
    python train.py experiment=cub200_vgg16                the recipe of a paper
    python train.py data=image_folder data.path=FOLDER     your own images, class/image.jpg
    python train.py data=image_list data.path=FILE.csv     your own images, as a list
    python train.py hydra.run.dir=FOLDER                   resume the run in FOLDER

`python train.py --help` lists the options; `conf/schema.py` explains them.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import commands.python_version  # noqa: F401  before Hydra, which some versions cannot import

# isort: split

import hydra

from commands.command_line import arranged
from commands.running import exit_when_terminated, run_command
from commands.train import run
from conf.schema import Config, Task

if TYPE_CHECKING:
    from run_folder import Results
    from training.distributed.workers import Workers


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def compose_and_run(composed) -> float:
    """Runs one configuration; commands/train.py handles its folder, resuming and errors."""
    return run(composed, train)


def train(config: Config, folder: Path, workers: "Workers") -> "Results":
    """The five steps of a run. `experiments/` has one class for each task."""
    from experiments.classification import Classification  # here, as they import TensorFlow
    from experiments.experiment import Experiment
    from experiments.metric_learning import MetricLearning
    from experiments.one_class.experiment import OneClass
    from experiments.post_mortem.experiment import PostMortem

    tasks: dict[Task, type[Experiment]] = {
        Task.classification: Classification,
        Task.metric_learning: MetricLearning,
        Task.one_class: OneClass,
        Task.post_mortem: PostMortem,
    }
    experiment = tasks[config.task](config, folder, workers)
    experiment.open_data()  # 1. images, labels and splits
    for trial in experiment.trials():  # one; task=one_class: one for each target class
        trial.build_model()  # 2. backbone, descriptor, classifier or embedding
        trial.train_head()  # 3. stage 1: the head, on features of the frozen backbone
        trial.fine_tune()  # 4. stage 2, if trainer.fine_tune_epochs is set: both, from images
        trial.evaluate()  # 5. the test split, once
    return experiment.report()  # predictions, TensorBoard, and metrics.json last


def main() -> None:
    sys.argv[1:] = arranged(sys.argv[1:])
    compose_and_run()


if __name__ == "__main__":
    with exit_when_terminated():
        run_command(main)
