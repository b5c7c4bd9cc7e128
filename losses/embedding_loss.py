"""The base class of the losses that compare the embeddings of a batch."""

import keras
from keras import ops

from .inputs import at_least_float32, check_embeddings, check_lengths


class EmbeddingLoss(keras.losses.Loss):
    """Checks the embeddings and reduces an empty batch, such as a replica's part can be, to 0.

    A subclass implements `_batch_values(y_true, x)`, which returns a value for each embedding.
    """

    def __init__(self, name, reduction):
        super().__init__(name=name, reduction=reduction, dtype="float32")

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
            shape = sample_weight.shape
            check_embeddings(y_pred.shape, self)
            if len(shape) > 0:  # one number may weight all samples
                check_lengths(shape, y_pred.shape, self, "sample weight")
            if len(shape) > 2 or (len(shape) == 2 and shape[1] not in (1, None)):
                raise ValueError(
                    f"{self.__class__.__name__} takes sample weights of shape (batch,) or "
                    f"(batch, 1). Received: shape={tuple(shape)}"
                )
        value = super().__call__(y_true, y_pred, sample_weight)
        if self.reduction in (None, "none") or len(value.shape) == 0:
            return value
        return ops.sum(value)  # Keras does not reduce the values of an empty batch

    def call(self, y_true, y_pred):
        x = at_least_float32(y_pred)
        check_embeddings(x.shape, self)
        if y_true is not None and len(y_true.shape) > 0:
            check_lengths(y_true.shape, x.shape, self)
        if x.shape[0] == 0:
            return ops.sum(x, axis=1)
        return self._batch_values(y_true, x)
