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
import sys
import tempfile
import timeit
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np

from benchmarks.classification import configuration, train_stage_1

CURVES = ("training.stage.EpochScalars", "training.stage.GradientStatistics")
REPORTS = ("experiments.classification.log_classification", "experiments.experiment.log_hparams")


def run(config, folder: Path, logging: bool) -> tuple[float, float]:
    """Returns the seconds of training and of reporting."""
    with contextlib.ExitStack() as patches:
        for target in () if logging else CURVES + REPORTS:
            nothing = mock.patch(target, lambda *_, **__: keras.callbacks.Callback())
            patches.enter_context(nothing)
        experiment = train_stage_1(config, folder)
        experiment.evaluate()
        return experiment.stages["head"]["seconds"], timeit.timeit(experiment.report, number=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="key=value, as for train.py")
    options = parser.parse_intermixed_args()
    times: dict[bool, list] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        config = configuration(Path(name, "features"), *options.overrides)
        run(config, Path(name, "first"), logging=True)
        for number in range(options.rounds):
            for logging in sorted(times, reverse=bool(number % 2)):
                times[logging].append(run(config, Path(name, f"{number}-{logging}"), logging))
    medians = {logging: np.median(pairs, axis=0) for logging, pairs in times.items()}
    print("| logging | training | report |\n| --- | ---: | ---: |")
    for logging, (training, report) in medians.items():
        print(f"| {'yes' if logging else 'no'} | {training:.2f} | {report:.2f} |")
    print(f"\nlogging adds {medians[True][0] / medians[False][0] - 1:.1%} to training")


if __name__ == "__main__":
    main()
