"""Times stage 1 on descriptors and on coordinates, with made descriptors, and its peak memory.

    python benchmarks/stage_one.py                  # every cell: hours on two cores
    python benchmarks/stage_one.py --samples 1000 --dimensions 131328
    python benchmarks/stage_one.py --samples 12000 --dimensions 131328 --ways coordinates
    python benchmarks/stage_one.py --quick          # seconds: does everything work?

A cell is a number of training samples n and a number of dimensions D. In each cell, a real run
trains its head in both ways with the default optimizer, logs and checkpoints, without a validation
split. Each way has a process of its own. The columns:

Gram or pooling     seconds until the inner products are stored and read, or until all descriptors
                    are in memory. Descriptors that do not fit in `--gib` are pooled while training.
coordinates         seconds of the Cholesky factorisation.
training, return    seconds of `fit`, and until the classifier of the descriptors is set.
total               seconds of all of stage 1, its initialisation included.
described           how often each sample was described, on average. Real pooling adds about 4 ms
                    each time, made descriptors are next to free.
making              seconds in which samples were made, summed over threads; part of the others.
loss                of the last epoch: both ways train the same classifier.
GiB                 peak memory of the process (VmHWM, Linux).

If all epochs on descriptors would take longer than `--longest` seconds, one is measured; its
seconds and its descriptions are multiplied, and the way is marked (1). Stage 1 does not use
coordinates if n >= D. Such cells are left out.

The exponents p and q say that a column grows like n^p D^q: a least-squares fit of all cells of a
way. Small cells, in which constant costs dominate, make them smaller.
"""

import argparse
import contextlib
import dataclasses
import functools
import itertools
import math
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # or its messages hide the progress

import keras
import numpy as np

from benchmarks.classification import configuration, made_dataset, train_stage_1
from benchmarks.measuring import in_own_process, process_bytes
from data.inputs import ArrayInputs
from experiments import two_stages
from experiments.classification import Classification
from models.classifier import build_linear
from models.parts import Parts
from training import feature_extraction, smaller_side

WAYS = COORDINATES, DESCRIPTORS = ("coordinates", "descriptors")
CALLS = {  # the call that takes the time of a column; "Gram" and "pooling" share one
    "Gram": (smaller_side.GramStore, "open"),
    "pooling": (feature_extraction, "descriptors"),
    "coordinates": (smaller_side, "Coordinates"),
    "training": (two_stages, "fit_stage"),
    "return": (smaller_side.SmallerSide, "write_back"),
    "total": (Classification, "train_head"),
}
SECONDS = ("Gram or pooling", "coordinates", "training", "return", "total")
COLUMNS = (*SECONDS, "described", "making", "loss", "GiB")


class MadeSamples(ArrayInputs):
    """Samples of classes: a direction of the class plus noise of the same norm.

    Directions and noise are windows of one long array of random numbers. Two different windows are
    as good as orthogonal, and a sample costs one sum.

    Attributes:
        described: the number of samples that were taken, each time counted.
        seconds: that it took to make them.
    """

    def __init__(self, labels: np.ndarray, size: int):
        first = int(labels.max()) + 1  # windows before this one are directions
        numbers = np.random.default_rng(0).standard_normal(first + len(labels) + size, np.float32)
        self.described, self.seconds = 0, 0.0
        lock = threading.Lock()  # training reads from several threads

        def take(positions, views):
            started = time.perf_counter()
            samples = np.empty((len(positions), size), np.float32)
            for sample, position in zip(samples, positions, strict=True):
                direction = numbers[labels[position] :][:size]
                np.add(direction, numbers[first + position :][:size], out=sample)
            with lock:
                self.described += len(positions)
                self.seconds += time.perf_counter() - started
            return samples

        super().__init__(np.arange(len(labels)), take, (size,), "float32", views=1)


def build_parts(size: int, config, classes: int) -> Parts:
    """Builds a model whose feature maps are vectors; the descriptors are these, normalised."""
    vectors = keras.Input((size,))
    normalised = keras.layers.UnitNormalization(name="l2")(vectors)
    return Parts(
        keras.Model(vectors, keras.layers.Identity()(vectors), name="backbone"),
        keras.Model(vectors, normalised, name="descriptor"),
        build_linear(config, (size,), classes),
    )


@dataclasses.dataclass
class Cost:
    """Seconds, and the number of samples that were described."""

    seconds: float = 0.0
    described: int = 0


def metered(cost: Cost, features: MadeSamples, owner, name: str):
    """Lets a function store its cost, while a context is open."""
    function = getattr(owner, name)

    def call(*args):
        started, before = time.perf_counter(), features.described
        result = function(*args)
        cost.seconds = time.perf_counter() - started
        cost.described = features.described - before
        return result

    return mock.patch.object(owner, name, call)


