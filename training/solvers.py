"""Stage 1 without epochs: a convex problem that a solver ends, with C given or chosen."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from conf.schema import Config, Solver
from data.datasets import Dataset
from data.inputs import MemoryInputs
from errors import UserError
from event_file import EventFile
from training.feature_extraction import fits_in_memory, training_views
from training.initialization import mean_and_deviation
from training.logistic import logistic_path
from training.svm import svm_path

PATH = [0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0]  # values of C that are tried
PAPERS_C = 1.0  # of the support vector machines
SOLVERS = {Solver.svm: svm_path, Solver.logistic: logistic_path}

logger = logging.getLogger(__name__)


def given_strength(config: Config, dataset: Dataset) -> float | None:
    """Returns `solver_c` as a number; `None`: it is chosen on the validation split.

    Raises:
        UserError: there is no validation split to choose it on.
    """
    strength = config.solver_c
    if strength == "auto":
        strength = PAPERS_C if config.solver is Solver.svm else None
    if strength is None and not len(dataset.splits["val"]):
        raise UserError(
            f"solver_c={config.solver_c}: solver={config.solver} chooses C on the validation "
            "split, which is empty; give a number, for example solver_c=100"
        )
    return strength


def check_memory(config: Config, dataset: Dataset, descriptor: keras.Model) -> None:
    """Refuses descriptors that do not fit in memory, before any is computed.

    Raises:
        UserError: they take more than `trainer.stage_1_gib`.
    """
    if not fits_in_memory(config, dataset, descriptor):
        raise UserError(
            f"solver={config.solver}: the descriptors take more memory than trainer.stage_1_gib="
            f"{config.trainer.stage_1_gib:g}; raise it if the machine has more, use smaller "
            "descriptors (head=compact_bilinear), or set solver=sgd"
        )


def fit_solver(
    config: Config,
    linear: keras.Model,
    inputs: MemoryInputs,
    dataset: Dataset,
    folder: Path,
    validate: Callable[[], dict | None],
) -> dict:
    """Sets the layer "classifier" of `linear` to the solution on the training split.

    The solver sees the inputs of that layer: standardised samples, if `linear` standardises. If C
    is chosen, the classifier with the best validation accuracy is taken, and among equals the one
    with the least validation loss. It is not fitted again on both splits.

    Args:
        config: reads `solver`, `solver_c`, and `data.mirror`, which adds the mirrored images.
        linear: maps samples to logits, with a dense layer "classifier".
        inputs: the samples.
        dataset: its training split is learned.
        folder: the run's folder; TensorBoard shows the validation metrics of each C.
        validate: returns the validation metrics of `linear`.

    Returns:
        The stage's record, with the keys of `training.epoch_selection.selection_record`, "c", and,
        if C is chosen, "path": the validation metrics of each C.

    Raises:
        UserError: see `given_strength`.
    """
    started = time.perf_counter()
    given = given_strength(config, dataset)
    train = dataset.splits["train"]
    views = training_views(config)
    mean, deviation = mean_and_deviation(linear)
    samples = inputs.array[:views, np.searchsorted(inputs.indices, train)]
    samples = (samples.reshape(-1, len(mean)) - mean) / deviation
    labels = np.tile(dataset.labels[train], views)
    strengths = PATH if given is None else [given]
    path, classifiers = [], []
    solve, classes = SOLVERS[config.solver], len(dataset.class_names)
    for strength, solution in zip(
        strengths, solve(samples, labels, classes, strengths), strict=True
    ):
        linear.get_layer("classifier").set_weights(solution)
        classifiers.append(solution)
        if given is None:
            metrics = validate()
            assert metrics is not None
            path.append({"c": strength, **metrics})
    if path:
        _report(path, folder)
    best = max(range(len(path)), key=lambda i: (path[i]["accuracy"], -path[i]["loss"]), default=0)
    linear.get_layer("classifier").set_weights(classifiers[best])
    chosen = ", chosen by validation accuracy" if path else ""
    return {
        "epochs": 0,
        "chosen_epoch": 0,
        "chosen_by": f"{config.solver}, C={strengths[best]:g}{chosen}",
        "seconds": round(time.perf_counter() - started, 3),
        "c": strengths[best],
        **({"path": path} if path else {}),
    }


def _report(path: list[dict], folder: Path) -> None:
    """Prints the path, and writes it to TensorBoard: the step is the position on the path."""
    with EventFile(folder / "tensorboard" / "validation") as events:
        for step, point in enumerate(path):
            logger.info(
                "C=%g: validation accuracy %.4f, loss %.4f",
                *(point[name] for name in ("c", "accuracy", "loss")),
            )
            scalars = {"log10 of C": np.log10(point["c"])}
            scalars |= {name: point[name] for name in ("accuracy", "loss")}
            events.write([scalar_pb(f"path of C/{name}", scalars[name]) for name in scalars], step)
