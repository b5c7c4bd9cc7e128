"""Embeddings for TensorBoard's projector: vectors, names, thumbnails.

Keras's own callback cannot write them: its `embeddings_freq` does not support Keras 3's weight
files.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from conf.schema import DataConfig
from data.datasets import Dataset
from reporting.image_grid import view

MAX_POINTS = 5000  # points that a browser can still move
SIDE = 64  # pixels of a thumbnail
MAX_SHEET = 8192  # pixels of the side of the largest sheet of thumbnails that the projector loads


def write(
    folder: Path, name: str, vectors: np.ndarray, dataset: Dataset, split: str, config: DataConfig
) -> None:
    """Writes `vectors.tsv`, `metadata.tsv`, `sprite.png` and `projector_config.pbtxt`.

    Args:
        folder: a folder of event files.
        name: the embedding's name in the projector.
        vectors: the vector of each image of `split`, (n, D). At most `MAX_POINTS`, evenly spaced,
            are written.
        dataset: the data set.
        split: the split of the vectors.
        config: how images are decoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    step = max(1, -(-len(vectors) // MAX_POINTS))
    indices = dataset.splits[split][::step]
    np.savetxt(folder / "vectors.tsv", vectors[::step], fmt="%.6g", delimiter="\t")
    lines = ["class\tpicture"]
    for index in indices:
        name_in_one_line = " ".join(dataset.images.name(index).split())
        lines.append(f"{dataset.class_names[dataset.labels[index]]}\t{name_in_one_line}")
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n")
    side = _write_sprite(folder / "sprite.png", dataset, indices, config)
    (folder / "projector_config.pbtxt").write_text(
        "embeddings {\n"
        f'  tensor_name: "{name}"\n'
        '  tensor_path: "vectors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n'
        f'  sprite {{ image_path: "sprite.png" single_image_dim: {side} single_image_dim: {side} }}'
        "\n}\n"
    )


def _write_sprite(path: Path, dataset: Dataset, indices: np.ndarray, config: DataConfig) -> int:
    """Writes a square sheet of thumbnails. Returns the side of a thumbnail in pixels."""
    columns = int(np.ceil(np.sqrt(len(indices))))
    side = min(SIDE, MAX_SHEET // columns)
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    for number, index in enumerate(indices):
        thumbnail = Image.fromarray(view(dataset, index, config)).resize((side, side))
        sheet.paste(thumbnail, (number % columns * side, number // columns * side))
    sheet.save(path)
    return side
