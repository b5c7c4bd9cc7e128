"""Keras' normalisation, whose mean can follow the descriptors while the backbone is trained."""

import keras

IMAGES = 160  # the mean is that of about the last ones


@keras.saving.register_keras_serializable(package="fgvc")
class Normalization(keras.layers.Normalization):
    """Subtracts a mean and divides by a standard deviation; the mean can follow the inputs.

    Training a backbone moves the descriptors of all images together: they are correlated, and a
    step for some images is a step for all. Features that are never negative, as after ReLU, are an
    example. A classifier that was fitted to the old descriptors then prefers a few classes. With
    `follows`, each training step moves the mean by the share of its batch in the last 160 inputs.
    No gradient passes through the mean. The variance stays, so a change of scale remains. Files of
    weights depend on the name of the class; this one can read those of Keras' layer.

    Attributes:
        follows: whether the mean follows the inputs during training. Default: `False`. Set it
            before the model is compiled.

    Input shape, output shape: (B, D).

    Example:

    >>> layer = Normalization()
    >>> layer.follows = True
    >>> layer(keras.ops.ones((160, 1)), training=True).numpy().max()
    np.float32(0.0)
    """

    follows = False

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, aggregation="mean", **kwargs)  # over replicas

    def call(self, inputs, training=None):
        if training and self.follows:
            images = keras.ops.cast(keras.ops.shape(inputs)[0], inputs.dtype)
            share = keras.ops.minimum(1.0, images / IMAGES)
            mean = keras.ops.stop_gradient(keras.ops.mean(inputs, axis=0))
            self.adapt_mean.assign(self.adapt_mean + share * (mean - self.adapt_mean))
        deviation = keras.ops.sqrt(self.adapt_variance)  # not the attributes that adapt() sets
        return (inputs - self.adapt_mean) / keras.ops.maximum(deviation, keras.backend.epsilon())
