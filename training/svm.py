"""Linear support vector machines of frozen features, as in the papers.

Each class has one machine, which separates it from all other classes. (scikit-learn's `SVC` would
compare the classes in pairs, which is measurably worse here.) The dual problem is solved. It needs
only the inner products of the samples, which are fewer numbers if there are more dimensions than
samples.
"""

from collections.abc import Iterator

import numpy as np
from sklearn.svm import SVC

from data.progress import progress


def svm_path(
    samples: np.ndarray, labels: np.ndarray, classes: int, strengths: list[float]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the classifier of each C: a kernel, (d, classes), and biases, (classes,).

    The outputs are decision values. The largest one is the predicted class. Their softmax is a
    probability only after `fit_temperature` of `evaluation/calibration.py`.

    Args:
        samples: float32, (n, d).
        labels: from 0 to `classes` - 1, (n,).
        strengths: the values of C: the weight of the slack of each sample.
    """
    fewer_samples = len(samples) <= samples.shape[1]
    inputs = samples @ samples.T if fewer_samples else samples
    method = "precomputed" if fewer_samples else "linear"
    for strength in strengths:
        duals = np.zeros((len(labels), classes), np.float32)
        biases = np.zeros(classes, np.float32)
        with progress(classes, f"support vector machines, C={strength:g}", "class") as bar:
            for label in range(classes):
                machine = SVC(kernel=method, C=strength).fit(inputs, labels == label)
                duals[machine.support_, label] = machine.dual_coef_[0]
                biases[label] = machine.intercept_[0]
                bar.update()
        yield samples.T @ duals, biases
