"""Layers compute in float32 when their input is in half precision."""

import keras


def in_full_precision(function, *inputs):
    """Call `function` on inputs of one type, and return its result in that type.

    float16 and bfloat16 inputs are cast to float32 first. Other types are passed on unchanged.
    """
    dtype = inputs[0].dtype
    if keras.backend.standardize_dtype(dtype) in ("float16", "bfloat16"):
        inputs = [keras.ops.cast(x, "float32") for x in inputs]
    return keras.ops.cast(function(*inputs), dtype)
