"""A warning about slow eigendecompositions under TensorFlow's XLA."""

import warnings

import keras


def eigendecomposition_supports_jit():
    """Return False on TensorFlow, where XLA takes 10 to 35 times as long for it, else True.

    A layer that decomposes sets `supports_jit` to this value. `Model.compile` then does not choose
    XLA by itself, and with `jit_compile=True` it warns and compiles without XLA.
    """
    return keras.backend.backend() != "tensorflow"


def warn_if_decomposing_under_xla(layer):
    """Warn if `layer` is being traced into a `tf.function(jit_compile=True)`."""
    if keras.backend.backend() == "tensorflow" and _traced_for_xla():
        warnings.warn(
            f"{layer.name}: an exact matrix root needs an eigendecomposition, for which "
            "TensorFlow's XLA takes 10 to 35 times as long on a CPU. Compile without jit_compile, "
            "or use the Newton-Schulz root.",
            stacklevel=2,
        )


def _traced_for_xla():
    """Whether TensorFlow is tracing for XLA; False if its private function for it is missing."""
    import tensorflow as tf

    try:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))
    except (ImportError, AttributeError, TypeError):
        return False
