"""The eigenvalues of the pooled matrix, before and after its root: why the root helps.

A few directions of a second moment hold nearly all of its size, and an inner product of two such
matrices sees those alone. The root brings the many small ones up.
"""

import keras
import numpy as np
from matplotlib.figure import Figure

from layers import MatrixSquareRoot, SecondOrderPooling, feature_maps, matrix_functions
from reporting.plots import pixels

TINY = 1e-12
SMALLEST = 1e-7  # of the largest eigenvalue, down to which the picture shows


def spectra(pooling: SecondOrderPooling, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalues of each image's second moment A, and of its root, largest first.

    A root is a function of each eigenvalue by itself; so the layer's own root is taken of the
    diagonal matrix of the largest min(N, C) of them. Without one it is the exact root's.

    Args:
        pooling: the head's layer.
        maps: of shape (n, H, W, C).

    Returns:
        Two arrays of shape (n, min(N, C)), each row over its first, largest value.
    """
    features = feature_maps.flatten_positions(
        keras.ops.convert_to_tensor(maps, "float32"), pooling.data_format
    )
    y = matrix_functions.normalized_positions(features, pooling.centered)
    y = keras.ops.cast(y, "float64")
    transposed = keras.ops.transpose(y, (0, 2, 1))
    # The smaller of YY' and Y'Y.
    pair = (y, transposed) if y.shape[1] < y.shape[2] else (transposed, y)
    before = np.maximum(np.linalg.eigvalsh(keras.ops.matmul(*pair))[:, ::-1], 0)
    root = MatrixSquareRoot(pooling.root or "exact", pooling.iterations, pooling.epsilon)
    diagonals = before[:, :, None] * np.eye(before.shape[1])
    matrices = np.asarray(root(diagonals.astype(np.float32)))
    after = -np.sort(-np.diagonal(matrices, axis1=1, axis2=2))
    return tuple(values / np.maximum(values[:, :1], TINY) for values in (before, after))


def effective_directions(values: np.ndarray) -> float:
    """(sum l)^2 / sum l^2 of eigenvalues l, (n, k), the mean over n: k if all k are equal."""
    squares = np.maximum(np.square(values).sum(axis=1), TINY)
    return float(np.mean(np.square(values.sum(axis=1)) / squares))


def draw_spectra(before: np.ndarray, after: np.ndarray, root: str | None) -> np.ndarray:
    """Median and quartiles over the pictures, on logarithmic axes.

    Args:
        before, after: see `spectra`.
        root: the head's; `None` where the root is only what would be.
    """
    figure = Figure(figsize=(7.5, 4.8), dpi=90)
    axes = figure.add_axes((0.09, 0.11, 0.89, 0.81))
    # Logarithms on linear axes: matplotlib's own take five times as long to draw.
    place = np.log10(np.arange(1, before.shape[1] + 1))
    named = f"after the root ({root})" if root else "if an exact root were taken"
    for values, label, colour, line in [
        (before, "second moment", "#c44e52", "-"),
        (after, named, "#4c72b0", "-" if root else "--"),
    ]:
        values = np.maximum(values, SMALLEST / 10)
        low, median, high = np.log10(np.quantile(values, [0.25, 0.5, 0.75], axis=0))
        label = f"{label}: {effective_directions(values):.1f} effective directions"
        axes.plot(place, median, line, color=colour, label=label, linewidth=2)
        axes.fill_between(place, low, high, color=colour, alpha=0.2, linewidth=0)
    powers = np.arange(round(np.log10(SMALLEST)), 1)
    axes.set_yticks(powers, [f"1e{power}" for power in powers])
    sizes = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
    axes.set_xticks(np.log10(sizes), sizes)
    axes.set(
        ylim=(powers[0], 0.2),
        xlim=(0, max(place[-1], np.log10(2))),
        xlabel="eigenvalue, by size",
        ylabel="over the largest",
        title=f"spectrum of the pooled matrix, {len(before)} test pictures (median, quartiles)",
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return pixels(figure)
