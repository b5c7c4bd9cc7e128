"""Second derivatives of the losses, and their accuracy in float64."""

import keras
import numpy as np
import pytest
from layer_references import HAS_FLOAT64, assert_second_derivative_is_right, value_and_gradient

from losses import CenterLoss, CompactnessLoss, TripletHardLoss, TripletSemiHardLoss
from losses.pairwise import METRICS

pytestmark = pytest.mark.skipif(not HAS_FLOAT64, reason="this backend computes in float32")
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])


def triplet_losses():
    for metric in METRICS:
        options = {"distance_metric": metric, "reduction": None}
        yield f"hard {metric}", TripletHardLoss(**options)
        yield f"soft {metric}", TripletHardLoss(soft=True, **options)
        yield f"semi-hard {metric}", TripletSemiHardLoss(**options)


LOSSES = dict(triplet_losses()) | {"compactness": CompactnessLoss(reduction=None)}


def embeddings(seed=0):
    return np.random.default_rng(seed).normal(size=(8, 5))


def in_float64(name):
    """Return a loss as a function of the embeddings. `Loss.__call__` would cast them to float32."""
    labels = keras.ops.convert_to_tensor(LABELS)
    if name == "center":
        center_loss = CenterLoss(3, dtype="float64")
        return lambda x: center_loss(x, labels)
    return lambda x: LOSSES[name].call(labels, x)


@pytest.mark.parametrize("name", [*LOSSES, "center"])
def test_the_second_derivative_is_right(name):
    assert_second_derivative_is_right(in_float64(name), embeddings())


@pytest.mark.parametrize("name", [*LOSSES, "center"])
def test_float64_is_computed_in_float64(name):
    """A loss that rounds to float32 does not see a change of 1e-10."""
    loss, x, step = in_float64(name), embeddings(), 1e-10 * embeddings(1)
    upstream = np.ones(8)
    ahead, behind = (value_and_gradient(loss, x + s * step, upstream)[0] for s in (1, -1))
    _, gradient = value_and_gradient(loss, x, upstream)
    change = np.sum(ahead - behind) / 2
    np.testing.assert_allclose(change, np.sum(gradient * step), rtol=1e-3, atol=1e-14)
