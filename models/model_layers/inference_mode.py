"""A model that runs in inference mode even during training."""

import keras

from .folded_normalization import FoldedModel


@keras.saving.register_keras_serializable(package="fgvc")
class InferenceMode(keras.layers.Layer):
    """Calls a model with `training=False`: batch norm uses its stored statistics, dropout is off.

    Calling the model with `training=False` inside a functional model is not enough: `fit` calls the
    functional model with `training=True`, and Keras 3 passes that to every layer. The weights of
    the wrapped model can still be trained. Batch norms are folded into the convolutions before
    them: training MobileNetV2 on a CPU is 1.6 times as fast. See `FoldedModel`.

    Args:
        model: A built Keras model with one input and one output.

    Input shape, output shape: those of the model.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dropout(0.9)])
    >>> InferenceMode(model)(keras.ops.ones((1, 2)), training=True).numpy()
    array([[1., 1.]], dtype=float32)
    """

    def __init__(self, model: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.model = model
        self._folded = FoldedModel(model)

    def call(self, inputs, training=None):
        return self._folded(inputs)

    def compute_output_shape(self, input_shape):
        return self.model.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        model = keras.saving.deserialize_keras_object(config.pop("model"))
        return cls(model, **config)
