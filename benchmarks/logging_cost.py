"""Times a default run with and without TensorBoard's logging, in turn.

    python benchmarks/logging_cost.py                      # about two minutes on two cores
    python benchmarks/logging_cost.py trainer.epochs=400

Logging is curves, norms and histograms while a stage trains; plots, images, the graph and HParams
at the end of a run. `metrics.jsonl`, which resuming needs, is written in both cases. The runs share
a process and the stored features. A first run is not counted: it traces graphs and loads libraries.
The output is medians in seconds.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
from hydra import compose, initialize_config_dir

from conf.validation import checked
from experiments.classification import Classification
from training.distributed.workers import connect

ROOT = Path(__file__).parents[1]
LOGS = ("training.stage.EpochScalars", "training.stage.GradientStatistics")
REPORTS = ("experiments.classification.log_classification", "experiments.experiment.log_hparams")


def run(folder: Path, config, logging: bool) -> tuple[float, float]:
    """Returns the seconds of training and of reporting."""
    folder.mkdir()
    experiment = Classification(config, folder, connect(config.task, config.trainer.strategy))
    with contextlib.ExitStack() as patches, contextlib.redirect_stdout(open(os.devnull, "w")):
        for target in () if logging else LOGS:
            nothing = mock.patch(target, lambda *_, **__: keras.callbacks.Callback())
            patches.enter_context(nothing)
        for target in () if logging else REPORTS:
            patches.enter_context(mock.patch(target))
        experiment.open_data()
        experiment.build_model()
        experiment.train_head()
        experiment.evaluate()
        started = time.perf_counter()
        experiment.report()
    return experiment.stages["head"]["seconds"], time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="key=value, as for train.py")
    options = parser.parse_intermixed_args()
    seconds: dict[bool, list] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            features = f"trainer.feature_dir={name}/features"
            config = checked(compose("config", [features, *options.overrides]))
        run(Path(name, "first"), config, logging=True)
        for number in range(options.rounds):
            for logging in sorted(seconds, reverse=bool(number % 2)):
                folder = Path(name, f"{number}-{logging}")
                seconds[logging].append(run(folder, config, logging))
    print("| logging | training | report |\n| --- | ---: | ---: |")
    medians = {}
    for logging, times in seconds.items():
        medians[logging] = [statistics.median(column) for column in zip(*times, strict=True)]
        print(
            f"| {'yes' if logging else 'no'} | {' | '.join(f'{m:.2f}' for m in medians[logging])} |"
        )
    print(f"\nlogging adds {medians[True][0] / medians[False][0] - 1:.1%} to training")


if __name__ == "__main__":
    main()
