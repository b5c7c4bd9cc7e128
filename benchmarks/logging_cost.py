"""What TensorBoard's logging costs a default run: the same run with and without it, in turn.

    python benchmarks/logging_cost.py                   # about seven minutes on two cores
    python benchmarks/logging_cost.py --stored          # three minutes, with stored features

Runs with logging (curves, norms and histograms; at the end plots, images, the graph and the
configuration) and runs without logging alternate. They use `train.py`'s defaults, each in its own
process, so that they include whatever is slow at its first call. Both write `metrics.jsonl`, which
resuming needs. The output is medians of seconds and of processor seconds (user and system), without
importing TensorFlow and drawing the birds.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import in_own_process

ROOT = Path(__file__).parents[1]
CLOCKS = {"seconds": time.perf_counter, "processor": time.process_time}


@contextlib.contextmanager
def without_logging():
    import keras

    def callback(*args, **options):
        return keras.callbacks.Callback()

    with (
        mock.patch("training.stage.EpochScalars", callback),
        mock.patch("training.stage.GradientStatistics", callback),
        mock.patch("experiments.classification.log_classification"),
        mock.patch("experiments.experiment.log_hparams"),
    ):
        yield


@contextlib.contextmanager
def timed(part: str, times: dict):
    """Adds the time of the block by each clock to `times[clock][part]`."""
    started = {name: clock() for name, clock in CLOCKS.items()}
    yield
    for name, clock in CLOCKS.items():
        times[name][part] = times[name].get(part, 0) + clock() - started[name]


def timing(part: str, times: dict, target: str):
    """Returns a patch that times the function named `target`."""
    module, _, name = target.rpartition(".")
    function = getattr(sys.modules[module], name)

    def call(*args, **options):
        with timed(part, times):
            return function(*args, **options)

    return mock.patch(target, call)


def run(folder: Path, overrides: list[str]) -> dict[str, dict[str, float]]:
    """Returns the time by each clock of the stages, of logging at the end, and of the whole run."""
    from hydra import compose, initialize_config_dir

    from commands import resuming
    from conf.validation import checked
    from train import train
    from training.distributed.workers import connect

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = checked(compose("config", overrides))
    folder.mkdir()
    resuming.enter(folder, config)
    times = {name: {"end": 0.0} for name in CLOCKS}
    with (
        open(os.devnull, "w") as nothing,
        contextlib.redirect_stdout(nothing),
        timing("stages", times, "experiments.two_stages.fit_stage"),
        timing("stages", times, "experiments.two_stages.fit_svm"),
        timing("end", times, "experiments.classification.log_classification"),
        timing("end", times, "experiments.experiment.log_hparams"),
        timed("run", times),
    ):
        train(config, folder, connect(config.task, config.trainer.strategy))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--stored", action="store_true", help="compute the features once, before all runs"
    )
    parser.add_argument("--child", choices=["with", "without"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="key=value, as for train.py")
    options = parser.parse_intermixed_args()
    if options.child:
        from experiments import tasks  # noqa: F401  imported to be patched

        with without_logging() if options.child == "without" else contextlib.nullcontext():
            print(json.dumps(run(options.folder, options.overrides)))
        return
    times: dict[str, list[dict]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:

        def measured(logging: str, number: int, *more: str) -> dict:
            folder = Path(name, f"{logging}{number}")
            features = Path(name, "features") if options.stored else folder / "features"
            measurement = in_own_process(
                __file__,
                "--child",
                logging,
                "--folder",
                folder,
                f"trainer.feature_dir={features}",
                *options.overrides,
                *more,
            )
            shutil.rmtree(folder)  # its features would slow down the next run
            return measurement

        measured("without", -1, "trainer.epochs=1")  # draws the birds, stores the features
        for number in range(options.rounds):
            for logging in sorted(times, reverse=number % 2):
                times[logging].append(measured(logging, number))
    report(times)


def report(times: dict[str, list[dict]]) -> None:
    for clock in CLOCKS:
        medians = {
            logging: {
                part: statistics.median(run_times[clock][part] for run_times in runs)
                for part in ("stages", "end", "run")
            }
            for logging, runs in times.items()
        }
        print(f"| {clock} | training | at the end | whole run |\n| --- | ---: | ---: | ---: |")
        for logging, parts in medians.items():
            numbers = " | ".join(f"{value:.2f}" for value in parts.values())
            print(f"| {logging} logging | {numbers} |")
        more, less = medians["with"], medians["without"]
        during, end = more["stages"] - less["stages"], more["end"]
        print(
            f"\nlogging takes {during:.2f} while it trains, {during / less['stages']:.1%} of that "
            f"time, and {end:.2f} once at the end: {(during + end) / less['run']:.1%} of the run; "
            f"whole runs differ by {more['run'] / less['run'] - 1:.1%}\n"
        )


if __name__ == "__main__":
    main()
