"""Training on several devices or machines with `tf.distribute`.

Every replica (device) trains on its part of each batch. Every worker (process) executes the whole
run. Only the first worker, the chief, reads and writes the run's folder, and broadcasts what it
reads.
"""

import contextlib
import dataclasses
import functools
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import keras
import numpy as np
import tensorflow as tf

from conf.schema import Strategy, Task
from data.pipeline import WHOLE, Share
from errors import UserError
from models.parts import Parts
from training.distributed.cluster import cluster_of

DISTRIBUTED_TASKS = (Task.classification, Task.metric_learning)

PartsType = TypeVar("PartsType", bound=Parts)

logger = logging.getLogger(__name__)


class WorkerLost(UserError):
    """Another worker of the run has ended or cannot be reached."""

    status = os.EX_TEMPFAIL


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes and devices that train together.

    Attributes:
        strategy: TensorFlow's strategy; its default strategy if one device trains.
        index: index of this worker; 0 is the chief.
        count: number of workers.
    """

    strategy: tf.distribute.Strategy
    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Number of devices of all workers."""
        return self.strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the scope in which models, optimizers and metrics must be created.

        All workers must create the same objects in the same order.
        """
        return self.strategy.scope() if self.replicas > 1 else contextlib.nullcontext()

    def build(self, builder: Callable[..., PartsType], *arguments) -> PartsType:
        """Returns `builder(*arguments)`, with variables that all replicas share.

        The parts themselves are ordinary models, which predict on one device of this worker.
        """
        with self.scope():
            parts = builder(*arguments)
        if self.replicas == 1:
            return parts
        models = {field.name: getattr(parts, field.name) for field in dataclasses.fields(parts)}
        local = {name: _outside_scope(model) for name, model in models.items()}
        return dataclasses.replace(parts, **local)

    def batches(self, make: Callable[[Share], tf.data.Dataset]):
        """Returns the batches for `fit`: each replica reads its share of those from `make`."""
        if self.replicas == 1:
            return make(WHOLE)
        here = self.replicas // self.count

        def shares(context):
            return make(Share(context.input_pipeline_id * here, here, self.replicas))

        return self.strategy.distribute_datasets_from_function(shares)

    def broadcast_object(self, value):
        """Returns the chief's `value`, which must be JSON-serialisable, on every worker."""
        if self.count == 1:
            return value
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        [size] = self.broadcast([np.array([len(text)])])
        [text] = self.broadcast([text if self.is_chief else np.zeros(size[0], np.uint8)])
        return json.loads(text.tobytes())

    def broadcast(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the chief's `arrays` on every worker.

        The arrays of the other workers must have the same shapes and dtypes.
        """
        if self.count == 1:
            return arrays
        shared = list(arrays)
        floats = [i for i, array in enumerate(arrays) if array.dtype == np.float32]
        others = [i for i in range(len(arrays)) if i not in floats]
        for chosen, dtype in ((floats, np.float32), (others, np.float64)):
            if chosen:  # one message for all of them
                flat = self._sum(np.concatenate([np.ravel(arrays[i]) for i in chosen], dtype=dtype))
                ends = np.cumsum([arrays[i].size for i in chosen])
                for i, part in zip(chosen, np.split(flat, ends[:-1]), strict=True):
                    shared[i] = part.reshape(arrays[i].shape).astype(arrays[i].dtype)
        return shared

    def _sum(self, vector: np.ndarray) -> np.ndarray:
        """Returns the first replica's `vector`, as its sum with the zeros of the others."""
        if not self.is_chief:
            vector = np.zeros_like(vector)

        def add():
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            mine = tf.where(first, tf.constant(vector), tf.zeros_like(vector))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return self.strategy.experimental_local_results(self.strategy.run(add))[0].numpy()


def _outside_scope(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers that was not created in the scope."""
    twin = keras.Model(model.input, model.output, name=model.name)
    twin.trainable = model.trainable  # otherwise Keras ignores a later `trainable = True`
    return twin


def connect(task: Task, strategy: Strategy) -> Workers:
    """Returns the workers and devices that `trainer.strategy` selects.

    In a cluster the call waits for all workers. It must come before TensorFlow computes anything.

    Raises:
        UserError: there are too few devices or workers, or the task supports one device only.
    """
    if task in DISTRIBUTED_TASKS:
        return _connect(strategy)
    if strategy not in (Strategy.auto, Strategy.none) or cluster_of(strategy, os.environ):
        raise UserError(f"task={task.value}: requires trainer.strategy=none, and one worker")
    return _connect(Strategy.none)


@functools.cache  # TensorFlow joins a cluster once in a process; the jobs of a sweep share it
def _connect(strategy: Strategy) -> Workers:
    cluster = cluster_of(strategy, os.environ)
    if cluster is not None:
        logger.info(
            "worker %d of %d; waiting for the others at %s",
            cluster.index + 1,
            len(cluster.addresses),
            ", ".join(cluster.addresses),
        )
        os.environ["TF_CONFIG"] = cluster.tf_config
        try:
            multi_worker = tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise UserError(
                "trainer.strategy: TensorFlow has computed something before, and cannot join a "
                f"cluster any more ({error}); start the run in a process of its own"
            ) from error
        return Workers(multi_worker, cluster.index, len(cluster.addresses))
    gpus = tf.config.list_logical_devices("GPU")
    if strategy is Strategy.mirrored or (strategy is Strategy.auto and len(gpus) > 1):
        devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        if len(devices) == 1:
            raise UserError(
                f"trainer.strategy=mirrored: requires several devices, and {devices[0]} is the "
                "only one; set it to auto"
            )
        return Workers(tf.distribute.MirroredStrategy(devices))
    return Workers(tf.distribute.get_strategy())


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Turns TensorFlow's error about a lost worker into a `WorkerLost` of one line.

    Raises:
        WorkerLost: another worker has ended or cannot be reached.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if "ollective ops is aborted" not in str(error):
            raise
        raise WorkerLost(
            "another worker has ended or cannot be reached (its own output may tell why); start "
            "all workers again with the same command, and the run resumes from its last checkpoint"
        ) from error
