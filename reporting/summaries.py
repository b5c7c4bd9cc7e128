"""Pictures for TensorBoard."""

import io

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins.image.metadata import create_summary_metadata


def log_image(folder, tag: str, picture: np.ndarray, encoding: str) -> None:
    """Writes a picture to the default summary writer, encoded by Pillow.

    `tf.summary.image`, which writes PNG alone, takes ten times as long for photographs, and three
    times the room.

    Args:
        tag: what TensorBoard calls it.
        picture: uint8 of shape (height, width, 3), RGB.
        encoding: "PNG" for charts, "JPEG" for photographs.
    """
    file = io.BytesIO()
    options = {"PNG": {"compress_level": 3}, "JPEG": {"quality": 92, "subsampling": 0}}
    Image.fromarray(picture).save(file, encoding, **options[encoding])
    height, width = picture.shape[:2]
    with tf.summary.create_file_writer(str(folder)).as_default(step=0):
        tf.summary.write(
            tag,
            tf.constant([str(width), str(height), file.getvalue()]),
            metadata=create_summary_metadata(display_name=None, description=None),
        )
