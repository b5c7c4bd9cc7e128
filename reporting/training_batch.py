"""The first training batch of a stage, as the network sees it."""

from pathlib import Path

import numpy as np

from event_file import EventFile
from reporting.image_grid import Tile, draw_image_grid
from reporting.image_summary import image_pb
from reporting.rendering import drawn

COLUMNS = 8
SIDE = 112  # pixels
SMALLEST_SHARE = 0.005  # of a class in a caption; smaller ones are rounded to 0.00


def log_training_batch(
    folder: Path, stage: str, images: np.ndarray, labels: np.ndarray, names: list[str], epoch: int
) -> None:
    """Writes a plot of a batch to TensorBoard, each image with its label.

    Args:
        folder: the run's folder.
        stage: name of the stage.
        images: in 0...255, (B, height, width, 3), cropped, mirrored and augmented.
        labels: integers, (B,), or shares of the classes, (B, classes).
        names: names of the classes.
        epoch: from 0; the batch is its first one.
    """

    def draw() -> np.ndarray:
        pixels = np.clip(np.round(images), 0, 255).astype(np.uint8)
        tiles = [Tile(p, _caption(label, names)) for p, label in zip(pixels, labels, strict=True)]
        return draw_image_grid(
            f"first batch of {stage}", tiles, min(len(tiles), COLUMNS), (SIDE, SIDE)
        )

    if (plot := drawn("training batch", draw)) is not None:
        with EventFile(folder / "tensorboard" / "train") as events:
            events.write([image_pb(f"{stage}/first batch", plot, "JPEG")], epoch)


def _caption(label: np.ndarray, names: list[str]) -> str:
    if not label.ndim:
        return names[label]
    shown = [i for i in np.argsort(-label, kind="stable") if label[i] >= SMALLEST_SHARE]
    if len(shown) == 1:
        return names[shown[0]]
    return "\n".join(f"{label[i]:.2f} {names[i]}" for i in shown)
