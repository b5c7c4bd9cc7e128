"""A random search for feature maps that break the bounds of docs/layers.md."""

import keras
import numpy as np
import pytest
from layer_references import HAS_FLOAT64, relative_error, value_and_gradient
from spectral_references import reference

from layers import SpectralPooling

LARGEST = 784, 512  # positions and channels
MAPS_PER_SEED = 10
SEEDS = range(200)
QUICK = 1 if keras.backend.backend() == "tensorflow" else 0  # seeds; JAX compiles each shape
SIDES = ("auto", "channels", "positions")
FUNCTIONS = [  # and their methods; half of the maps test the root
    *[("root", None, method) for method in 2 * ("eigh", "eigh", "products")],
    ("power", 0.25, "products"),
    ("power", 0.7, "eigh"),
    ("log", None, "eigh"),
    ("inverse", None, "eigh"),
    ("inverse", None, "products"),
    ("inverse", None, "auto"),
    ("max_exp", 20, "products"),
]
RANGE = 1e-30, 1e37  # of values and gradients that float32 represents with its accuracy


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
def test_no_random_map_breaks_the_bounds(seed):
    rng = np.random.default_rng(seed)
    largest = (96, 96) if seed == 0 else LARGEST
    for _ in range(MAPS_PER_SEED):
        positions, channels = (int(limit ** rng.random()) for limit in largest)
        x = random_map(rng, positions, channels).astype("float32")
        upstream = rng.normal(size=(1, channels, channels)).astype("float32")
        function, exponent, method = FUNCTIONS[rng.integers(len(FUNCTIONS))]
        epsilon = 10 ** rng.uniform(-6, 0) if rng.random() < 0.5 else 1e-5
        side = str(rng.choice(SIDES))
        layer = SpectralPooling(function, exponent, epsilon=epsilon, method=method, side=side)
        value, gradient = value_and_gradient(layer, x, upstream)
        expected, expected_gradient = reference(x, upstream, function, exponent, epsilon)
        few = positions < channels
        case = positions, channels, layer.get_config()
        if RANGE[0] < np.abs(expected).max() < RANGE[1]:
            assert relative_error(value, expected) <= (5e-6 if few else 3e-5), case
        # The gradient of MaxExp is a rounding error if there is one channel or eta is 1.
        least = max(RANGE[0], 1e-6 * np.linalg.norm(expected) / np.linalg.norm(x))
        if least < np.linalg.norm(expected_gradient) < RANGE[1]:
            assert relative_error(gradient, expected_gradient) <= (1e-4 if few else 2e-4), case
