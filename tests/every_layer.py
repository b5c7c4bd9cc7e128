"""Every layer in all of its configurations, with an input and the axis of its batch first."""

import itertools

import numpy as np

from layers import (
    AttentivePooling,
    BilinearPooling,
    CompactBilinearPooling,
    CrossCovariancePooling,
    MatrixSquareRoot,
    SecondOrderPooling,
    SignedSquareRoot,
    SpectralPooling,
    TriangularVectorization,
)

WIDE, TALL = (2, 4, 6), (2, 9, 5)
MATRICES = (2, 5, 5)


def _poolings():
    for root, side, triangular, centered, shape in itertools.product(
        (None, "exact", "newton_schulz"),
        ("channels", "positions"),
        (False, True),
        (False, True),
        (WIDE, TALL),
    ):
        options = {"root": root, "side": side, "triangular": triangular, "centered": centered}
        name = f"{root} {side} {'folded' if triangular else 'full'} {centered} {shape[1:]}"
        yield name, (SecondOrderPooling, options, shape)


# Name: class, arguments, shape of the input.
POOLINGS = dict(_poolings())
OTHERS = {
    "exact root": (MatrixSquareRoot, {}, MATRICES),
    "iterated root": (MatrixSquareRoot, {"method": "newton_schulz"}, MATRICES),
    "signed root": (SignedSquareRoot, {}, WIDE),
    "normalised signed root": (SignedSquareRoot, {"normalize": True}, WIDE),
    "triangle": (TriangularVectorization, {}, MATRICES),
    "tensor sketch": (CompactBilinearPooling, {"output_dim": 7, "seed": 0}, WIDE),
    "random maclaurin": (
        CompactBilinearPooling,
        {"output_dim": 7, "method": "random_maclaurin", "seed": 0},
        WIDE,
    ),
}
TRAINED = {
    "attention": (AttentivePooling, {"queries": 2, "seed": 0}, WIDE),
    "cross-covariance": (CrossCovariancePooling, {"channels": 28, "groups": 2, "seed": 0}, WIDE),
}
ONE_INPUT = POOLINGS | OTHERS
# One configuration of each class, for slow checks.
EACH_CLASS = {
    "second moment": (SecondOrderPooling, {"triangular": True}, WIDE),
    "pooled exact root": (SecondOrderPooling, {"root": "exact", "centered": True}, WIDE),
    "pooled iterated root": (SecondOrderPooling, {"root": "newton_schulz"}, TALL),
    "pooled logarithm": (SpectralPooling, {"function": "log", "augmented": True}, WIDE),
    "pooled power": (SpectralPooling, {"function": "power", "exponent": 0.3}, TALL),
    **OTHERS,
}


def pair(dtype=None):
    """Return a `BilinearPooling` of x and x squared, as a function of x."""
    layer = BilinearPooling(dtype=dtype)
    return lambda x: layer([x, x * x])


def example(shape, seed=0):
    """Return an input of this shape in float64; square ones are positive definite."""
    rng = np.random.default_rng(seed)
    if shape == MATRICES:
        x = rng.normal(size=(shape[0], 8, shape[2]))
        return np.swapaxes(x, 1, 2) @ x
    return rng.normal(size=shape)
