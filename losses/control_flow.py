"""Conditions and loops that run in plain Python outside a graph.

There, JAX would compile `ops.cond` and `ops.fori_loop` at every call.
"""

import keras
from keras import ops


def is_traced(x):
    """Return whether `x` is a tensor without a value, as in a graph."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.is_symbolic_tensor(x)
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(x, jax.core.Tracer)
    return False


def has_value(x):
    """Return whether Python can read the value of `x`."""
    if keras.backend.backend() == "torch":
        import torch

        return not torch.compiler.is_compiling()
    return not is_traced(x)


def cond(condition, true_function, false_function):
    """Return the result of one of two functions without arguments."""
    if is_traced(condition):
        return ops.cond(condition, true_function, false_function)
    return true_function() if condition else false_function()


def fori_loop(steps, function, value):
    """Return `value` after `value = function(step, value)` for each step in `range(steps)`."""
    if is_traced(steps):
        return ops.fori_loop(0, steps, function, value)
    for step in range(int(steps)):
        value = function(step, value)
    return value
