"""A classifier as its three parts, and what is put together from them."""

import keras
import numpy as np
import pytest

from models.backbones import weights_digest
from models.classifier import build_classifier, complete, with_probabilities
from models.parts import StageInput

CLASSES = 3
SMALL = ("data.image_size=32", "backbone.tap=block1_conv1")


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def build(make_config):
    return lambda *overrides: build_classifier(make_config(*SMALL, *overrides), CLASSES)


@pytest.fixture(scope="module")
def classifier(build):
    return build("head=improved_bilinear")


@pytest.fixture
def half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_the_parts_fit_together(classifier):
    assert classifier.backbone.output.shape[1:] == classifier.descriptor.input.shape[1:]
    assert classifier.descriptor.output.shape == (None, 2080)
    assert classifier.linear.output.shape == (None, CLASSES)


def test_the_whole_is_its_parts_one_after_the_other(classifier):
    maps = classifier.backbone(images())
    logits = classifier.linear(classifier.descriptor(maps)).numpy()
    np.testing.assert_allclose(classifier.network(StageInput.features)(maps), logits, atol=1e-5)
    np.testing.assert_allclose(classifier.network(StageInput.images)(images()), logits, atol=1e-5)
    np.testing.assert_allclose(complete(classifier)(images()), softmax(logits), atol=1e-5)


def test_probabilities_sum_to_one_and_share_the_weights(classifier):
    model = with_probabilities(classifier.linear)
    vectors = np.random.default_rng(0).normal(size=(5, 2080))
    np.testing.assert_allclose(model(vectors).numpy().sum(axis=1), 1, rtol=1e-5)
    assert {id(weight) for weight in model.weights} == {
        id(weight) for weight in classifier.linear.weights
    }


def test_training_one_part_changes_the_whole(build):
    classifier = build("head=average")
    before = complete(classifier)(images()).numpy()
    layer = classifier.linear.get_layer("classifier")
    layer.set_weights([layer.get_weights()[0], np.array([99.0, 0, 0])])
    after = complete(classifier)(images()).numpy()
    assert (after[:, 0] > before[:, 0]).all() and (after[:, 0] > 0.9).all()


def test_only_the_linear_classifier_is_trained_until_the_backbone_is_unfrozen(build):
    classifier = build("head=average")
    assert len(classifier.network(StageInput.images).trainable_weights) == 2
    classifier.backbone.trainable = True
    assert len(classifier.network(StageInput.images).trainable_weights) == 4


@pytest.mark.parametrize("head", ["average", "improved_bilinear", "isqrt_cov", "compact_bilinear"])
def test_a_saved_classifier_gives_the_same_probabilities(build, tmp_path, head):
    classifier = build(f"head={head}")
    complete(classifier).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(
        loaded.predict(images(), verbose=0), complete(classifier)(images()), atol=1e-5
    )


def test_the_classifier_starts_at_zero_and_behind_an_embedding_at_random(build):
    alone, behind = (
        build("head=average", *options).linear.get_layer("classifier").get_weights()
        for options in ([], ["head.embedding=5"])
    )
    assert not alone[0].any() and not alone[1].any()
    assert behind[0].any() and not behind[1].any()


def test_the_first_weights_depend_on_the_seeds_alone(build):
    first, again, other = (build("head.embedding=5", f"seed={seed}") for seed in (3, 3, 4))
    kernels = [
        built.linear.get_layer("classifier").get_weights()[0] for built in (first, again, other)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).any()
    assert weights_digest(first.backbone) == weights_digest(other.backbone)


def test_dropout_is_between_descriptor_and_classifier_and_in_training_alone(build):
    linear = build("head=average", "head.dropout=0.5").linear
    linear.get_layer("classifier").kernel.assign(np.arange(64 * CLASSES).reshape(64, CLASSES))
    vector = np.ones((1, 64), np.float32)
    np.testing.assert_array_equal(linear(vector), linear(vector, training=False))
    assert (linear(vector, training=True).numpy() != linear(vector).numpy()).any()


def test_only_the_backbone_runs_at_half_precision(build, half_precision):
    classifier = build("head=improved_bilinear")
    assert keras.backend.standardize_dtype(classifier.backbone.output.dtype) == "bfloat16"
    assert keras.backend.standardize_dtype(classifier.descriptor.output.dtype) == "float32"
    assert keras.config.dtype_policy().name == "mixed_bfloat16"  # as it was
    assert (
        keras.backend.standardize_dtype(classifier.network(StageInput.images).output.dtype)
        == "float32"
    )
    probabilities = complete(classifier)(images()).numpy()
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_an_embedding_lies_between_descriptor_and_classifier(build):
    linear = build("head=average", "head.embedding=5").linear
    assert linear.get_layer("embedding").output.shape == (None, 5)
    assert linear.get_layer("classifier").kernel.shape == (5, CLASSES)


def test_stage_2_lets_the_mean_follow_and_stage_1_does_not(make_config):
    parts = build_classifier(make_config(), 3)
    assert not parts.linear.get_layer("standardize").follows
    parts.unfreeze()
    assert parts.linear.get_layer("standardize").follows
