"""Keras' own test of a layer: serialization, shapes, types, training and mixed precision."""

import every_layer
import pytest

from layers import AttentivePooling, BilinearPooling, CrossCovariancePooling


@pytest.mark.filterwarnings("ignore:.*eigendecomposition")
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("name", every_layer.EACH_CLASS | every_layer.TRAINED)
def test_a_layer_passes(harness, name, dtype):
    layer_class, options, shape = (every_layer.EACH_CLASS | every_layer.TRAINED)[name]
    weights = {AttentivePooling: 2, CrossCovariancePooling: 6}
    harness.run_layer_test(
        layer_class,
        options,
        input_shape=shape,
        input_dtype=dtype,
        expected_output_shape=layer_class(**options).compute_output_shape(shape),
        expected_output_dtype="float32",
        expected_num_trainable_weights=weights.get(layer_class, 0),
        expected_num_non_trainable_weights=0,
        expected_num_losses=0,
        run_training_check=dtype == "float32",
    )


def test_a_pair_passes(harness):
    harness.run_layer_test(
        BilinearPooling,
        {},
        input_shape=((2, 3, 3, 4), (2, 3, 3, 5)),
        input_dtype=("float32", "float32"),
        expected_output_shape=(2, 4, 5),
        expected_output_dtype="float32",
    )
