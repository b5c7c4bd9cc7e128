"""A random search for feature maps that break the bounds of docs/layers.md."""

import keras
import numpy as np
import pytest
from layer_references import HAS_FLOAT64, relative_error, root, value_and_gradient

from layers import SecondOrderPooling

LARGEST = 784, 512  # positions and channels
MAPS_PER_SEED = 10
SEEDS = range(200)
QUICK = 1 if keras.backend.backend() == "tensorflow" else 0  # seeds; JAX compiles each shape
SIDES = ("auto", "channels", "positions")


def random_map(rng, positions, channels):
    """Return a map of any rank, channel scales and means, with or without an outlying position."""
    kind = rng.integers(4)
    x = rng.normal(size=(1, positions, channels))
    if kind == 0 and (x > 0).any():
        x = np.maximum(x, 0)
    elif kind == 1:
        rank = rng.integers(1, min(positions, channels) + 1)
        x = rng.normal(size=(1, positions, rank)) @ rng.normal(size=(1, rank, channels))
    elif kind == 2:
        rotation = np.linalg.qr(rng.normal(size=(channels, channels)))[0]
        x = x @ (np.exp(rng.uniform(0, 3) * rng.normal(size=(channels, 1))) * rotation)
    if rng.random() < 0.4:
        x[:, rng.integers(positions)] *= 10 ** rng.uniform(0, 3)
    if rng.random() < 0.4:
        x = x + 10 ** rng.uniform(-1, 2) * x.std() * rng.normal(size=(1, 1, channels))
    if rng.random() < 0.3:
        x = x * np.exp(rng.uniform(0, 3) * rng.normal(size=(1, 1, channels)))
    return x / np.abs(x).max() * 10 ** rng.uniform(-15, 15)


@pytest.mark.skipif(not HAS_FLOAT64, reason="float32 is not accurate enough")
@pytest.mark.parametrize(
    "seed",
    [pytest.param(seed, marks=[pytest.mark.slow] * (seed >= QUICK)) for seed in SEEDS],
)
def test_no_random_map_breaks_the_bounds_of_the_root(seed):
    rng = np.random.default_rng(seed)
    largest = (96, 96) if seed == 0 else LARGEST
    for _ in range(MAPS_PER_SEED):
        positions, channels = (int(limit ** rng.random()) for limit in largest)
        x = random_map(rng, positions, channels).astype("float32")
        upstream = rng.normal(size=(1, channels, channels)).astype("float32")
        layer = SecondOrderPooling(root="exact", side=str(rng.choice(SIDES)))
        value, gradient = value_and_gradient(layer, x, upstream)
        expected, expected_gradient = root(x, upstream, layer.epsilon)
        few = positions < channels
        case = positions, channels, layer.side
        assert relative_error(value, expected) <= (5e-6 if few else 3e-5), case
        assert relative_error(gradient, expected_gradient) <= (1e-4 if few else 2e-4), case
