"""Embeddings for TensorBoard's projector: vectors, names, thumbnails.

Written by hand: the `embeddings_freq` of Keras' own callback does not know Keras 3's weight files.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from conf.schema import DataConfig
from data.datasets import Dataset
from data.decoding import evaluation_view

MOST = 5000  # points, evenly spaced among more: the browser has to move them all
SIDE = 64  # pixels of a thumbnail
LARGEST = 8192  # pixels of the side of the sheet of thumbnails that the projector loads


def write(
    folder: Path, name: str, vectors: np.ndarray, dataset: Dataset, split: str, config: DataConfig
) -> None:
    """Writes `vectors.tsv`, `metadata.tsv`, `sprite.png` and the `projector_config.pbtxt` that
    names them.

    Args:
        folder: a run of TensorBoard's.
        name: of the embedding, as the projector lists it.
        vectors: one a picture of `split`, (n, D).
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.arange(len(vectors))[:: max(1, -(-len(vectors) // MOST))]
    indices = dataset.splits[split][chosen]
    np.savetxt(folder / "vectors.tsv", vectors[chosen], fmt="%.6g", delimiter="\t")
    lines = [
        f"{dataset.class_names[dataset.labels[index]]}\t{_name(dataset, index)}"
        for index in indices
    ]
    (folder / "metadata.tsv").write_text("\n".join(["class\tpicture", *lines]) + "\n")
    side = _sprite(folder / "sprite.png", dataset, indices, config)
    (folder / "projector_config.pbtxt").write_text(
        "embeddings {\n"
        f'  tensor_name: "{name}"\n'
        '  tensor_path: "vectors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n'
        f'  sprite {{ image_path: "sprite.png" single_image_dim: {side} single_image_dim: {side} }}'
        "\n}\n"
    )


def _name(dataset: Dataset, index: int) -> str:
    return " ".join(dataset.images.name(index).split())


def _sprite(path: Path, dataset: Dataset, indices: np.ndarray, config: DataConfig) -> int:
    """Thumbnails in rows of as many as there are rows; returns their side in pixels."""
    columns = int(np.ceil(np.sqrt(len(indices))))
    side = min(SIDE, LARGEST // columns)
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    for number, index in enumerate(indices):
        encoded, name = dataset.images.encoded(index), dataset.images.name(index)
        thumbnail = Image.fromarray(evaluation_view(encoded, name, config)).resize((side, side))
        sheet.paste(thumbnail, (number % columns * side, number // columns * side))
    sheet.save(path)
    return side
