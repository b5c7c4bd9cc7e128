"""TensorBoard's event files."""

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary

import files


class EventFile(contextlib.AbstractContextManager["EventFile"]):
    """A new event file. Each event is on disk when `write` returns.

    `tf.summary`'s writers take ten times as long, because they run a TensorFlow operation for each
    value. They also keep events in memory for two minutes, which are lost if the run is killed.

    Use it as a context manager, or call `close`.

    Args:
        folder: folder of the file; created if it does not exist. TensorBoard reads the files of a
            folder in the order of their names, which is the order of their creation.

    Raises:
        UserError: the file cannot be written, here or later.
    """

    def __init__(self, folder: Path):
        created = f"{time.time():.6f}"
        self.path = folder / f"events.out.tfevents.{created}.{socket.gethostname()}.{os.getpid()}"
        with self._explain_errors():
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tf.io.TFRecordWriter(str(self.path))
        self._append(Event(file_version="brain.Event:2"))

    def write(self, summaries: Iterable[Summary], step: int = 0) -> None:
        """Writes summaries, such as `tensorboard.plugins.scalar.summary_v2.scalar_pb`'s, as one
        event."""
        event = Event(step=step)
        for summary in summaries:  # serialised: HParams makes TensorFlow's class of this message
            event.summary.MergeFromString(summary.SerializeToString())
        self._append(event)

    def write_graph(self, graph: GraphDef) -> None:
        self._append(Event(graph_def=graph.SerializeToString()))

    def close(self) -> None:
        with self._explain_errors():
            self._file.close()

    def __exit__(self, *exception) -> None:
        self.close()

    def _append(self, event: Event) -> None:
        event.wall_time = time.time()
        with self._explain_errors():
            self._file.write(event.SerializeToString())
            self._file.flush()

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        with files.explain_write_errors(self.path), tensorflow_errors():
            yield


@contextlib.contextmanager
def tensorflow_errors() -> Iterator[None]:
    """Turns an error of TensorFlow's file system into an OSError with its reason.

    The message is "NODE PATH; REASON [OPERATION]"; node and operation are there in a graph only.
    """
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2].partition(" [Op:")[0]
        raise OSError(reason) from error
