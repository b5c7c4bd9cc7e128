"""The types and the precision that layers compute in."""

import functools
import warnings

import keras

SWITCHES = {
    "tensorflow": "tf.config.experimental.enable_tensor_float_32_execution(False)",
    "torch": 'torch.set_float32_matmul_precision("highest")',
}


def in_full_precision(layer, function, *inputs):
    """Call `function` on inputs cast to the compute dtype of `layer`, and return its result in it.

    Keras casts floats to that type, but passes integers and Booleans on. If the compute dtype is
    half precision, `function` gets float32, and the result is cast back. Products are those of
    `exact_products`.
    """
    dtype = layer.compute_dtype
    wide = "float64" if dtype == "float64" else "float32"
    inputs = [keras.ops.cast(x, wide) for x in inputs]
    if wide == "float32" and rounds_products(inputs[0]):
        warnings.warn(
            f"{layer.name}: products of float32 are rounded to TF32, with errors of 1e-3. "
            f"For exact ones call {SWITCHES[keras.backend.backend()]}.",
            stacklevel=2,
        )
    return keras.ops.cast(exact_products(function)(*inputs), dtype)


def exact_products(function):
    """Let JAX compute the matrix products in `function` with the precision of their type.

    By default, it rounds float32 to TF32 (10 bits) on GPUs of the Ampere generation and later, and
    to bfloat16 on TPUs. TensorFlow and PyTorch only have a switch for the whole process; see
    `rounds_products`.
    """
    if keras.backend.backend() != "jax":
        return function
    import jax

    @functools.wraps(function)
    def exact(*args):
        with jax.default_matmul_precision("highest"):
            return function(*args)

    return exact


def rounds_products(x):
    """Return whether TensorFlow or PyTorch may round products of a float32 tensor to TF32."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled() and bool(
            tf.config.list_logical_devices("GPU")
        )
    if backend == "torch":
        import torch

        return x.device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    return False
