"""Contributions of positions: they sum to the score, and are exact for bilinear pooling."""

import dataclasses

import keras
import numpy as np
import pytest

from conf.schema import CompactMethod
from models.embedding import build_embedding
from models.heads import build_descriptor
from reporting.evidence import contributions, degree

HEADS = ["average", "bilinear", "improved_bilinear", "mpn_cov", "isqrt_cov", "compact_bilinear"]
CLASSES, OTHERS = np.array([0, 2, 1]), np.array([1, 0, 2])


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(0).uniform(0.1, 2, (3, 4, 5, 6)).astype(np.float32)


def linear_of(size: int, config) -> keras.Model:
    """A model of standardisation, embedding and classifier with arbitrary weights."""
    random = np.random.default_rng(1)
    embedding = build_embedding(dataclasses.replace(config, embedding=7), (size,), 0)
    standardize = embedding.get_layer("standardize")
    standardize.adapt_mean.assign(0.1 * random.normal(size=size))
    standardize.adapt_variance.assign(np.full(size, 0.25))
    standardize.finalize_state()
    logits = keras.layers.Dense(3, bias_initializer="ones")(embedding.output)
    return keras.Model(embedding.input, logits)


def margin(linear: keras.Model, descriptors) -> np.ndarray:
    logits = np.asarray(linear(descriptors), np.float64)
    return (
        np.take_along_axis(logits, CLASSES[:, None], 1)[:, 0]
        - np.take_along_axis(logits, OTHERS[:, None], 1)[:, 0]
    )


@pytest.mark.parametrize("l2", [True, False])
@pytest.mark.parametrize("name", HEADS)
def test_the_contributions_of_all_positions_sum_to_the_score(make_config, maps, name, l2):
    config = make_config(f"head={name}", f"head.l2={l2}", "head.output_dim=40").head
    descriptor = build_descriptor(config, maps.shape[1:], seed=3)
    z = np.asarray(descriptor(maps))
    linear = linear_of(z.shape[1], config)
    parts = contributions(config, 3, linear, maps, np.stack([CLASSES, OTHERS], axis=1))
    assert parts.shape == (3, 4, 5)
    wanted = margin(linear, z) - margin(linear, np.zeros_like(z))  # without the bias
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), wanted, rtol=2e-3, atol=2e-3)


def test_a_contribution_to_bilinear_pooling_is_a_quadratic_form_of_its_position(make_config, maps):
    config = make_config("head=bilinear", "head.signed_root=false", "head.l2=false").head
    linear = linear_of(21, config)
    parts = contributions(config, 0, linear, maps, np.stack([CLASSES, OTHERS], axis=1))

    def exact(image: int, x: np.ndarray) -> float:
        """x'Wx: the score of the matrix xx' minus the score of a zero matrix."""
        outer = build_descriptor(config, (1, 1, 6), 0)(x[None, None, None])
        logits = np.asarray(linear(outer) - linear(np.zeros((1, 21), np.float32)))[0]
        return logits[CLASSES[image]] - logits[OTHERS[image]]

    wanted = [[[exact(i, x) for x in line] for line in maps[i]] for i in range(3)]
    np.testing.assert_allclose(parts, np.array(wanted) / 20, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", list(CompactMethod))
def test_the_degree_describes_how_the_descriptor_scales(make_config, maps, method):
    for name in HEADS:
        config = make_config(f"head={name}", f"head.method={method.value}", "head.l2=false").head
        descriptor = build_descriptor(config, maps.shape[1:], 0)
        once, twice = np.asarray(descriptor(maps)), np.asarray(descriptor(2 * maps))
        np.testing.assert_allclose(twice, 2 ** degree(config) * once, rtol=1e-3, atol=1e-4)
