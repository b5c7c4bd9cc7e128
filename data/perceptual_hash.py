"""A perceptual hash: images that look alike have hashes that differ in few bits.

The hash of an image holds the signs of its low frequencies, the first coefficients of the discrete
cosine transform of its brightness (Zauner, "Implementation and benchmarking of perceptual image
hash functions", 2010, with 0 in place of the median). A mirrored image has the same coefficients
with those of odd horizontal frequencies negated, so its hash is known without it.
"""

import numpy as np
from scipy.fft import dctn

SIDE = 8  # frequencies in each direction
_HORIZONTAL = np.tile(np.arange(SIDE), SIDE)
MIRRORED = np.packbits(_HORIZONTAL % 2 == 1).view(np.uint64)[0]  # the bits that mirroring flips


def perceptual_hashes(brightness: np.ndarray) -> np.ndarray:
    """Returns the hash of each image.

    Args:
        brightness: of the pixels, in any unit, (n, height, width), at least 8 x 8.

    Returns:
        uint64 of shape (n,). One of the 64 bits is that of the mean; it is 0.
    """
    frequencies = dctn(brightness, axes=(1, 2))[:, :SIDE, :SIDE].reshape(len(brightness), -1)
    frequencies[:, 0] = 0
    return np.packbits(frequencies > 0, axis=1).view(np.uint64)[:, 0]


def distances(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the number of bits in which each hash differs from each other hash, uint8, (n, m)."""
    differing = np.empty(len(others), np.uint64)  # used again: new memory would take longer to get
    bits = np.empty((len(hashes), len(others)), np.uint8)
    for number, each in enumerate(hashes):
        np.bitwise_xor(each, others, out=differing)
        np.bitwise_count(differing, out=bits[number])
    return bits
