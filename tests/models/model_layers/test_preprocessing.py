"""ImageNet preprocessing as a layer."""

import keras
import numpy as np
import pytest

from models.backbones import ARCHITECTURES
from models.model_layers import Preprocessing

MODULES = {  # their preprocess_input is the reference
    "vgg16": keras.applications.vgg16,
    "vgg19": keras.applications.vgg19,
    "resnet50": keras.applications.resnet,
    "resnet101": keras.applications.resnet,
    "resnet152": keras.applications.resnet,
    "resnet50_v2": keras.applications.resnet_v2,
    "resnet101_v2": keras.applications.resnet_v2,
    "resnet152_v2": keras.applications.resnet_v2,
    "mobilenet_v2": keras.applications.mobilenet_v2,
    "densenet121": keras.applications.densenet,
    "densenet201": keras.applications.densenet,
    "efficientnet_v2_b0": keras.applications.efficientnet_v2,
    "efficientnet_v2_s": keras.applications.efficientnet_v2,
    "convnext_tiny": keras.applications.convnext,
}


def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)


def expected(name: str) -> np.ndarray:
    return MODULES[name].preprocess_input(pixels().astype(np.float64))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_each_backbone_is_preprocessed_like_in_keras_applications(name, dtype):
    layer = Preprocessing(ARCHITECTURES[name].preprocessing)
    output = keras.ops.convert_to_numpy(layer(pixels().astype(dtype)))
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected(name), atol=1e-4)


def test_in_half_precision_only_the_result_is_rounded():
    layer = Preprocessing("caffe", dtype="mixed_bfloat16")
    output = layer(pixels())
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    output = keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))
    np.testing.assert_allclose(output, expected("vgg16"), rtol=2**-8)


def test_preprocessing_is_saved_with_a_model(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, Preprocessing("torch")(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(pixels(), verbose=0), expected("densenet121"), atol=1e-5
    )


def test_the_error_for_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"must be one of .*'caffe'.*Received: 'coffee'"):
        Preprocessing("coffee")
