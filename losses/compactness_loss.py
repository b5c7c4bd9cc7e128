"""The compactness loss of deep one-class classification."""

import keras
from keras import ops

from . import pairwise


@keras.saving.register_keras_serializable(package="fgvc")
class CompactnessLoss(keras.losses.Loss):
    """How far each embedding of a batch is from the mean of the others (Perera and Patel 2019).

    With n embeddings x_i of k dimensions, and m_i the mean of the other n - 1:

        l_C = 1 / (n k) sum_i |x_i - m_i|^2,    x_i - m_i = n / (n - 1) (x_i - mean)

    and so l_C is (n / (n - 1))^2 times the mean over dimensions of the variance.

    Args:
        name: Optional name of the loss.
        reduction: of the samples' values |x_i - m_i|^2 / k. Defaults to `"sum_over_batch_size"`.

    Input shape:
        Labels, which are not looked at (all samples are of one class), and embeddings
        `(batch, dimensions)`.

    Output shape:
        A number in float32, or `(batch,)` with `reduction=None`.

    Example:

    >>> x = np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 4.0, 3.0], [3.0, 2.0, 1.0, 4.0]])
    >>> float(CompactnessLoss()(np.zeros(3), x))
    1.875

    Raises:
        ValueError: embeddings of another shape; a batch of one, for which the loss is undefined.
            Inside a graph, where no error can be raised, such a batch gives 0 with a zero gradient.
    """

    def __init__(self, name="compactness_loss", reduction="sum_over_batch_size"):
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def call(self, y_true, y_pred):
        x = pairwise.at_least_float32(y_pred)
        pairwise.check_embeddings(x.shape, self)
        if x.shape[0] == 1 and not pairwise.is_traced(x):
            raise ValueError(
                "CompactnessLoss compares each sample with the others, and needs at least two. "
                f"Received: shape={tuple(x.shape)}"
            )
        n = ops.cast(ops.shape(x)[0], x.dtype)
        factor = ops.where(n > 1, n / ops.maximum(n - 1.0, 1.0), 0.0)
        # Sums: on JAX, ops.mean takes float64 for float32.
        z = factor * (x - ops.sum(x, axis=0) / n)
        return ops.sum(ops.square(z), axis=1) / x.shape[1]