def measure(
    way: str, samples: int, size: int, classes: int, epochs: int, gib: float
) -> dict[str, float]:
    """Trains stage 1 in this process; returns the columns of the table."""
    dataset = made_dataset(samples, classes)
    features = MadeSamples(dataset.labels, size)
    reason = None if way == COORDINATES else "it is measured"
    replaced = {
        "experiments.experiment.open_dataset": dataset,
        "experiments.two_stages.why_not": reason,
        "training.feature_extraction.stored_features": features,
        "training.smaller_side.stored_features": features,
    }
    costs = {column: Cost() for column in CALLS}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for target, value in replaced.items():
            stack.enter_context(mock.patch(target, return_value=value))
        build = functools.partial(build_parts, size)
        stack.enter_context(mock.patch("experiments.classification.build_classifier", build))
        for column, (owner, name) in CALLS.items():
            stack.enter_context(metered(costs[column], features, owner, name))
        overrides = ["data.mirror=false", f"trainer.epochs={epochs}", f"trainer.stage_1_gib={gib}"]
        config = configuration(folder / "features", *overrides)
        record = train_stage_1(config, folder / "run").stages["head"]
    seconds = {column: cost.seconds for column, cost in costs.items()}
    return seconds | {
        "Gram or pooling": seconds["Gram"] + seconds["pooling"],
        "described": costs["total"].described / samples,
        "described in training": costs["training"].described / samples,
        "making": features.seconds,
        "loss": record["loss"],
        "GiB": process_bytes("VmHWM") / 2**30,
    }


def measure_cell(way: str, samples: int, size: int, options) -> tuple[str, dict[str, float]]:
    """Returns the way, marked if only one epoch was measured, and the columns of the table."""

    def run(epochs: int) -> dict[str, float]:
        print(f"n {samples}, D {size}, {way}: epochs: {epochs}", file=sys.stderr, flush=True)
        arguments = way, samples, size, options.classes, epochs, options.gib
        return measure(*arguments) if options.quick else in_own_process(measure, *arguments)

    if way == COORDINATES:
        return way, run(options.epochs)
    one, more = run(1), options.epochs - 1
    if one["training"] * options.epochs <= options.longest:
        return way, run(options.epochs)
    one["total"] += more * one["training"]
    one["described"] += more * one["described in training"]
    one["training"] *= options.epochs
    return f"{way} (1)", one | {"making": math.nan, "loss": math.nan}


def exponents(cells: list[tuple[int, int, dict[str, float]]], column: str) -> tuple[str, str]:
    """Returns p and q of n^p D^q, fitted to a column; "" if the cells do not determine them."""
    if not all(values[column] > 0 for *_, values in cells):
        return "", ""
    sizes = np.log([[samples, size] for samples, size, _ in cells]).reshape(-1, 2)
    varying = [len(set(each)) > 1 for each in sizes.T]
    unknowns = np.column_stack([np.ones(len(cells)), sizes[:, varying]])
    if np.linalg.matrix_rank(unknowns) < unknowns.shape[1]:
        return "", ""
    logarithms = np.log([values[column] for *_, values in cells])
    fitted = iter(np.linalg.lstsq(unknowns, logarithms, rcond=None)[0][1:])
    first, second = (f"{next(fitted):.2f}" if varies else "" for varies in varying)
    return first, second


def formatted(column: str, value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if column == "loss" else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[1_000, 4_000, 12_000])
    parser.add_argument("--dimensions", type=int, nargs="+", default=[10_000, 131_328, 800_000])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--classes", type=int, default=200, help="default: 200")
    parser.add_argument("--epochs", type=int, default=50, help="default: 50")
    parser.add_argument("--gib", type=float, default=2.0, help="trainer.stage_1_gib; default: 2")
    parser.add_argument("--longest", type=float, default=600.0, help="seconds; default: 600")
    parser.add_argument("--quick", action="store_true", help="small sizes, in this process")
    options = parser.parse_args(arguments)
    if options.quick:
        options.samples, options.dimensions = [32], [64]
        options.classes, options.epochs = 4, 2
    cells: dict[str, list] = {way: [] for way in options.ways}
    print(f"| n | D | way | {' | '.join(COLUMNS)} |")
    print(f"| ---: | ---: | --- |{' ---: |' * len(COLUMNS)}")
    for samples, size, way in itertools.product(options.samples, options.dimensions, options.ways):
        if way == COORDINATES and samples >= size:
            continue
        name, values = measure_cell(way, samples, size, options)
        cells[way].append((samples, size, values))
        texts = (formatted(column, values[column]) for column in COLUMNS)
        print(f"| {samples} | {size} | {name} | {' | '.join(texts)} |", flush=True)
    if len(options.samples) > 1 or len(options.dimensions) > 1:
        print("\n| way | grows like n^p D^q | p | q |\n| --- | --- | ---: | ---: |")
        for way, column in itertools.product(options.ways, (*SECONDS, "GiB")):
            powers = exponents(cells[way], column)
            if any(powers):
                print(f"| {way} | {column} | {' | '.join(powers)} |")


if __name__ == "__main__":
    main()
