"""Layers of the faulty head; see `faulty_head.py`."""

import keras
from keras import ops

from layers.matrices import transpose

ROUNDING = 1e-7  # relative to the trace; smaller eigenvalues are rounding errors of float32


@keras.saving.register_keras_serializable(package="fgvc")
class FaultyPooling(keras.layers.Layer):
    """The root of each feature map's second moment X'X / N, with two optional faults.

    It computes the result of `LoopedPooling` for a whole batch at once, on the smaller side of X.
    Its gradient divides by differences of eigenvalues, so use it with frozen features.

    Args:
        epsilon: Float, the value added to the moment, relative to its trace.
        everywhere: Boolean, whether `epsilon` is added to every entry instead of the diagonal.
            Defaults to `False`.
        fourth: Boolean, whether the square root is taken twice. Defaults to `False`.

    Input shape:
        `(batch, height, width, channels)`. Only the batch size may be unknown.

    Output shape:
        `(batch, channels, channels)`.
    """

    def __init__(self, epsilon, everywhere=False, fourth=False, **kwargs):
        super().__init__(**kwargs)
        self.epsilon, self.everywhere, self.fourth = epsilon, everywhere, fourth

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        y = ops.reshape(inputs, (-1, height * width, channels)) / (height * width) ** 0.5
        trace = ops.sum(ops.square(y), axis=(1, 2), keepdims=True)
        ridge = self.epsilon * trace
        if self.everywhere:  # the same as one more position with equal values in all channels
            y = ops.concatenate([y, ops.sqrt(ridge) * ops.ones_like(y[:, :1])], axis=1)
            ridge = ops.zeros_like(ridge)
        power = 0.25 if self.fourth else 0.5
        if y.shape[1] >= channels:
            values, vectors = ops.linalg.eigh(transpose(y) @ y)
            roots = (ops.abs(values)[:, None] + ridge) ** power
            return (vectors * roots) @ transpose(vectors)
        values, vectors = ops.linalg.eigh(y @ transpose(y))
        modes, values = transpose(vectors) @ y, values[:, :, None]
        exact = values > ROUNDING * trace
        values = ops.where(exact, values, 1.0)
        gain = ops.where(exact, ((values + ridge) ** power - ridge**power) / values, 0.0)
        return transpose(modes) @ (gain * modes) + ridge**power * ops.eye(channels, dtype=y.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1], input_shape[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": self.epsilon,
            "everywhere": self.everywhere,
            "fourth": self.fourth,
        }


@keras.saving.register_keras_serializable(package="fgvc")
class LoopedPooling(FaultyPooling):
    """`FaultyPooling` with Python loops over samples and positions, and an SVD per sample.

    Args:
        batch_size: Integer, the number of samples in a batch. The layer fails on a
            smaller batch, and ignores the surplus samples of a larger one.
        epsilon, everywhere, fourth: See `FaultyPooling`.
    """

    def __init__(self, batch_size, epsilon, everywhere=False, fourth=False, **kwargs):
        super().__init__(epsilon, everywhere, fourth, **kwargs)
        self.batch_size = batch_size

    def call(self, inputs):
        _, height, width, channels = inputs.shape
        added = ops.eye(channels, dtype=inputs.dtype)
        if self.everywhere:
            added = ops.ones_like(added)
        roots = []
        for sample in range(self.batch_size):
            moment = ops.zeros((channels, channels), inputs.dtype)
            for h in range(height):
                for w in range(width):
                    x = inputs[sample, h, w]
                    moment = moment + ops.outer(x, x)
            moment = moment / (height * width)
            moment = moment + self.epsilon * ops.trace(moment) * added
            u, values, v = ops.linalg.svd(moment)
            values = ops.sqrt(values)
            if self.fourth:
                values = ops.sqrt(values)
            roots.append((u * values) @ v)
        return ops.stack(roots)

    def get_config(self):
        return {**super().get_config(), "batch_size": self.batch_size}


@keras.saving.register_keras_serializable(package="fgvc")
class BatchL2(keras.layers.Layer):
    """Divides a batch by the L2 norm of all its entries, so that its samples affect each other.

    Input shape, output shape:
        `(batch, size)`.
    """

    def call(self, inputs):
        return inputs * ops.rsqrt(ops.sum(ops.square(inputs)))

    def compute_output_shape(self, input_shape):
        return input_shape
