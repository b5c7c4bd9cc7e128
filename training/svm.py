"""The papers' classifier of frozen features: one linear SVM a class, against the rest, with C = 1.

The classes are told apart one against the rest: scikit-learn's own `SVC` compares them in pairs,
which is measurably worse here. Each machine is solved in its dual, which asks only for the inner
products of the samples where these are fewer than their dimensions, as descriptors' mostly are.
"""

import time
from collections.abc import Iterator

import keras
import numpy as np
from sklearn.svm import SVC

from conf.schema import Config
from data.datasets import Dataset
from data.inputs import MemoryInputs
from data.progress import progress
from errors import UserError
from training.feature_extraction import fits_in_memory
from training.standardization import mean_and_deviation

C = 1.0
PIECE_BYTES = 32 * 2**20  # of descriptors that are copied at a time


def check_memory(config: Config, dataset: Dataset, descriptor: keras.Model) -> None:
    """Raises a UserError if the descriptors do not fit in `trainer.descriptor_gib`."""
    if not fits_in_memory(config, dataset, descriptor):
        raise UserError(
            f"solver=svm: the descriptors take more than trainer.descriptor_gib="
            f"{config.trainer.descriptor_gib:g}; raise it if there is memory, pool less with "
            "head=compact_bilinear, or set solver=sgd"
        )


def fit_svm(linear: keras.Model, vectors: MemoryInputs, dataset: Dataset, mirror: bool) -> dict:
    """Sets the last layer of `linear` to the support vector machines of the training split.

    They see what that layer sees: standardised descriptors, where `linear` standardises. Its logits
    are their decision values: the largest tells the class, their softmax is no calibrated
    probability.

    Args:
        linear: from descriptors to logits, with a dense layer "classifier".
        vectors: the descriptors.
        dataset: whose training split is learned.
        mirror: learn the mirrored pictures too, as samples of their own.

    Returns:
        The stage's record, as that of `fit_stage`.
    """
    started = time.perf_counter()
    indices = dataset.splits["train"]
    views = 2 if mirror else 1
    labels = np.tile(dataset.labels[indices], views)

    def pieces():
        return _pieces(vectors, indices, views, *mean_and_deviation(linear))

    if len(labels) < vectors.shape[0]:
        samples, kernel = _inner_products(pieces(), len(labels)), "precomputed"
    else:
        samples, kernel = np.concatenate(list(pieces()), axis=1), "linear"
    duals, biases = _one_against_rest(samples, labels, len(dataset.class_names), kernel)
    weights = np.concatenate([piece.T @ duals for piece in pieces()])
    linear.get_layer("classifier").set_weights([weights, biases])
    return {
        "epochs": 0,
        "chosen_epoch": 0,
        "chosen_by": f"svm, C={C:g}",
        "seconds": round(time.perf_counter() - started, 3),
    }


def _pieces(
    vectors: MemoryInputs, indices: np.ndarray, views: int, mean: np.ndarray, deviation: np.ndarray
) -> Iterator[np.ndarray]:
    """The samples, (len(rows) * views, width), some dimensions at a time: never all in a copy."""
    positions = np.searchsorted(vectors.indices, indices)
    width = max(1, PIECE_BYTES // (4 * views * len(indices)))
    for start in range(0, len(mean), width):
        some = slice(start, start + width)
        piece = vectors.array[:views, positions, some].reshape(views * len(indices), -1)
        piece -= mean[some]
        piece /= deviation[some]
        yield piece


def _inner_products(pieces: Iterator[np.ndarray], samples: int) -> np.ndarray:
    total = np.zeros((samples, samples))
    for piece in pieces:
        total += piece @ piece.T
    return total


def _one_against_rest(
    samples: np.ndarray, labels: np.ndarray, classes: int, kernel: str
) -> tuple[np.ndarray, np.ndarray]:
    """Dual coefficients times their labels' signs, (n, classes), and biases, (classes,)."""
    duals = np.zeros((len(labels), classes), np.float32)
    biases = np.zeros(classes, np.float32)
    with progress(classes, "support vector machines", "class") as bar:
        for label in range(classes):
            machine = SVC(kernel=kernel, C=C).fit(samples, labels == label)
            duals[machine.support_, label] = machine.dual_coef_[0]
            biases[label] = machine.intercept_[0]
            bar.update()
    return duals, biases
