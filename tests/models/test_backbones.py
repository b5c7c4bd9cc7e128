"""Frozen feature extractors up to the layer that is pooled."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from conf.schema import BackboneConfig
from errors import UserError
from models import backbones
from models.backbones import (
    ARCHITECTURES,
    Architecture,
    build_backbone,
    check_frozen_blocks,
    freeze_blocks,
    weights_digest,
)
from models.model_layers import Preprocessing

# The smallest of each family is always built, the others only by slow tests.
LARGE = {
    "vgg19",
    "resnet101",
    "resnet152",
    "resnet101_v2",
    "resnet152_v2",
    "densenet201",
    "efficientnet_v2_s",
}
EACH = [
    pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in ARCHITECTURES
]


def vgg16(tap: str = "block1_conv1", **options) -> keras.Model:
    config = BackboneConfig(**{"name": "vgg16", "weights": "random", "tap": tap, **options})
    return build_backbone(config, 32)


def mobilenet(**options) -> keras.Model:
    tap = "block_1_project_BN"
    config = BackboneConfig(**{"name": "mobilenet_v2", "weights": "random", "tap": tap, **options})
    return build_backbone(config, 32)


def random_images(count: int = 2, size: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.float32)


def inner(backbone: keras.Model, layer: str) -> keras.layers.Layer:
    return backbone.layers[-1].model.get_layer(layer)


def kernel_of(backbone: keras.Model, layer: str) -> np.ndarray:
    return inner(backbone, layer).get_weights()[0]


# Architecture and tap


@pytest.mark.parametrize("name", EACH)
def test_every_architecture_turns_images_into_a_feature_map(name):
    backbone = build_backbone(BackboneConfig(name=name, weights="random"), 64)
    assert backbone.output.shape[:3] == (None, 2, 2)
    maps = backbone(random_images(1, 64)).numpy()
    assert maps.shape == (1, 2, 2, backbone.output.shape[3])
    assert np.isfinite(maps).all() and maps.std() > 0


def test_the_tap_is_the_last_layer_that_is_kept():
    assert vgg16("block1_conv2").output.shape == (None, 32, 32, 64)
    assert vgg16("block2_pool").output.shape == (None, 8, 8, 128)
    assert [weight.path for weight in vgg16("block1_conv1").weights] == [
        "block1_conv1/kernel",
        "block1_conv1/bias",
    ]


def test_the_feature_map_is_the_output_of_the_tapped_layer_on_preprocessed_images():
    backbone = vgg16("block1_conv1")
    kernel, bias = inner(backbone, "block1_conv1").get_weights()
    pixels = np.asarray(Preprocessing("caffe")(random_images(1)), np.float64)[0]
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)))
    expected = bias + sum(
        padded[i : i + 32, j : j + 32] @ kernel[i, j] for i in range(3) for j in range(3)
    )
    actual = backbone(random_images(1)).numpy()[0]
    np.testing.assert_allclose(actual, np.maximum(expected, 0), rtol=1e-4, atol=1e-2)


def test_an_unknown_tap_lists_all_taps_and_suggests_the_nearest():
    with pytest.raises(UserError) as caught:
        vgg16("block1_conv9")
    message = str(caught.value)
    assert message.startswith("backbone.tap=block1_conv9: vgg16 has no such layer")
    assert "did you mean block1_conv2 or block1_conv1" in message
    assert "taps: input_layer" in message and "block5_pool" in message


def test_an_unknown_backbone_lists_the_known_ones():
    with pytest.raises(UserError, match=r"backbone\.name=vgg61: unknown; known are vgg16, vgg19"):
        build_backbone(BackboneConfig(name="vgg61"), 32)


def test_images_that_are_too_small_for_the_backbone_are_a_configuration_error():
    with pytest.raises(UserError, match=r"backbone\.name=vgg16: .*32"):
        build_backbone(BackboneConfig(name="vgg16", weights="random"), 16)


def test_weights_that_cannot_be_downloaded_name_the_remedy(monkeypatch):
    def offline(**options):
        raise Exception("URL fetch failure on\nhttps://weights: no network")

    monkeypatch.setitem(backbones.ARCHITECTURES, "vgg16", Architecture(offline, "caffe"))
    with pytest.raises(UserError) as caught:
        vgg16(weights="imagenet")
    assert "backbone.weights=imagenet: the weights could not be downloaded" in str(caught.value)
    assert "backbone.weights=FILE.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


# Frozen


def test_a_backbone_has_no_trainable_weights():
    assert vgg16().trainable_weights == []


@pytest.fixture
def unfrozen() -> keras.Model:
    """A backbone that is fine-tuned."""
    backbone = mobilenet()
    backbone.trainable = True
    return backbone


def test_batch_norm_uses_its_stored_statistics_even_during_fine_tuning(unfrozen):
    np.testing.assert_array_equal(
        unfrozen(random_images(), training=True), unfrozen(random_images(), training=False)
    )


def test_fine_tuning_changes_the_kernels_but_not_the_statistics_of_batch_norm(unfrozen):
    statistics = [weight.numpy() for weight in unfrozen.non_trainable_weights]
    kernels = [weight.numpy() for weight in unfrozen.trainable_weights]
    assert len(statistics) == 2 * 6  # mean and variance of six batch norms
    unfrozen.compile("sgd", "mse")
    unfrozen.fit(random_images(), np.zeros((2, *unfrozen.output.shape[1:])), verbose=0)
    for before, after in zip(kernels, unfrozen.trainable_weights, strict=True):
        if after.path.endswith("kernel"):
            assert (after.numpy() != before).any(), after.path
    for before, after in zip(statistics, unfrozen.non_trainable_weights, strict=True):
        np.testing.assert_array_equal(after.numpy(), before, after.path)


# Random weights


def test_random_weights_depend_on_the_seed():
    assert weights_digest(vgg16(seed=1)) == weights_digest(vgg16(seed=1))
    assert weights_digest(vgg16(seed=1)) != weights_digest(vgg16(seed=2))


def test_a_higher_tap_does_not_change_the_random_weights_below_it():
    np.testing.assert_array_equal(
        kernel_of(vgg16("block1_conv1"), "block1_conv1"),
        kernel_of(vgg16("block2_conv2"), "block1_conv1"),
    )


def test_layers_of_equal_shape_have_different_random_weights():
    backbone = vgg16("block3_conv3")
    assert (kernel_of(backbone, "block3_conv2") != kernel_of(backbone, "block3_conv3")).any()


@pytest.mark.parametrize(
    ("build", "layer", "fan_in"),
    [
        (lambda: vgg16("block2_conv1"), "block1_conv2", 3 * 3 * 64),
        (lambda: vgg16("block2_conv1"), "block2_conv1", 3 * 3 * 64),
        (lambda: mobilenet(tap="block_6_expand"), "block_6_expand", 32),
        (lambda: mobilenet(tap="block_13_depthwise"), "block_13_depthwise", 3 * 3),
    ],
)
def test_random_filters_have_the_variance_of_he_et_al(build, layer, fan_in):
    kernel = kernel_of(build(), layer)
    assert kernel.var() == pytest.approx(2 / fan_in, rel=0.08)
    assert abs(kernel.mean()) < 0.05 * kernel.std()


def test_random_biases_are_zero():
    assert not inner(vgg16(), "block1_conv1").get_weights()[1].any()


# Weights files


def write_layers(path, layers: dict[str, list[np.ndarray]]) -> str:
    """Writes a file in the format of Keras 2's `save_weights`: arrays by layer name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            keys = [f"{name}/weight_{number}:0" for number in range(len(arrays))]
            group.attrs["weight_names"] = [key.encode() for key in keys]
            for key, array in zip(keys, arrays, strict=True):
                group[key] = array
    return str(path)


