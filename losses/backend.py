"""Differences between the backends of Keras.

`layers` and `losses` are two packages that import nothing from each other, so each has a copy of
this file. A test keeps the copies equal.
"""

import keras
from keras import ops


def custom_gradient(function):
    """Decorate `function` so that every backend uses the gradient that it defines.

    Args:
        function: Takes one tensor. Returns the result, and a function from the upstream gradient
            to the gradient with respect to that tensor.
    """

    @ops.custom_gradient
    def with_gradient(x):
        result, gradient = function(x)
        # PyTorch passes x by position and the upstream gradient by name, the other backends pass
        # only the upstream gradient, by position.
        return result, lambda g, upstream=None: gradient(g if upstream is None else upstream)

    return with_gradient


def widest_float():
    """Return the widest float type that the backend computes in.

    That is `"float64"`, or `"float32"` on JAX unless JAX_ENABLE_X64=1 is set.
    """
    if keras.backend.backend() == "jax":
        import jax

        return "float64" if jax.config.jax_enable_x64 else "float32"
    return "float64"
