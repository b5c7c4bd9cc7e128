"""What TensorBoard's logging costs a default run: the same run with and without it, in turn.

    python benchmarks/logging_cost.py                   # about five minutes on two cores

Features are stored first. Then runs with logging (curves, norms, histograms; at the end the
pictures, the graph and the configuration) and runs without any of it take turns in one process;
the medians of their seconds are compared, of stage 1 alone and of the whole run, with `train.py`'s
defaults. The lines of `metrics.jsonl`, which resuming needs, are written by both.
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

from hydra import compose, initialize_config_dir

from conf.schema import checked

ROOT = Path(__file__).parents[1]


@contextlib.contextmanager
def without_logging():
    import keras

    def nothing(*args, **options):
        return keras.callbacks.Callback()

    with (
        mock.patch("keras.callbacks.TensorBoard", nothing),
        mock.patch("training.stages.Dynamics", nothing),
        mock.patch("experiments.classification.log_classification"),
    ):
        yield


def run(folder: Path, overrides: list[str]) -> tuple[float, float]:
    """Seconds of stage 1, and of the whole run."""
    from experiments import classification, run_folder

    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = checked(compose("config", overrides))
    folder.mkdir()
    run_folder.enter(folder, config)
    start = time.perf_counter()
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        results = classification.run(config, folder)
    return results["stages"]["head"]["seconds"], time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("overrides", nargs="*", help="key=value, as for train.py")
    options = parser.parse_intermixed_args()
    times = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as name:
        overrides = [f"trainer.feature_dir={name}/features", *options.overrides]
        run(Path(name, "first"), overrides)  # stores the features
        for number in range(options.rounds):
            times["with"].append(run(Path(name, f"with{number}"), overrides))
            with without_logging():
                times["without"].append(run(Path(name, f"without{number}"), overrides))
    print("| logging | stage 1, s | whole run, s |\n| --- | ---: | ---: |")
    medians = {name: [statistics.median(part) for part in zip(*pairs, strict=True)]
               for name, pairs in times.items()}
    for name, (stage, whole) in medians.items():
        print(f"| {name} | {stage:.2f} | {whole:.2f} |")
    stage, whole = (a / b - 1 for a, b in zip(*medians.values(), strict=True))
    print(f"\nlogging costs {stage:.1%} of stage 1 and {whole:.1%} of the run")


if __name__ == "__main__":
    main()