def block1(seed: int = 5) -> dict[str, list[np.ndarray]]:
    source = vgg16("block1_conv2", seed=seed)
    return {name: inner(source, name).get_weights() for name in ("block1_conv1", "block1_conv2")}


@pytest.fixture(scope="module")
def whole_mobilenet() -> keras.Model:
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    random = np.random.default_rng(3)
    for weight in model.weights:
        weight.assign(random.uniform(0.5, 1.5, weight.shape))
    return model


def assert_same_weights(backbone: keras.Model, whole: keras.Model) -> None:
    for layer in ("Conv1", "bn_Conv1", "block_1_depthwise", "block_1_project_BN"):
        for actual, expected in zip(
            inner(backbone, layer).get_weights(), whole.get_layer(layer).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(actual, expected)


def test_a_weights_file_needs_no_layers_above_the_tap(tmp_path):
    file = write_layers(tmp_path / "block1.h5", block1())
    for tap in ("block1_conv1", "block1_conv2"):
        loaded, expected = vgg16(tap, weights=file), vgg16(tap, seed=5)
        assert weights_digest(loaded) == weights_digest(expected)
        np.testing.assert_array_equal(loaded(random_images()), expected(random_images()))


def test_the_error_names_a_layer_that_the_file_lacks(tmp_path):
    file = write_layers(tmp_path / "block1.h5", block1())
    with pytest.raises(UserError) as caught:
        vgg16("block2_conv1", weights=file)
    assert str(caught.value) == (
        f"backbone.weights={file}: layer block2_conv1 is needed but not in the file"
    )


def test_the_error_names_a_layer_whose_shapes_differ_and_both_shapes(tmp_path):
    layers = block1()
    layers["block1_conv2"] = [np.zeros((3, 3, 64, 32)), np.zeros(32)]
    file = write_layers(tmp_path / "narrow.h5", layers)
    with pytest.raises(UserError) as caught:
        vgg16("block1_conv2", weights=file)
    message = str(caught.value)
    assert "layer block1_conv2" in message
    assert "(3, 3, 64, 32)" in message and "(3, 3, 64, 64)" in message


def test_the_weights_of_a_whole_saved_model_are_loaded(tmp_path, whole_mobilenet):
    whole_mobilenet.save(tmp_path / "whole.h5")
    assert_same_weights(mobilenet(weights=str(tmp_path / "whole.h5")), whole_mobilenet)


def test_keras_3_weights_of_the_whole_model_are_loaded(tmp_path, whole_mobilenet):
    whole_mobilenet.save_weights(tmp_path / "whole.weights.h5")
    assert_same_weights(mobilenet(weights=str(tmp_path / "whole.weights.h5")), whole_mobilenet)


def test_a_whole_file_with_other_automatic_names_is_loaded_by_position(tmp_path, whole_mobilenet):
    layers = {
        f"layer_{number}": layer.get_weights()
        for number, layer in enumerate(layer for layer in whole_mobilenet.layers if layer.weights)
    }
    file = write_layers(tmp_path / "renamed.h5", layers)
    assert_same_weights(mobilenet(weights=file), whole_mobilenet)


def test_the_error_for_a_missing_weights_file_lists_the_possible_values(tmp_path):
    with pytest.raises(UserError, match=r"no such file; give imagenet, random or an \.h5"):
        vgg16(weights=str(tmp_path / "none.h5"))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "weights.h5").write_text("no weights")
    with pytest.raises(UserError, match=r"weights\.h5: not an HDF5 weights file"):
        vgg16(weights=str(tmp_path / "weights.h5"))


