"""Near-duplicates: images that show the same photograph, though their files differ.

Such a copy may be mirrored, recompressed, scaled, brighter, or cropped by up to an eighth of each
side. Two steps find it. The perceptual hashes of each image and of its crops propose pairs. Then
both images are aligned, and the correlation of their details confirms or refuses a pair.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.fft import dct

from data.perceptual_hash import MIRRORED, distances, perceptual_hashes
from data.progress import progress

THUMBNAIL = 32  # pixels, the side of the images that are compared
CROPS = (0.0, 0.05, 0.1)  # of each side; a pair is proposed by the one that fits best
BITS = 12  # in which the hashes of a proposed pair differ at most, of 63
PROPOSALS = 20  # of each image, the nearest ones: bounds the time for images that all look alike
CONFIRMED = 0.8  # least correlation of near-duplicates; that of other photographs is below 0.7
PLAUSIBLE = 0.3  # least correlation before the alignment

_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue (ITU-R BT.601)
_GRID = 24  # samples in each direction that are correlated
_MARGIN = 0.06  # around these samples, so that a shifted grid stays within the image
_SCALES = (-0.025, 0.0, 0.025)  # added to the crop to align two images
_SHIFTS = (-0.02, 0.0, 0.02)  # of the width or height
_SHARED = 4  # lowest frequencies in each direction: different scenes often share them
_FAINT = 2.0  # standard deviation of details, in grey levels, below which they may be noise
_BLOCK = 16  # images that are compared with all others at a time
_UPRIGHT = np.uint64(0)
_PAIRS = 512  # that are aligned at a time

Proposals = tuple[np.ndarray, np.ndarray, np.ndarray]  # first and second image, and variant


def thumbnail(image: Image.Image) -> np.ndarray:
    """Scales an image to a square, and returns it as uint8 of shape (3, THUMBNAIL, THUMBNAIL)."""
    size = (THUMBNAIL, THUMBNAIL)
    scaled = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(scaled).transpose(2, 0, 1)


def near_duplicates(thumbnails: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compares all images with each other.

    The time grows with the square of the number of images: for 100,000, 400 seconds of one core.
    Images without details, such as those of one colour, have no near-duplicates.

    Args:
        thumbnails: uint8 of shape (n, 3, THUMBNAIL, THUMBNAIL), see `thumbnail`.

    Returns:
        The pairs, int64 of shape (m, 2), each with the smaller position first, and their
        correlations, (m,), from `CONFIRMED` to 1. The best pair is the first one.
    """
    best: dict[tuple[int, int], float] = {}
    if len(thumbnails) < 2:
        return np.empty((0, 2), np.int64), np.empty(0)
    for firsts, seconds, variants in _proposals(thumbnails):
        for start in range(0, len(firsts), _PAIRS):
            block = slice(start, start + _PAIRS)
            proposed = firsts[block], seconds[block], variants[block]
            for pair, score in _confirmed(thumbnails, proposed):
                best[pair] = max(best.get(pair, 0.0), score)
    ordered = sorted(best, key=lambda pair: (-best[pair], pair))
    scores = np.array([best[pair] for pair in ordered])
    return np.array(ordered, np.int64).reshape(-1, 2), scores


