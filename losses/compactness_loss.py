"""The compactness loss of deep one-class classification."""

import keras
from keras import ops

from .embedding_loss import EmbeddingLoss


@keras.saving.register_keras_serializable(package="fgvc")
class CompactnessLoss(EmbeddingLoss):
    """Mean squared distance of each embedding from the mean of the others in its batch.

    For n embeddings x_i of k dimensions, and m_i the mean of the other n - 1 (Perera and Patel
    2019):

        l_C = 1 / (n k) sum_i |x_i - m_i|^2,    x_i - m_i = n / (n - 1) (x_i - mean)

    Therefore l_C is (n / (n - 1))^2 times the variance, averaged over the dimensions. A batch of
    one sample, which has no others, or of none has the loss 0 with a zero gradient.

    Args:
        name: Optional name of the loss. Defaults to `"compactness_loss"`.
        reduction: The reduction of the values |x_i - m_i|^2 / k of the samples. Defaults to
            `"sum_over_batch_size"`.

    Input shape:
        Labels `(batch, ...)`, of which only the number is checked because all samples belong to one
        class, and embeddings `(batch, dimensions)`.

    Output shape:
        A float32 scalar, or `(batch,)` with `reduction=None`.

    Example:

    >>> x = np.array([[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 4.0, 3.0], [3.0, 2.0, 1.0, 4.0]])
    >>> float(CompactnessLoss()(np.zeros(3), x))
    1.875

    Raises:
        ValueError: If the embeddings have another shape, or the number of labels is another one.
    """

    def __init__(self, name="compactness_loss", reduction="sum_over_batch_size"):
        super().__init__(name, reduction)

    def _batch_values(self, y_true, x):
        n = ops.cast(ops.shape(x)[0], x.dtype)
        factor = ops.where(n > 1, n / ops.maximum(n - 1.0, 1.0), 0.0)
        # On JAX, `ops.mean` of float64 is computed in float32, so these are sums.
        z = factor * (x - ops.sum(x, axis=0) / n)
        return ops.sum(ops.square(z), axis=1) / x.shape[1]