def test_the_digest_changes_with_a_single_weight():
    backbone = vgg16()
    before = weights_digest(backbone)
    kernel = kernel_of(backbone, "block1_conv1")
    kernel[0, 0, 0, 0] += 1e-6
    inner(backbone, "block1_conv1").set_weights([kernel, np.zeros(64)])
    assert weights_digest(backbone) != before


# Real weights

VGG16_FILE = "weights/vgg16_blocks1-3.h5"
MOBILENET_FILE = "weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"


@pytest.mark.shared
def test_the_published_weights_of_mobilenet_are_loaded(shared):
    backbone = mobilenet(weights=str(shared / MOBILENET_FILE))
    whole = keras.applications.MobileNetV2(
        include_top=False, weights=str(shared / MOBILENET_FILE), input_shape=(32, 32, 3)
    )
    assert_same_weights(backbone, whole)


@pytest.mark.shared
def test_the_first_blocks_of_vgg16_are_enough_for_taps_up_to_block_3(shared):
    backbone = vgg16("block3_conv3", weights=str(shared / VGG16_FILE))
    assert np.isfinite(backbone(random_images())).all()
    with pytest.raises(UserError, match="layer block4_conv1 is needed but not in the file"):
        vgg16("block4_conv1", weights=str(shared / VGG16_FILE))


def unfrozen_mobilenet() -> keras.Model:
    config = BackboneConfig(name="mobilenet_v2", weights="random", tap="block_2_add")
    backbone = build_backbone(config, 32)
    backbone.trainable = True
    return backbone


@pytest.mark.parametrize(("count", "expected"), [(None, 1), (0, 0), (1, 1), (2, 2)])
def test_half_of_the_blocks_stay_frozen_unless_their_number_is_given(count, expected):
    backbone = unfrozen_mobilenet()
    freeze_blocks(backbone, count)
    paths = [variable.path for variable in backbone.trainable_variables]
    trained = [any(part in path for path in paths) for part in ("Conv1/", "block_1_", "block_2_")]
    assert trained == [False] * expected + [True] * (3 - expected)


def test_the_first_blocks_can_stay_frozen_and_are_not_differentiated():
    backbone = unfrozen_mobilenet()
    names = {variable.path.split("/")[0] for variable in backbone.trainable_variables}
    freeze_blocks(backbone, 2)
    trained = {variable.path.split("/")[0] for variable in backbone.trainable_variables}
    assert trained == {name for name in names if name.startswith("block_2_")}
    with tf.GradientTape() as tape:
        maps = backbone(np.ones((1, 32, 32, 3)))
        loss = tf.reduce_sum(maps)
    assert all(g is not None for g in tape.gradient(loss, backbone.trainable_variables))


@pytest.mark.parametrize("count", [3, 40])
def test_at_least_one_block_is_trained(count):
    with pytest.raises(
        UserError, match=f"trainer.frozen_blocks={count}: the backbone has 3 blocks"
    ):
        check_frozen_blocks(unfrozen_mobilenet(), count)
