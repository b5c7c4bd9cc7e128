"""Loose arguments are refused when the layer is created, with the name of the argument."""

import numpy as np
import pytest

from layers import CompactBilinearPooling, MatrixSquareRoot, SecondOrderPooling, SignedSquareRoot

NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "layer, name, values",
    [
        (SecondOrderPooling, "epsilon", [NAN, INFINITY, 1e39, 10**400, -1e-5, "1e-5", None, True]),
        (SecondOrderPooling, "iterations", [5.0, True, "5", 0, NAN, None]),
        (SecondOrderPooling, "off_diagonal", [NAN, INFINITY, 0, -1.0, "2", None]),
        (SecondOrderPooling, "centered", ["false", None, 2, NAN]),
        (SecondOrderPooling, "triangular", ["true", None, 0.5]),
        (MatrixSquareRoot, "epsilon", [NAN, INFINITY, -1, "0"]),
        (MatrixSquareRoot, "iterations", [5.0, False, "5", -1]),
        (SignedSquareRoot, "epsilon", [NAN, INFINITY, 0, "1e-8", None]),
        (SignedSquareRoot, "normalize", ["no", None, -1]),
        (CompactBilinearPooling, "output_dim", [2.5, 8.0, True, "8", 0, NAN, None]),
        (CompactBilinearPooling, "seed", [1.5, "0", -1, 2**32, True, NAN]),
    ],
)
def test_a_loose_argument_is_refused(layer, name, values):
    required = {"output_dim": 8} if layer is CompactBilinearPooling else {}
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}` must be .*Received: "):
            layer(**required | {name: value})


def test_numbers_of_numpy_are_accepted():
    SecondOrderPooling(iterations=np.int64(3), epsilon=np.float32(1e-4), centered=np.True_)
    CompactBilinearPooling(np.int32(8), seed=np.uint32(2**32 - 1))
