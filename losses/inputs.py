"""Checks and conversions of the arguments and inputs of a loss."""

import keras
from keras import ops


def require(valid, requirement, value):
    """Raise an error that states `requirement` unless `valid`."""
    if not valid:
        raise ValueError(f"{requirement}. Received: {value!r}")


def at_least_float32(x):
    """Return `x` as a tensor of float32 or float64. Other types become float32."""
    x = ops.convert_to_tensor(x)
    if keras.backend.standardize_dtype(x.dtype) in ("float32", "float64"):
        return x
    return ops.cast(x, "float32")


def check_embeddings(shape, loss):
    """Raise unless `shape` is (batch, dimensions)."""
    if len(shape) != 2:
        raise ValueError(
            f"{loss.__class__.__name__} takes embeddings of shape (batch, dimensions). Received: "
            f"shape={tuple(shape)}"
        )


def label_vector(labels, loss):
    """Return integer labels of shape (B,) or (B, 1) as a vector (B,)."""
    labels = ops.convert_to_tensor(labels)
    if len(labels.shape) == 1:
        return labels
    if len(labels.shape) == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    raise ValueError(
        f"{loss.__class__.__name__} takes integer labels of shape (batch,) or (batch, 1), not "
        f"one-hot ones. Received: shape={tuple(labels.shape)}"
    )
