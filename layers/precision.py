"""The types that layers compute in."""

import keras


def in_full_precision(layer, function, *inputs):
    """Call `function` on inputs cast to the compute dtype of `layer`, and return its result in it.

    Keras casts floats to that type, but passes integers and Booleans on. If the compute dtype is
    half precision, `function` gets float32, and the result is cast back.
    """
    dtype = layer.compute_dtype
    wide = "float64" if dtype == "float64" else "float32"
    return keras.ops.cast(function(*(keras.ops.cast(x, wide) for x in inputs)), dtype)
