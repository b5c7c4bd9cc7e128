"""Embeddings for TensorBoard's projector: vectors, names, thumbnails.

Keras's own callback cannot write them: its `embeddings_freq` does not support Keras 3's weight
files.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

import files
from conf.schema import DataConfig
from data.datasets import Dataset
from reporting.image_grid import view
from reporting.image_summary import write_png

MAX_POINTS = 5000  # points that a browser can still move
SIDE = 64  # pixels of a thumbnail
MAX_SHEET = 8192  # pixels of the side of the largest sheet of thumbnails that the projector loads
CONFIG = """embeddings {{
  tensor_name: "{name}"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
  sprite {{ image_path: "sprite.png" single_image_dim: {side} single_image_dim: {side} }}
}}
"""


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
    step = max(1, -(-len(vectors) // MAX_POINTS))
    indices = dataset.splits[split][::step]
    columns = math.ceil(math.sqrt(len(indices)))
    side = min(SIDE, MAX_SHEET // columns)
    sheet = Image.new("RGB", (columns * side, columns * side), "white")
    lines = ["class\tpicture"]
    for number, index in enumerate(indices):
        name_in_one_line = " ".join(dataset.images.name(index).split())
        lines.append(f"{dataset.class_names[dataset.labels[index]]}\t{name_in_one_line}")
        thumbnail = Image.fromarray(view(dataset, index, config)).resize((side, side))
        sheet.paste(thumbnail, (number % columns * side, number // columns * side))
    with files.atomic_path(folder / "vectors.tsv") as unfinished:
        np.savetxt(unfinished, vectors[::step], fmt="%.6g", delimiter="\t")
    files.write_text(folder / "metadata.tsv", "\n".join(lines) + "\n")
    write_png(folder / "sprite.png", np.asarray(sheet))
    text = CONFIG.format(name=name, side=side)
    files.write_text(folder / "projector_config.pbtxt", text)
