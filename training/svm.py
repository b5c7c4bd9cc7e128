"""The papers' classifier of frozen features: linear support vector machines with C = 1.

Each class has one machine, which separates it from all other classes. (scikit-learn's `SVC` would
compare the classes in pairs, which is measurably worse here.) The dual problem is solved. It needs
only the inner products of the samples, which are fewer numbers if there are more dimensions than
samples, as there are for most descriptors.
"""

import time

import keras
import numpy as np
from sklearn.svm import SVC

from conf.schema import Config
from data.datasets import Dataset
from data.inputs import MemoryInputs
from data.progress import progress
from errors import UserError
from training.feature_extraction import fits_in_memory
from training.gram_matrix import column_blocks, gram_matrix
from training.initialization import mean_and_deviation

C = 1.0
BLOCK_BYTES = 32 * 2**20  # of descriptors that are copied at a time


def check_memory(config: Config, dataset: Dataset, descriptor: keras.Model) -> None:
    """Refuses descriptors that do not fit in memory, before any is computed.

    Raises:
        UserError: they take more than `trainer.descriptor_gib`.
    """
    if not fits_in_memory(config, dataset, descriptor):
        raise UserError(
            "solver=svm: the descriptors take more memory than trainer.descriptor_gib="
            f"{config.trainer.descriptor_gib:g}; raise it if the machine has more, use smaller "
            "descriptors (head=compact_bilinear), or set solver=sgd"
        )


def fit_svm(linear: keras.Model, vectors: MemoryInputs, dataset: Dataset, mirror: bool) -> dict:
    """Sets the layer "classifier" of `linear` to support vector machines of the training split.

    The machines see the inputs of that layer: standardised descriptors, if `linear` standardises.
    The logits of `linear` are then decision values. The largest one is the predicted class; their
    softmax is no calibrated probability.

    Args:
        linear: maps descriptors to logits, with a dense layer "classifier".
        vectors: the descriptors.
        dataset: its training split is learned.
        mirror: also learn the mirrored images, as samples of their own.

    Returns:
        The stage's record, with the keys of `training.epoch_selection.selection_record`.
    """
    started = time.perf_counter()
    indices = dataset.splits["train"]
    positions = np.searchsorted(vectors.indices, indices)
    views = 2 if mirror else 1
    labels = np.tile(dataset.labels[indices], views)
    mean, deviation = mean_and_deviation(linear)

    def blocks():
        for columns in column_blocks(len(mean), max(1, BLOCK_BYTES // (4 * len(labels)))):
            block = vectors.array[:views, positions, columns].reshape(len(labels), -1)
            yield (block - mean[columns]) / deviation[columns]

    if len(labels) < len(mean):
        samples, kernel = gram_matrix(blocks()), "precomputed"
    else:
        samples, kernel = np.concatenate(list(blocks()), axis=1), "linear"
    duals, biases = _one_against_rest(samples, labels, len(dataset.class_names), kernel)
    weights = np.concatenate([block.T @ duals for block in blocks()])
    linear.get_layer("classifier").set_weights([weights, biases])
    return {
        "epochs": 0,
        "chosen_epoch": 0,
        "chosen_by": f"svm, C={C:g}",
        "seconds": round(time.perf_counter() - started, 3),
    }


def _one_against_rest(
    samples: np.ndarray, labels: np.ndarray, classes: int, kernel: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the dual coefficients times the signs of the labels, (n, classes), and the biases,
    (classes,)."""
    duals = np.zeros((len(labels), classes), np.float32)
    biases = np.zeros(classes, np.float32)
    with progress(classes, "support vector machines", "class") as bar:
        for label in range(classes):
            machine = SVC(kernel=kernel, C=C).fit(samples, labels == label)
            duals[machine.support_, label] = machine.dual_coef_[0]
            biases[label] = machine.intercept_[0]
            bar.update()
    return duals, biases
