"""Images for TensorBoard, read as TensorBoard reads them."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.img_mime_type_detector import from_bytes

from event_file import EventFile
from reporting.image_summary import image_pb


@pytest.mark.parametrize(("encoding", "kind", "off"), [("PNG", "png", 0), ("JPEG", "jpeg", 6)])
def test_an_image_is_read_as_it_was_written(tmp_path, encoding, kind, off):
    ramp = np.arange(0, 240, 4, dtype=np.uint8)
    image = np.stack([np.tile(ramp, (40, 1))] * 3, axis=2)
    with EventFile(tmp_path) as events:
        events.write([image_pb("test/ramp", image, encoding)])
    logs = EventAccumulator(str(tmp_path)).Reload()
    assert "test/ramp" in logs.PluginTagToContent("images")
    width, height, encoded = logs.Tensors("test/ramp")[0].tensor_proto.string_val
    assert (width, height) == (b"60", b"40") and from_bytes(encoded) == f"image/{kind}"
    read = np.asarray(Image.open(io.BytesIO(encoded)), int)
    assert abs(read - image).max() <= off
