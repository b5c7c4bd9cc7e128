"""TensorBoard's event files."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

import files


class EventFile:
    """An event file that is written where training waits for it.

    `tf.summary`'s writers run operations of TensorFlow's for each figure, which takes ten times as
    long, and keep events for two minutes, which a run that is killed then lacks.

    Args:
        folder: where the file goes; it is made if need be. Files there are read by age.

    Raises:
        UserError: the file cannot be written, here or later.
    """

    def __init__(self, folder: Path):
        age = f"{time.time():.6f}"
        self.path = folder / f"events.out.tfevents.{age}.{socket.gethostname()}.{os.getpid()}"
        with self._explained():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tf.io.TFRecordWriter(str(self.path))
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def write(self, summaries: Iterable[Summary], step: int) -> None:
        """Writes summaries, such as `tensorboard.plugins.scalar.summary_v2.scalar_pb`'s, as one
        event."""
        event = Event(wall_time=time.time(), step=step)
        for summary in summaries:
            event.summary.MergeFrom(summary)
        self._append(event)

    def close(self) -> None:
        """Ends the file; what was written is there already."""
        with self._explained():
            self._file.close()

    def _append(self, event: Event) -> None:
        with self._explained():
            self._file.write(event.SerializeToString())
            self._file.flush()

    @contextlib.contextmanager
    def _explained(self):
        with files.explain_write_errors(self.path):
            try:
                yield
            except tf.errors.OpError as error:
                raise OSError(error.message) from error
