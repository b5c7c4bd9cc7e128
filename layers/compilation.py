"""The place where a layer runs, and a warning about eigendecompositions under TensorFlow's XLA."""

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
            f"{layer.name}: an eigendecomposition takes 10 to 35 times as long under TensorFlow's "
            "XLA on a CPU. Compile without jit_compile, or take SpectralPooling(method='auto') "
            "with a function that needs none.",
            stacklevel=2,
        )


def place(x):
    """Return where operations on `x` run: `"cpu"`, `"accelerator"`, or TensorFlow's `"xla"`."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if _traced_for_xla():
            return "xla"
        return "accelerator" if tf.config.list_logical_devices("GPU") else "cpu"
    if backend == "jax":
        import jax

        return "cpu" if jax.default_backend() == "cpu" else "accelerator"
    return "accelerator" if backend == "torch" and x.device.type != "cpu" else "cpu"


def _traced_for_xla():
    """Whether TensorFlow is tracing for XLA; False if its private function for it is missing."""
    import tensorflow as tf

    try:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))
    except (ImportError, AttributeError, TypeError):
        return False
