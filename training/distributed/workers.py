"""One run on several devices or machines: who takes part, and what they tell one another.

Every replica trains on its part of each batch, with `tf.distribute`. Every worker, a process, goes
through the same run; the first of them, the chief, is the one that reads and writes its folder. All
that depends on the folder it tells the others.
"""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from conf.schema import Config, Strategy, Task
from data.pipeline import WHOLE, Share
from errors import TRY_AGAIN, UserError
from models.parts import Parts
from training.distributed.cluster import cluster_of

TOGETHER = (Task.classification, Task.metric_learning)  # tasks whose models are made in the scope


class WorkerLost(UserError):
    """Another worker of the run has ended or cannot be reached, which is nobody's mistake."""

    status = TRY_AGAIN


@dataclasses.dataclass(frozen=True)
class Workers:
    """Those who train together.

    Attributes:
        strategy: TensorFlow's; its default one where one device trains.
        index: which worker this is; 0 is the chief.
        count: of workers, each a process.
    """

    strategy: tf.distribute.Strategy
    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def replicas(self) -> int:
        """Devices that train, of all workers."""
        return self.strategy.num_replicas_in_sync

    def scope(self) -> contextlib.AbstractContextManager:
        """Where to make what is trained, and what trains it. All workers have to make the same, in
        the same order."""
        return self.strategy.scope() if self.replicas > 1 else contextlib.nullcontext()

    def build(self, builder: Callable[..., Parts], *arguments) -> Parts:
        """`builder(*arguments)`, with variables that all replicas share.

        The parts themselves are models like any other: they predict here, on one device.
        """
        with self.scope():
            parts = builder(*arguments)
        if self.replicas == 1:
            return parts
        models = {field.name: getattr(parts, field.name) for field in dataclasses.fields(parts)}
        local = {name: _outside(model) for name, model in models.items()}
        return dataclasses.replace(parts, **local)

    def batches(self, make: Callable[[Share], tf.data.Dataset]):
        """What `fit` reads: each replica its share of the batches that `make` makes."""
        if self.replicas == 1:
            return make(WHOLE)
        here = self.replicas // self.count

        def shares(context):
            return make(Share(context.input_pipeline_id * here, here, self.replicas))

        return self.strategy.distribute_datasets_from_function(shares)

    def broadcast_object(self, value):
        """The chief's `value`, of what JSON can say, on every worker."""
        if self.count == 1:
            return value
        text = np.frombuffer(json.dumps(value).encode(), np.uint8)
        [size] = self.broadcast([np.array([len(text)])])
        [text] = self.broadcast([text if self.is_chief else np.zeros(size[0], np.uint8)])
        return json.loads(text.tobytes())

    def broadcast(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """The chief's `arrays` on every worker; the others' must have their shapes and types."""
        if self.count == 1:
            return arrays
        shared = list(arrays)
        floats = [i for i, array in enumerate(arrays) if array.dtype == np.float32]
        others = [i for i in range(len(arrays)) if i not in floats]
        for chosen, dtype in ((floats, np.float32), (others, np.float64)):
            if chosen:  # all in one: a message each would take longer
                flat = self._sum(np.concatenate([np.ravel(arrays[i]) for i in chosen], dtype=dtype))
                ends = np.cumsum([arrays[i].size for i in chosen])
                for i, part in zip(chosen, np.split(flat, ends[:-1]), strict=True):
                    shared[i] = part.reshape(arrays[i].shape).astype(arrays[i].dtype)
        return shared

    def _sum(self, vector: np.ndarray) -> np.ndarray:
        """The first replica's `vector`: the sum of it and the others' zeros."""
        if not self.is_chief:
            vector = np.zeros_like(vector)

        def add():
            context = tf.distribute.get_replica_context()
            first = tf.equal(context.replica_id_in_sync_group, 0)
            mine = tf.where(first, tf.constant(vector), tf.zeros_like(vector))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

        return self.strategy.experimental_local_results(self.strategy.run(add))[0].numpy()


def _outside(model: keras.Model) -> keras.Model:
    """The same layers under a model that was not made in the scope."""
    twin = keras.Model(model.input, model.output, name=model.name)
    twin.trainable = model.trainable  # as its layers are; or Keras would ignore a later True
    return twin


def workers_of(config: Config) -> Workers:
    """Who trains together by `trainer.strategy`.

    In a cluster the first call waits for all its workers; it must come before anything that
    TensorFlow computes. With several jobs in one process all take part in the first one's.

    Raises:
        UserError: there are not as many devices or workers as it takes, or the task takes one.
    """
    if config.task in TOGETHER:
        return _workers_of(config.trainer.strategy)
    alone = config.trainer.strategy in (Strategy.auto, Strategy.none)
    if not alone or cluster_of(config.trainer.strategy, os.environ):
        raise UserError(f"task={config.task.value}: takes trainer.strategy=none, and one worker")
    return _workers_of(Strategy.none)


@functools.cache
def _workers_of(strategy: Strategy) -> Workers:
    cluster = cluster_of(strategy, os.environ)
    if cluster is not None:
        print(
            f"worker {cluster.index + 1} of {len(cluster.addresses)}; waiting for the others at "
            f"{', '.join(cluster.addresses)}",
            flush=True,
        )
        os.environ["TF_CONFIG"] = cluster.tf_config
        try:
            together = tf.distribute.MultiWorkerMirroredStrategy()
        except RuntimeError as error:
            raise UserError(
                "trainer.strategy: TensorFlow had begun to compute on its own, and joins no "
                f"cluster any more ({error}); start the run as a process of its own"
            ) from error
        return Workers(together, cluster.index, len(cluster.addresses))
    gpus = tf.config.list_logical_devices("GPU")
    if strategy is Strategy.mirrored or (strategy is Strategy.auto and len(gpus) > 1):
        devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
        if len(devices) == 1:
            raise UserError(
                f"trainer.strategy=mirrored: takes several devices, and {devices[0]} is the only "
                "one; set it to auto"
            )
        return Workers(tf.distribute.MirroredStrategy(devices))
    return Workers(tf.distribute.get_strategy())


@contextlib.contextmanager
def lost_workers() -> Iterator[None]:
    """Says in one line that another worker is gone, where TensorFlow says it in fifty.

    Raises:
        WorkerLost: the others cannot be waited for any more.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if "ollective ops is aborted" not in str(error):
            raise
        raise WorkerLost(
            "another worker has ended or cannot be reached (its own output may tell why); start "
            "all workers again as before, and the run goes on from its last checkpoint"
        ) from error