def _proposals(thumbnails: np.ndarray) -> Iterator[Proposals]:
    """Yields pairs whose hashes are near.

    Variant 2 c + m of a pair means that the first image, cropped by `CROPS[c]`, and mirrored if m
    is 1, resembles the second one.
    """
    hashes = np.stack([_hashes(thumbnails, crop) for crop in CROPS])

    def propose(start: int) -> Proposals:
        stop = min(start + _BLOCK, len(thumbnails))
        near = []  # of each variant: the pair's number, its bits, and the variant
        for variant in range(2 * len(CROPS)):
            queries = hashes[variant // 2, start:stop] ^ (MIRRORED if variant % 2 else _UPRIGHT)
            bits = distances(queries, hashes[0])
            bits[np.arange(stop - start), np.arange(start, stop)] = 64  # the image itself
            pairs = _nearest(bits)
            near.append((pairs, bits.ravel()[pairs], np.full(len(pairs), variant, np.uint8)))
        pairs, bits, variants = map(np.concatenate, zip(*near, strict=True))
        order = np.lexsort((bits, pairs))
        order = order[np.unique(pairs[order], return_index=True)[1]]  # the best variant of each
        order = order[np.lexsort((bits[order], pairs[order] // len(thumbnails)))]
        firsts, seconds = np.divmod(pairs[order], len(thumbnails))
        kept = np.arange(len(firsts)) - np.searchsorted(firsts, firsts) < PROPOSALS
        return start + firsts[kept], seconds[kept], variants[order][kept]

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress(len(thumbnails), "comparing images", delay=2) as bar,
    ):
        for proposed in pool.map(propose, range(0, len(thumbnails), _BLOCK)):
            yield proposed
            bar.update(min(_BLOCK, len(thumbnails) - bar.n))


def _nearest(bits: np.ndarray) -> np.ndarray:
    """The flat positions of the `PROPOSALS` smallest values up to `BITS` of each line.

    Ties keep the first positions.
    """
    near = np.flatnonzero(bits <= BITS)
    if len(near) <= PROPOSALS:
        return near
    lines = np.split(near, np.searchsorted(near, np.arange(1, len(bits)) * bits.shape[1]))
    values = bits.ravel()
    return np.concatenate(
        [
            line[np.argsort(values[line], kind="stable")[:PROPOSALS]]
            if len(line) > PROPOSALS
            else line
            for line in lines
        ]
    )


def _hashes(thumbnails: np.ndarray, crop: float) -> np.ndarray:
    """The hashes of the images without `crop` of each side."""
    weights = _weights(crop, 0.0, THUMBNAIL)
    blocks = [
        perceptual_hashes(
            _resampled(np.einsum("c,ncyx->nyx", _BRIGHTNESS, block), weights, weights)
        )
        for block in np.array_split(thumbnails, 1 + len(thumbnails) // 4096)
    ]
    return np.concatenate(blocks)


def _confirmed(
    thumbnails: np.ndarray, proposed: Proposals
) -> Iterator[tuple[tuple[int, int], float]]:
    """Yields the proposed pairs whose details correlate, with their correlations."""
    firsts, seconds, variants = proposed
    crops = np.array(CROPS)[variants // 2]
    for crop in np.unique(crops):
        chosen = crops == crop
        images, others = thumbnails[firsts[chosen]], thumbnails[seconds[chosen]]
        mirrored = variants[chosen] % 2 == 1
        images[mirrored] = images[mirrored][..., ::-1]
        pairs = np.stack([firsts[chosen], seconds[chosen]], 1)
        wanted = _details(others, 0.0)
        plausible = _correlation(_details(images, crop), wanted) > PLAUSIBLE
        images, wanted, pairs = images[plausible], wanted[plausible], pairs[plausible]
        scores = np.zeros(len(pairs))
        for scale in _SCALES:
            for down in _SHIFTS:
                for across in _SHIFTS:
                    details = _details(images, crop + scale, down, across)
                    scores = np.maximum(scores, _correlation(details, wanted))
        for (first, second), score in zip(pairs.tolist(), scores.tolist(), strict=True):
            if score >= CONFIRMED:
                yield (min(first, second), max(first, second)), score


def _details(images: np.ndarray, crop: float, down: float = 0.0, across: float = 0.0) -> np.ndarray:
    """Samples images within a crop, without their lowest frequencies, (n, samples), unit norm."""
    inner = crop + _MARGIN * (1 - 2 * crop)
    vertical, horizontal = _weights(inner, down, _GRID), _weights(inner, across, _GRID)
    samples = _resampled(images.astype(np.float32), vertical, horizontal)
    samples -= _resampled(samples, _LOW, _LOW)
    samples = samples.reshape(len(images), 3 * _GRID**2)
    norms = np.linalg.norm(samples, axis=1, keepdims=True)
    return samples / np.maximum(norms, _FAINT * samples.shape[1] ** 0.5)


def _correlation(details: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", details, others)


def _weights(crop: float, shift: float, count: int) -> np.ndarray:
    """Interpolates linearly between pixels, float32 of shape (count, THUMBNAIL).

    The samples are evenly spaced between `crop` and `1 - crop`, plus `shift`.
    """
    places = crop + shift + (1 - 2 * crop) * (np.arange(count) + 0.5) / count
    places = np.clip(places * THUMBNAIL - 0.5, 0, THUMBNAIL - 1)
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(THUMBNAIL))).astype(np.float32)


def _resampled(images: np.ndarray, vertical: np.ndarray, horizontal: np.ndarray) -> np.ndarray:
    # Two large matrix products take a tenth of the time of many small ones.
    narrower = np.tensordot(images, horizontal, (-1, 1))
    return np.tensordot(narrower, vertical, (-2, 1)).swapaxes(-1, -2)


_BASIS = dct(np.eye(_GRID), axis=0, norm="ortho")[:_SHARED].astype(np.float32)
_LOW = _BASIS.T @ _BASIS  # keeps the lowest frequencies of a line of samples
