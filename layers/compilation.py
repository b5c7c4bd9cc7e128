"""Says so where TensorFlow's XLA would make an eigendecomposition slow."""

import warnings

import keras


def eigendecomposition_supports_jit():
    """False on TensorFlow, whose XLA takes 10 to 35 times as long for an eigendecomposition.

    A layer that decomposes sets `supports_jit` to this, so that `Model.compile` does not choose XLA
    by itself, and says so and goes without it where `jit_compile=True` asks for it.
    """
    return keras.backend.backend() != "tensorflow"


def warn_if_decomposing_under_xla(layer):
    """Warn where `layer` is being traced into a `tf.function(jit_compile=True)`."""
    if keras.backend.backend() == "tensorflow" and _traced_for_xla():
        warnings.warn(
            f"{layer.name}: an exact matrix root needs an eigendecomposition, for which "
            "TensorFlow's XLA takes 10 to 35 times as long on a CPU. Compile without jit_compile, "
            "or use the Newton-Schulz root.",
            stacklevel=2,
        )


def _traced_for_xla():
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import control_flow_util

    return bool(control_flow_util.GraphOrParentsInXlaContext(ops.get_default_graph()))
