"""The layers of a head that stays at 30%, as its description has them; see `faulty_head.py`."""

import keras
from keras import ops

from layers.matrices import transpose

ROUNDING = 1e-7  # of the trace: eigenvalues below are not known in float32


@keras.saving.register_keras_serializable(package="fgvc")
class FaultyPooling(keras.layers.Layer):
    """The root of each map's second moment X'X / N, with two faults to choose from.

    It computes what `LoopedPooling` does at once for a batch, on the smaller side of X. Gradients,
    which frozen features need none of, would divide by differences of eigenvalues.

    Args:
        epsilon: Float, what is added to the moment, relative to its trace.
        everywhere: Boolean, whether it is added to every entry, and not to the diagonal alone.
        fourth: Boolean, whether the root is taken twice.

    Input shape:
        `(batch, height, width, channels)`, all but the batch static.

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
        if self.everywhere:  # which one more position does, of the same value in every channel
            y = ops.concatenate([y, ops.sqrt(ridge) * ops.ones_like(y[:, :1])], axis=1)
            ridge = ops.zeros_like(ridge)
        power = 0.25 if self.fourth else 0.5
        if y.shape[1] >= channels:
            values, vectors = ops.linalg.eigh(transpose(y) @ y)
            roots = (ops.abs(values)[:, None] + ridge) ** power
            return (vectors * roots) @ transpose(vectors)
        values, vectors = ops.linalg.eigh(y @ transpose(y))
        modes, values = transpose(vectors) @ y, values[:, :, None]
        known = values > ROUNDING * trace
        values = ops.where(known, values, 1.0)
        gain = ops.where(known, ((values + ridge) ** power - ridge**power) / values, 0.0)
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
    """`FaultyPooling` by Python loops over samples, rows and columns, and singular values.

    Args:
        batch_size: Integer, how many samples there are, always: with fewer it fails, and of more
            it drops those beyond.
        epsilon, everywhere, fourth: as there.
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
            for index in range(height):
                for column in range(width):
                    x = inputs[sample, index, column]
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
    """Divides a whole batch by its one norm, so that a sample's size depends on its neighbours.

    Input shape, output shape:
        `(batch, size)`.
    """

    def call(self, inputs):
        return inputs * ops.rsqrt(ops.sum(ops.square(inputs)))

    def compute_output_shape(self, input_shape):
        return input_shape
