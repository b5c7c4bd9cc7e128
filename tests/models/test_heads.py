"""Descriptors of feature maps: each head against the formula of its paper, in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema import HeadConfig
from errors import UserError
from models.heads import build_descriptor

HEADS = (
    "average", "bilinear", "improved_bilinear", "mpn_cov", "isqrt_cov", "compact_bilinear",
    "log_euclidean", "power", "precision", "max_exp", "gaussian",
)  # fmt: skip
COVARIANCES = {"mpn_cov", "isqrt_cov", "log_euclidean", "power", "precision"}
SEED = 7
FEW_POSITIONS, MANY_POSITIONS = (2, 2, 6), (3, 4, 6)
EPSILON = 1e-5  # the default of conf/schema.py, relative to the trace


def maps(shape=MANY_POSITIONS, batch: int = 3) -> np.ndarray:
    """Non-negative feature maps, each image at another scale."""
    random = np.random.default_rng(0).normal(0.5, 1, (batch, *shape))
    scale = 10.0 ** np.arange(batch)[:, None, None, None]
    return np.maximum(random * scale, 0).astype(np.float32)


# The references, for the N x C features of one image in float64


def moment(x: np.ndarray, centred: bool = False) -> np.ndarray:
    x = x - x.mean(axis=0) if centred else x
    return x.T @ x / len(x)


def spectral(a: np.ndarray, function, epsilon: float = EPSILON) -> np.ndarray:
    values, vectors = np.linalg.eigh(a + epsilon * np.trace(a) * np.eye(len(a)))
    return vectors @ np.diag(function(values)) @ vectors.T


def exact_root(a: np.ndarray) -> np.ndarray:
    return spectral(a, np.sqrt)


def max_exp(a: np.ndarray, eta: int) -> np.ndarray:
    identity = np.eye(len(a))
    return identity - np.linalg.matrix_power(identity - a / np.trace(a), eta)


def gaussian(x: np.ndarray) -> np.ndarray:
    """Wang et al. 2017, with a channel of zeros, because one triangle has an even size."""
    root = exact_root(moment(np.column_stack([x, np.ones(len(x))])))
    return np.pad(root, (0, len(root) % 2))


def newton_schulz_root(a: np.ndarray, iterations: int) -> np.ndarray:
    """Li et al. 2018: equations 4 (pre-normalisation), 5 (iteration), 6 (compensation)."""
    identity = np.eye(len(a))
    y, z = a / np.trace(a), identity
    for _ in range(iterations):
        step = (3 * identity - z @ y) / 2
        y, z = y @ step, step @ z
    return np.sqrt(np.trace(a)) * y


def triangle(a: np.ndarray) -> np.ndarray:
    """One triangle in the order of layers/folded_triangle.py, weighted by sqrt(2)."""
    half = len(a) // 2
    weighted = a * np.where(np.eye(len(a)), 1, np.sqrt(2))
    upper, lower = weighted[:half, :half], weighted[half:, half:]
    shared = np.where(np.triu(np.ones((half, half))), upper, lower)
    return np.concatenate([weighted[:half, half:].ravel(), shared.ravel(), np.diag(lower)])


def signed_root(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def tensor_sketch(a: np.ndarray, size: int) -> np.ndarray:
    """Gao et al. 2016: the convolution of two count sketches as a sum over all pairs."""
    random = np.random.RandomState(SEED)
    bins, signs = [], []
    for _ in range(2):
        bins.append(random.randint(size, size=len(a)))
        signs.append(random.choice([-1.0, 1.0], size=len(a)))
    sketch = np.zeros(size)
    indices = (bins[0][:, None] + bins[1]) % size
    np.add.at(sketch, indices, signs[0][:, None] * signs[1] * a)
    return sketch


REFERENCES = {
    "average": lambda x: x.mean(axis=0),
    "bilinear": lambda x: triangle(signed_root(moment(x))),
    "improved_bilinear": lambda x: triangle(signed_root(exact_root(moment(x)))),
    "mpn_cov": lambda x: triangle(exact_root(moment(x, centred=True))),
    "isqrt_cov": lambda x: triangle(newton_schulz_root(moment(x, centred=True), 5)),
    "log_euclidean": lambda x: triangle(spectral(moment(x, centred=True), np.log)),
    "power": lambda x: triangle(spectral(moment(x, centred=True), lambda v: v**0.25)),
    "precision": lambda x: triangle(spectral(moment(x, centred=True), np.reciprocal, 1e-3)),
    "max_exp": lambda x: triangle(max_exp(moment(x), 20)),
    "gaussian": lambda x: triangle(gaussian(x)),
    "compact_bilinear": lambda x: signed_root(tensor_sketch(moment(x), 8192)),
}


def reference(head: str, features: np.ndarray) -> np.ndarray:
    """The descriptor of each image, with unit norm."""
    positions = features.astype(np.float64).reshape(len(features), -1, features.shape[-1])
    vectors = np.array([REFERENCES[head](x) for x in positions])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def describe(config: HeadConfig, features: np.ndarray) -> np.ndarray:
    descriptor = build_descriptor(config, features.shape[1:], SEED)
    return descriptor(features, training=False).numpy()


@pytest.fixture(scope="module")
def head_config(make_config):
    return lambda head, *overrides: make_config(f"head={head}", *overrides).head


# The named heads


@pytest.mark.parametrize("shape", [FEW_POSITIONS, MANY_POSITIONS])
@pytest.mark.parametrize("head", HEADS)
def test_a_named_head_follows_the_formula_of_its_paper(head, shape, head_config):
    features = maps(shape)
    actual = describe(head_config(head), features)
    np.testing.assert_allclose(actual, reference(head, features), atol=2e-4)


@pytest.mark.parametrize("head", HEADS)
def test_descriptors_do_not_depend_on_the_other_images_of_the_batch(head, head_config):
    features = maps()
    config = head_config(head)
    descriptor = build_descriptor(config, features.shape[1:], SEED)
    batched = descriptor(features).numpy()
    single = np.concatenate([descriptor(features[i : i + 1]).numpy() for i in range(3)])
    np.testing.assert_allclose(batched, single, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_a_zero_feature_map_has_a_finite_descriptor(head, head_config):
    assert np.isfinite(describe(head_config(head), np.zeros((2, *MANY_POSITIONS)))).all()


@pytest.mark.parametrize("head", HEADS)
def test_the_named_heads_have_no_trainable_weights(head, head_config):
    assert build_descriptor(head_config(head), MANY_POSITIONS, SEED).trainable_weights == []


@settings(max_examples=10)
@given(
    head=st.sampled_from(HEADS),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    channels=st.integers(1, 9),
)
def test_descriptors_have_unit_norm(head_config, head, height, width, channels):
    features = np.random.default_rng(0).uniform(1, 2, (2, height, width, channels))
    if height * width == 1 and head in COVARIANCES:
        return  # the covariance of one position is zero
    actual = describe(head_config(head), features.astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(actual, axis=1), 1, atol=1e-4)


# Tokens and probes


def tokens(side: int = 3, channels: int = 6) -> np.ndarray:
    """A class token and patch tokens."""
    return maps((side, side, channels)).reshape(3, side * side, channels)[:, [0, *range(9)]]


@pytest.mark.parametrize("head", HEADS)
def test_of_tokens_a_head_pools_the_patches(head, head_config):
    features = tokens()
    patches = features[:, 1:].reshape(3, 3, 3, 6)
    expected = describe(head_config(head), patches)
    np.testing.assert_allclose(describe(head_config(head), features), expected, atol=1e-6)
    features[:, 0] = 100.0  # the class token
    np.testing.assert_allclose(describe(head_config(head), features), expected, atol=1e-6)


def test_average_tokens_is_the_mean_of_the_patches(head_config):
    features = tokens()
    mean = features[:, 1:].mean(axis=1)
    expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(describe(head_config("average_tokens"), features), expected, 1e-4)


def test_class_token_reads_no_patch(head_config):
    features = tokens()
    expected = features[:, 0] / np.linalg.norm(features[:, 0], axis=1, keepdims=True)
    np.testing.assert_allclose(describe(head_config("class_token"), features), expected, 1e-4)


def test_a_map_without_class_token_is_refused_in_one_line(head_config):
    with pytest.raises(UserError, match="the backbone has no class token; use head=average_tokens"):
        build_descriptor(head_config("class_token"), (3, 3, 6), SEED)


@pytest.mark.parametrize("with_class_token", [True, False])
def test_moment_probing_joins_both_moments(with_class_token, head_config):
    """A linear layer of the joined halves gives the mean of the logits of the moments."""
    options = ("optimizer=adamw", "head.projection=28", "head.groups=2")
    config = head_config("moment_probing", *options)
    features = tokens() if with_class_token else maps((3, 3, 6))
    patches = features[:, 1:].reshape(3, 3, 3, 6) if with_class_token else features
    first = features[:, 0] if with_class_token else patches.mean(axis=(1, 2))
    descriptor = build_descriptor(config, features.shape[1:], SEED)
    second = descriptor.get_layer("cross_covariance")(patches).numpy()
    expected = np.concatenate([first, second], axis=1) / 2
    np.testing.assert_allclose(descriptor(features).numpy(), expected, rtol=1e-4, atol=1e-5)
    assert len(descriptor.trainable_weights) == 6


def test_attentive_pooling_reads_the_patches(head_config):
    config = head_config("attentive", "optimizer=adamw", "head.queries=2")
    features = tokens()
    descriptor = build_descriptor(config, features.shape[1:], SEED)
    expected = descriptor.get_layer("attentive")(features[:, 1:]).numpy()
    np.testing.assert_allclose(descriptor(features).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("attentive", "head.queries=4"),
            "head.queries=4: must divide the number of channels, 6; try head.queries=3",
        ),
        (("moment_probing", "head.projection=30"), "head.projection=30: must be a multiple of"),
        (("moment_probing", "head.projection=24"), "with at least 7 channels in a group"),
    ],
)
def test_sizes_that_do_not_divide_are_one_line(overrides, message, head_config):
    with pytest.raises(UserError, match=message):
        build_descriptor(head_config(*overrides, "optimizer=adamw"), (3, 3, 6), SEED)


def test_the_epsilon_of_the_signed_root_bounds_its_slope(head_config):
    config = head_config("improved_bilinear", "head.signed_root_epsilon=0.01")
    descriptor = build_descriptor(config, (3, 3, 6), SEED)
    assert descriptor.get_layer("signed_root").epsilon == 0.01


def test_a_reduction_of_tokens_leaves_the_class_token_out(head_config):
    config = head_config("mpn_cov", "head.reduction=4")
    descriptor = build_descriptor(config, (10, 6), SEED)
    assert descriptor.output.shape == (None, 4 * 5 // 2)
    assert descriptor.get_layer("reduction").input.shape == (None, 3, 3, 6)


# Single options


def test_without_l2_the_descriptor_keeps_the_scale_of_the_features(head_config):
    config = head_config("bilinear", "head.l2=false", "head.signed_root=false")
    expected = [triangle(moment(x.astype(np.float64))) for x in maps().reshape(3, 12, 6)]
    np.testing.assert_allclose(describe(config, maps()), expected, rtol=1e-5)


def test_epsilon_is_relative_to_the_trace(head_config):
    config = head_config("improved_bilinear", "head.l2=false", "head.signed_root=false")
    features = maps(FEW_POSITIONS)
    np.testing.assert_allclose(
        describe(config, 100 * features), 100 * describe(config, features), rtol=2e-4, atol=1e-4
    )


def test_more_iterations_approach_the_exact_root(head_config):
    features = maps()[:1]
    exact = describe(head_config("mpn_cov", "head.epsilon=0"), features)
    errors = [
        np.linalg.norm(
            describe(head_config("isqrt_cov", f"head.iterations={count}"), features) - exact
        )
        for count in (1, 5, 15)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_compact_pooling_has_the_configured_size_and_a_projection_of_its_seed(head_config):
    config = head_config("compact_bilinear", "head.output_dim=64")
    first, same, other = (
        build_descriptor(config, MANY_POSITIONS, seed)(maps()).numpy() for seed in (0, 0, 1)
    )
    assert first.shape == (3, 64)
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 0.1


def test_the_reduction_is_a_trainable_convolution_before_pooling(head_config):
    config = head_config("bilinear", "head.reduction=4", "head.l2=false", "head.signed_root=false")
    descriptor = build_descriptor(config, MANY_POSITIONS, SEED)
    assert {tuple(weight.shape) for weight in descriptor.trainable_weights} == {(1, 1, 6, 4), (4,)}
    kernel = descriptor.get_layer("reduction").get_weights()[0][0, 0]
    # With its initial statistics, batch norm divides by sqrt(1 + 1e-3).
    reduced = np.maximum(maps().reshape(3, 12, 6) @ kernel / np.sqrt(1.001), 0)
    expected = [triangle(moment(x.astype(np.float64))) for x in reduced]
    actual = descriptor(maps(), training=False).numpy()
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_the_initial_weights_of_the_reduction_depend_only_on_the_seed(head_config):
    config = head_config("isqrt_cov", "head.reduction=4")
    first, same, other = (
        build_descriptor(config, MANY_POSITIONS, seed).get_weights()[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


# Mistakes
