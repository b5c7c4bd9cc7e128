"""The faulty head: its loops equal the batched form, and each fault has the stated effect."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from experiments.post_mortem.faulty_head import (
    ALL,
    VARIANTS,
    Fault,
    build_faulty_descriptor,
    build_norm,
)
from experiments.post_mortem.faulty_layers import BatchL2, FaultyPooling, LoopedPooling
from layers import SecondOrderPooling
from models.backbones import build_backbone
from models.classifier import build_classifier

ROOTS = [(False, False), (False, True), (True, False), (True, True)]  # everywhere, fourth


def maps(*shape: int, seed: int = 0) -> np.ndarray:
    """Non-negative features."""
    return np.abs(np.random.default_rng(seed).normal(size=shape))


def value_and_gradient(layer, features, upstream):
    variable = tf.Variable(features)
    with tf.GradientTape() as tape:
        roots = layer(variable)
        total = tf.reduce_sum(roots * upstream)
    return roots.numpy(), tape.gradient(total, variable).numpy()


def descriptor(config, *faults: Fault, shape=(4, 4, 6), batch_size=3) -> keras.Model:
    return build_faulty_descriptor(config, frozenset(faults), shape, batch_size)


@pytest.mark.parametrize(("everywhere", "fourth"), ROOTS)
def test_loops_have_the_values_and_gradients_of_the_batched_form(everywhere, fourth):
    features, upstream = maps(2, 3, 4, 5), maps(2, 5, 5, seed=1)
    options = {"epsilon": 1e-3, "everywhere": everywhere, "fourth": fourth, "dtype": "float64"}
    batched = value_and_gradient(FaultyPooling(**options), features, upstream)
    looped = value_and_gradient(LoopedPooling(2, **options), features, upstream)
    np.testing.assert_allclose(looped[0], batched[0], rtol=1e-10)
    np.testing.assert_allclose(looped[1], batched[1], rtol=1e-8, atol=1e-10)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 7), st.sampled_from(ROOTS))
def test_the_root_equals_numpy_s_for_every_shape(height, width, channels, options):
    features, positions = maps(2, height, width, channels), height * width
    everywhere, fourth = options
    x = features.reshape(2, positions, channels)
    moments = x.transpose(0, 2, 1) @ x / positions
    added = np.ones((channels, channels)) if everywhere else np.eye(channels)
    moments += 1e-3 * np.trace(moments, axis1=1, axis2=2)[:, None, None] * added
    values, vectors = np.linalg.eigh(moments)
    powers = np.abs(values)[:, None] ** (0.25 if fourth else 0.5)
    actual = FaultyPooling(1e-3, everywhere, fourth, dtype="float64")(features)
    # If a moment does not have full rank, NumPy also takes roots of rounding errors.
    np.testing.assert_allclose(
        actual, (vectors * powers) @ vectors.transpose(0, 2, 1), rtol=1e-3, atol=2e-3
    )


@pytest.mark.parametrize("shape", [(4, 4, 6), (2, 2, 6)])
def test_without_faults_pooling_is_the_exact_root(shape):
    features = maps(3, *shape).astype(np.float32)
    np.testing.assert_allclose(
        FaultyPooling(1e-5)(features),
        SecondOrderPooling(root="exact", epsilon=1e-5)(features),
        atol=1e-5,
    )


def test_the_loops_only_support_one_batch_size():
    pooling = LoopedPooling(3, 1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError):
        pooling(maps(2, 2, 2, 3))
    assert pooling(maps(4, 2, 2, 3)).shape[0] == 3  # the fourth sample is lost


def test_with_one_norm_for_the_batch_samples_depend_on_each_other():
    vectors = maps(4, 5).astype(np.float32)
    whole, half = BatchL2()(vectors), BatchL2()(vectors[:2])
    assert np.linalg.norm(whole) == pytest.approx(1, rel=1e-6)
    assert np.linalg.norm(whole[0]) < np.linalg.norm(half[0])
    norms = np.linalg.norm(build_norm(frozenset())(vectors), axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-6)


def test_popping_a_layer_of_a_model_has_no_effect(make_config):
    """The feature map is taken after the max pooling that should have been removed."""
    config = make_config("data.image_size=32", "backbone.tap=block2_conv2")
    images = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.float32)
    intended = build_backbone(config.backbone, 32)
    config.backbone.tap = "block2_pool"
    model = build_backbone(config.backbone, 32)
    before = model.predict(images, verbose=0)
    model.layers.pop()
    np.testing.assert_array_equal(model.predict(images, verbose=0), before)
    shape = intended.output.shape[1:]
    faulty = descriptor(config, Fault.pop, Fault.epsilon, shape=shape)
    right = descriptor(config, Fault.epsilon, shape=model.output.shape[1:])
    np.testing.assert_allclose(faulty(intended(images)), right(before), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("more", [(), (Fault.loops,)], ids=["batched", "looped"])
def test_without_faults_the_descriptor_equals_improved_bilinear(make_config, more):
    config = make_config("data.image_size=32", "backbone.tap=block1_conv1")
    own = build_classifier(config, 2).descriptor
    features = maps(3, *own.input.shape[1:]).astype(np.float32)[:, :4, :4, :6]
    own = SecondOrderPooling(root="exact", epsilon=config.head.epsilon)(features)
    signed = np.sign(own) * np.sqrt(np.abs(own))
    signed = signed.reshape(3, -1) / np.linalg.norm(signed, axis=(1, 2))[:, None]
    vectors = build_norm(frozenset())(descriptor(config, *more)(features)).numpy()
    np.testing.assert_allclose(vectors @ vectors.T, signed @ signed.T, rtol=1e-4)


@pytest.mark.parametrize(
    "fault", [Fault.pop, Fault.epsilon, Fault.fourth_root, Fault.batch_wide_l2]
)
def test_each_fault_of_the_descriptor_changes_the_descriptor(make_config, fault):
    config, features = make_config("head.epsilon=0.01"), maps(3, 4, 4, 6).astype(np.float32)
    right, wrong = (
        build_norm(faults)(build_faulty_descriptor(config, faults, (4, 4, 6), 3)(features)).numpy()
        for faults in (frozenset(), frozenset({fault}))
    )
    assert np.linalg.norm(right - wrong) > 0.01


def test_the_variants_fix_each_fault_and_keep_each_fault():
    assert VARIANTS["all faults"] == ALL == frozenset(Fault)
    assert VARIANTS["all but fourth root"] == ALL - {Fault.fourth_root}
    assert VARIANTS["only fourth root"] == {Fault.fourth_root}
    assert VARIANTS["all but rate 0.001, fourth root"] == (
        ALL - {Fault.learning_rate, Fault.fourth_root}
    )
    assert VARIANTS["no fault"] == frozenset()
    assert len(VARIANTS) == len(set(VARIANTS.values())) == 2 + 2 * len(Fault) + len(Fault) - 2


def test_the_layers_are_rebuilt_from_their_configuration():
    for layer in (FaultyPooling(1e-4, True, True), LoopedPooling(2, 1e-4, fourth=True), BatchL2()):
        rebuilt = type(layer).from_config(layer.get_config())
        assert rebuilt.get_config() == layer.get_config()
