"""The eigenvalues of the pooled matrix before and after its root, which show why the root helps.

A few directions hold nearly all of a second moment's norm, so the inner product of two second
moments depends on these directions only. The root increases the weight of the many others.
"""

import keras
import numpy as np

from layers import MatrixSquareRoot, SecondOrderPooling, feature_maps, matrix_functions
from layers.matrices import transpose
from reporting.rendering import new_axes, render

TINY = 1e-12
SMALLEST = 1e-7  # the smallest value in the plot, relative to the largest eigenvalue


def spectra(pooling: SecondOrderPooling, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the eigenvalues of each image's second moment A and of its root, largest first.

    The root acts on each eigenvalue separately. The layer's root is therefore applied to the
    diagonal matrix of the largest min(N, C) eigenvalues. The exact root is used if the layer has
    no root.

    Args:
        pooling: the head's layer.
        maps: feature maps of shape (n, H, W, C).

    Returns:
        Two arrays of shape (n, min(N, C)). Each row is divided by its first, largest value.
    """
    maps = keras.ops.convert_to_tensor(maps, "float32")
    features = feature_maps.flatten_positions(maps, pooling.data_format)
    y = matrix_functions.normalized_positions(features, pooling.centered)
    y = keras.ops.cast(y, "float64")
    # YY' and Y'Y have the same non-zero eigenvalues. The smaller matrix is used.
    matrices = y @ transpose(y) if y.shape[1] < y.shape[2] else transpose(y) @ y
    before = np.maximum(np.linalg.eigvalsh(matrices)[:, ::-1], 0)
    root = MatrixSquareRoot(pooling.root or "exact", pooling.iterations, pooling.epsilon)
    diagonals = before[:, :, None] * np.eye(before.shape[1])
    roots = np.asarray(root(diagonals.astype(np.float32)))
    after = -np.sort(-np.diagonal(roots, axis1=1, axis2=2))
    return _relative(before), _relative(after)


def effective_directions(values: np.ndarray) -> float:
    """(sum l)^2 / sum l^2 of eigenvalues l, (n, k), averaged over n. It is k if all are equal."""
    squares = np.maximum(np.square(values).sum(axis=1), TINY)
    return float(np.mean(np.square(values.sum(axis=1)) / squares))


def draw_spectra(before: np.ndarray, after: np.ndarray, root: str | None) -> np.ndarray:
    """Draws median and quartiles over the images, on logarithmic axes.

    Args:
        before, after: see `spectra`.
        root: name of the head's root, `None` if the head has none.
    """
    figure, axes = new_axes(675, 432)
    ranks = np.arange(1, before.shape[1] + 1)
    after_label = f"after the root ({root})" if root else "if an exact root were taken"
    for values, label, colour, line in [
        (before, "second moment", "#c44e52", "-"),
        (after, after_label, "#4c72b0", "-" if root else "--"),
    ]:
        label = f"{label}: {effective_directions(values):.1f} effective directions"
        visible = np.maximum(values, SMALLEST / 10)  # logarithms of zeros would be missing
        low, median, high = np.quantile(visible, [0.25, 0.5, 0.75], axis=0)
        axes.loglog(ranks, median, line, color=colour, label=label, linewidth=2)
        axes.fill_between(ranks, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlim=(1, max(ranks[-1], 2)), ylim=(SMALLEST, 1.5))
    for axis in (axes.xaxis, axes.yaxis):  # the default formats are formulas
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.set(xlabel="rank of the eigenvalue", ylabel="eigenvalue / largest eigenvalue")
    axes.set_title(f"spectrum of the pooled matrix, {len(before)} test images (median, quartiles)")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    return render(figure)


def _relative(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(values[:, :1], TINY)
