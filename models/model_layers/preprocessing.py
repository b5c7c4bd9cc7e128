"""ImageNet preprocessing as a layer, so that a saved model takes RGB images."""

import keras


@keras.saving.register_keras_serializable(package="fgvc")
class Preprocessing(keras.layers.Layer):
    """Converts RGB in 0...255 to the input that a `keras.applications` backbone was trained on.

    Args:
        mode: "caffe" (BGR minus the ImageNet means), "tf" (scaled to -1...1), "torch" (standardised
            by the ImageNet means and deviations) or "none" (the backbone preprocesses its input).

    Input shape: (B, H, W, 3), any dtype. Output shape: the same, in the layer's compute dtype.

    Raises:
        ValueError: `mode` is unknown.

    Example:

    >>> float(Preprocessing("tf")(keras.ops.full((1, 1, 1, 3), 255.0))[0, 0, 0, 0])
    1.0
    """

    MODES = ("caffe", "tf", "torch", "none")

    def __init__(self, mode: str, **kwargs):
        super().__init__(**kwargs)
        if mode not in self.MODES:
            raise ValueError(f"`mode` must be one of {self.MODES}. Received: {mode!r}")
        self.mode = mode

    def call(self, inputs):
        pixels = keras.ops.cast(inputs, "float32")  # bfloat16 is not exact above 256
        if self.mode != "none":
            pixels = keras.applications.imagenet_utils.preprocess_input(
                pixels, data_format="channels_last", mode=self.mode
            )
        return keras.ops.cast(pixels, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}
