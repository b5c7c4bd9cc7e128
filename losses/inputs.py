"""Checks and conversions of the inputs of a loss."""

import keras
from keras import ops

from .backend import widest_float
from .control_flow import has_value

EXACT = 2**24  # Keras casts labels to float32, in which the integers below this are exact


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


def check_lengths(shape, embeddings_shape, loss, name="label"):
    """Raise if the shapes show that there is not one label, or what `name` says, per embedding."""
    count, embeddings = shape[0], embeddings_shape[0]
    if count is not None and embeddings is not None and count != embeddings:
        raise ValueError(
            f"{loss.__class__.__name__} takes one {name} for each embedding. Received: "
            f"{count} {name}s, {embeddings} embeddings"
        )


def label_vector(labels, x, loss, least=-EXACT + 1, most=EXACT - 1):
    """Return labels of shape (B,) or (B, 1), for embeddings `x` (B, D), as a vector (B,).

    Raises:
        ValueError: If the shape is another one or, outside of a graph, if a label is not an integer
            from `least` to `most`.
    """
    labels = ops.convert_to_tensor(labels)
    rank = len(labels.shape)
    if rank != 1 and not (rank == 2 and labels.shape[1] == 1):
        raise ValueError(
            f"{loss.__class__.__name__} takes integer labels of shape (batch,) or (batch, 1), not "
            f"one-hot ones. Received: shape={tuple(labels.shape)}"
        )
    check_lengths(labels.shape, x.shape, loss)
    labels = ops.reshape(labels, ops.shape(x)[:1])  # in a graph, this checks the length too
    valid = ops.all(are_labels(labels, least, most))
    if has_value(valid) and not valid:
        raise ValueError(
            f"{loss.__class__.__name__} takes labels that are integers from {least} to {most}. "
            f"Received: labels={ops.convert_to_numpy(labels)}"
        )
    return labels


def are_labels(labels, least, most):
    """Return which labels are integers from `least` to `most`."""
    labels = ops.cast(labels, widest_float())
    inside = ops.logical_and(labels >= least, labels <= most)
    return ops.logical_and(inside, labels == ops.floor(labels))
