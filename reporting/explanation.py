"""The plot that explains a prediction: image, evidence, and the nearest training images."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from reporting.evidence import overlay
from reporting.image_grid import GAP, TITLE_SIZE, Tile, draw_image_grid
from reporting.rendering import shorten

SIDE = 180  # pixels of an image


@dataclasses.dataclass(frozen=True)
class Neighbour:
    """A training image that is near to an image.

    Attributes:
        index: of the training image in its data set.
        name: of the training image.
        label: the name of its class.
        similarity: the cosine similarity of both, -1...1.
    """

    index: int
    name: str
    label: str
    similarity: float


def draw_explanation(
    title: str,
    name: str,
    image: np.ndarray,
    best: Sequence[tuple[str, float]],
    evidence: np.ndarray | None,
    nearest: Sequence[tuple[Neighbour, np.ndarray]],
) -> np.ndarray:
    """Draws an image beside its evidence and its nearest training images, in one line.

    Neighbours of the predicted class have a green frame, others a red one.

    Args:
        title: text above the images.
        name: of the image.
        image: as the network sees it, uint8 of shape (side, side, 3).
        best: the most probable classes and their probabilities; empty for an embedding.
        evidence: for the first of them and against the second, of shape (H, W); see
            `evidence.contributions`. `None`: there is none.
        nearest: the neighbours, and how the network sees them.

    Returns:
        uint8 of shape (height, width, 3).
    """
    predicted = f"predicted ({best[0][1]:.1%})\n{best[0][0]}" if best else ""
    tiles = [Tile(image, f"{name}\n{predicted}")]
    if evidence is not None:
        second, probability = best[1]
        caption = f"red: for the prediction\nblue: for the second ({probability:.1%})\n{second}"
        tiles.append(Tile(overlay(image, evidence, SIDE), caption))
    for number, (neighbour, view) in enumerate(nearest, 1):
        caption = f"nearest {number}: {neighbour.similarity:.3f}\n{neighbour.label}"
        frame = ("green" if neighbour.label == best[0][0] else "red") if best else None
        tiles.append(Tile(view, f"{caption}\n{neighbour.name}", frame=frame))
    width = len(tiles) * (SIDE + GAP) - GAP
    return draw_image_grid(shorten(title, width, TITLE_SIZE), tiles, len(tiles), (SIDE, SIDE))
