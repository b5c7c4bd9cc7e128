"""Keras layers for second-order pooling, on any Keras backend."""

from .attentive_pooling import AttentivePooling
from .bilinear_pooling import BilinearPooling
from .compact_bilinear_pooling import CompactBilinearPooling
from .cross_covariance_pooling import CrossCovariancePooling
from .matrix_square_root import MatrixSquareRoot
from .second_order_pooling import SecondOrderPooling
from .signed_square_root import SignedSquareRoot
from .spectral_pooling import SpectralPooling
from .triangular_vectorization import TriangularVectorization

__all__ = [
    "AttentivePooling",
    "BilinearPooling",
    "CompactBilinearPooling",
    "CrossCovariancePooling",
    "MatrixSquareRoot",
    "SecondOrderPooling",
    "SignedSquareRoot",
    "SpectralPooling",
    "TriangularVectorization",
]
