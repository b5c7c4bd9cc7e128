"""Batch normalisation in inference mode, folded into the convolution before it."""

from collections import Counter

import keras
from keras import ops

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
MERGES = (keras.layers.Add, keras.layers.Multiply, keras.layers.Concatenate)  # of several inputs


class FoldedModel:
    """Calls a model with `training=False`, each batch norm folded into its convolution.

    With stored statistics, batch norm multiplies each channel by s = gamma / sqrt(variance +
    epsilon). The convolution with the kernel W s gives the same map, and no pass over the map is
    needed, forward or backward. All weights keep their gradients: they flow through W s.

    A convolution without an activation whose only consumer is a batch norm is folded. These are
    called as they are: subclasses of both layers, models with other operations than layers that
    are called once, with one input or merging several, and mixed precision.

    Args:
        model: a functional model with one input and one output.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.norms = _norms(model) if _is_simple(model) else {}
        self.folded = set(self.norms.values())

    def __call__(self, inputs):
        if not self.norms:
            return self.model(inputs, training=False)
        values = {id(self.model.inputs[0]): inputs}
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.InputLayer):
                continue
            samples = keras.tree.map_structure(lambda tensor: values[id(tensor)], layer.input)
            if layer in self.norms:
                samples = _convolve(layer, self.norms[layer], samples)
            elif layer not in self.folded:
                samples = layer(samples, training=False)
            values[id(layer.output)] = samples
        return values[id(self.model.outputs[0])]


def _is_simple(model: keras.Model) -> bool:
    """Whether the layers' inputs and outputs say how the model is computed."""
    known = {id(tensor) for tensor in model.inputs}
    for layer in model.layers:
        is_input = isinstance(layer, keras.layers.InputLayer)
        read = [] if is_input else keras.tree.flatten(layer.input)
        if (
            layer.compute_dtype != layer.variable_dtype
            or any(id(tensor) not in known for tensor in read)
            or (len(read) > 1 and not isinstance(layer, MERGES))
        ):
            return False
        known.add(id(layer.output))
    return id(model.outputs[0]) in known


def _norms(model: keras.Model) -> dict[keras.layers.Layer, keras.layers.BatchNormalization]:
    """Returns the batch norm behind each convolution that can be folded."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    read = [keras.tree.flatten(layer.input) for layer in layers]
    consumers = Counter(id(tensor) for tensors in [*read, model.outputs] for tensor in tensors)
    convolutions = {
        id(layer.output): layer
        for layer in layers
        if type(layer) in CONVOLUTIONS
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and consumers[id(layer.output)] == 1
    }
    return {
        convolutions[id(layer.input)]: layer
        for layer in layers
        if type(layer) is keras.layers.BatchNormalization
        and id(layer.input) in convolutions
        and layer.axis in (-1, 3)
    }


def _convolve(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization, inputs):
    scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma
    options = layer.strides, layer.padding, layer.data_format, layer.dilation_rate
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = layer.kernel * ops.reshape(scale, (1, 1, *layer.kernel.shape[2:]))
        outputs = ops.depthwise_conv(inputs, kernel, *options)
    else:
        outputs = ops.conv(inputs, layer.kernel * scale, *options)
    offset = (layer.bias if layer.use_bias else 0.0) - norm.moving_mean
    offset = offset * scale
    # Not `outputs + offset`: on TensorFlow, Keras' addition becomes a BiasAdd.
    return ops.add(outputs, offset + norm.beta if norm.center else offset)
