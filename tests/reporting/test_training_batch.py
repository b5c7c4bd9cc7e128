"""The first training batch in TensorBoard."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reporting.training_batch import log_training_batch

NAMES = ["auk", "bee-eater", "crane"]


def logged(folder, labels) -> np.ndarray:
    images = np.full((len(labels), 10, 10, 3), 255.4, np.float32)
    images[..., 1:] = -0.4
    log_training_batch(folder, "fine_tune", images, labels, NAMES, 7)
    events = EventAccumulator(str(folder / "tensorboard" / "train")).Reload()
    (event,) = events.Tensors("fine_tune/first batch")
    assert event.step == 7
    return np.asarray(Image.open(io.BytesIO(event.tensor_proto.string_val[2])))


@pytest.mark.parametrize(
    "labels",
    [np.array([0, 2, 1]), np.eye(3), np.array([[0.3, 0, 0.7], [0.999, 0.001, 0], [0.5, 0.5, 0]])],
    ids=["integers", "one-hot", "mixed"],
)
def test_every_image_is_shown_with_its_label(tmp_path, labels):
    plot = logged(tmp_path, labels)
    red = (plot[..., 0] > 200) & (plot[..., 1:] < 60).all(axis=2)
    assert red.sum() == pytest.approx(3 * 112 * 112, rel=0.02)


def test_a_mixed_label_has_a_line_for_each_class(tmp_path):
    one = logged(tmp_path / "one", np.eye(3)[:1])
    two = logged(tmp_path / "two", np.array([[0.3, 0.0, 0.7]]))
    assert two.shape[0] == one.shape[0] + 14
