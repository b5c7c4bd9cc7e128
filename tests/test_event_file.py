"""Event files: readable at once, in order, and an error if they cannot be written."""

from pathlib import Path

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from errors import UserError
from event_file import EventFile, tensorflow_errors


def read(folder) -> dict[int, float]:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {e.step: float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors("metric")}


def test_an_event_can_be_read_before_the_file_is_closed(tmp_path):
    file = EventFile(tmp_path / "new" / "folder")
    file.write([scalar_pb("metric", 0.5), scalar_pb("other", 2.0)], step=7)
    assert read(tmp_path / "new" / "folder") == {7: 0.5}


def test_files_of_one_folder_are_read_in_the_order_of_their_creation(tmp_path):
    for step in range(12):
        with EventFile(tmp_path) as file:
            file.write([scalar_pb("metric", step / 2)], step)
    assert len(list(tmp_path.iterdir())) == 12
    assert read(tmp_path) == {step: step / 2 for step in range(12)}


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    writer = tf.io.TFRecordWriter
    monkeypatch.setattr(tf.io, "TFRecordWriter", lambda path: writer("/dev/full"))
    with pytest.raises(
        UserError, match=r"tfevents\S+ writing failed \(No space left on device\); make room"
    ):
        EventFile(tmp_path)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "folder", Path("/proc/self")):
        with pytest.raises(UserError, match=r"writing failed.*same hydra\.run\.dir"):
            EventFile(folder)


def write_to_a_full_device():
    with tf.io.gfile.GFile("/dev/full", "w") as file:
        file.write("x" * 10**7)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (write_to_a_full_device, "No space left on device"),
        (lambda: tf.io.gfile.makedirs("/proc/folder"), "No such file or directory"),
        (lambda: tf.io.write_file("/dev/full/file", "x"), "Not a directory"),  # an operation
    ],
)
def test_an_error_of_tensorflow_is_its_reason_alone(write, reason):
    with pytest.raises(OSError) as caught, tensorflow_errors():
        write()
    assert str(caught.value) == reason
