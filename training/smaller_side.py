"""Stage 1 on the smaller side: see `training/coordinates.py` for why, and when it is the same."""

import os
from pathlib import Path

import numpy as np

from conf.schema import Config, Optimizer, Pooling, Solver, Task
from data.datasets import Dataset
from data.inputs import MemoryInputs
from data.progress import progress
from data.shard_store import gib
from models.classifier import build_linear
from models.parts import Parts, dtype_policy
from training.coordinates import Coordinates
from training.distributed.workers import Workers
from training.feature_extraction import (
    feature_key,
    inference,
    stored_features,
    stored_views,
    training_views,
)
from training.gram_store import GramStore, batch_samples, describe_in_batches
from training.initialization import averaged_samples, mean_and_deviation, set_statistics

MULTIPLIED = 256  # samples that are multiplied by their shares of the kernel at a time, if they
MULTIPLIED_BYTES = 256 * 2**20  # have at most this size


def why_not(
    config: Config, dataset: Dataset, parts: Parts, folder: Path, workers: Workers
) -> str | None:
    """Returns why stage 1 has to train on the descriptors themselves; `None` if it has not.

    Args:
        config: the configuration of the run.
        dataset: the data set.
        parts: the model.
        folder: the run's folder; a stage that began on descriptors ends on them.
        workers: the devices that train.
    """
    assert config.task is Task.classification
    samples = len(dataset.splits["train"]) * training_views(config)
    size = parts.descriptor.output.shape[-1]
    stored = len(dataset.indices) * stored_views(config)
    # Inner products and coordinates in float32, the factor and a copy of it in float64.
    needed = 4 * stored * (stored + samples) + 16 * samples**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    checkpoints = folder / "checkpoints"
    began = [checkpoints / f"head{end}" for end in (".json", ".state.npz", ".weights.h5")]
    reasons = {
        "trainer.feature_store=false": not config.trainer.feature_store,
        "head.reduction is trained": bool(parts.descriptor.trainable_weights),
        "head.embedding does not start at zero": config.head.embedding is not None,
        "head.dropout drops dimensions": config.head.dropout > 0 and config.solver is Solver.sgd,
        "optimizer=adamw depends on the axes": (
            config.optimizer.name is Optimizer.adamw and config.solver is Solver.sgd
        ),
        "several devices train": workers.replicas > 1 and config.solver is Solver.sgd,
        "the run began on descriptors": any(path.exists() for path in began),
        f"coordinates of {stored} samples take {gib(needed)} of memory": needed > memory / 2,
        f"{samples} training samples, {size} dimensions": samples >= size,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


class SmallerSide:
    """The inputs and the linear part of stage 1 on the smaller side.

    Args:
        config: the configuration of the run.
        dataset: the data set.
        parts: the model; its descriptor has no trained weights.

    Attributes:
        inputs: the coordinates of all images and stored views.
        linear: maps coordinates to logits, as `parts.linear` maps descriptors.
    """

    def __init__(self, config: Config, dataset: Dataset, parts: Parts):
        self.config, self.dataset, self.parts = config, dataset, parts
        self.features = stored_features(config, dataset, parts.backbone)
        train = np.searchsorted(self.features.indices, dataset.splits["train"])
        count = len(self.features.indices)
        learned = [train + view * count for view in range(self.features.views)]
        gram = self._store().open(self._describer())
        self.coordinates = Coordinates(gram, np.concatenate(learned))
        values = self.coordinates.values.reshape(stored_views(config), count, -1)
        self.inputs = MemoryInputs(self.features.indices, values, self.features.views)
        with dtype_policy("float32"):
            shape = values.shape[2:]
            self.linear = build_linear(config, shape, len(dataset.class_names))

    def write_back(self) -> None:
        """Sets `parts.linear` to the classifier of the descriptors that `linear` is."""
        linear, coordinates = self.parts.linear, self.coordinates
        kernel, bias = self.linear.get_layer("classifier").get_weights()
        averaged = averaged_samples(self.dataset.splits["train"])
        averaged = np.searchsorted(self.features.indices, averaged)
        train = coordinates.train
        # The share of each sample in the kernel. The last column is its share in the mean.
        shares = np.zeros((len(train), kernel.shape[1] + 1), np.float32)
        shares[:, :-1] = coordinates.dual(kernel)
        shares[np.searchsorted(train, averaged), -1] = 1 / len(averaged)
        size = linear.input.shape[-1]
        describe, batch = self._describer(), batch_samples(size)
        length = batch * max(1, min(MULTIPLIED // batch, MULTIPLIED_BYTES // (4 * size * batch)))
        buffer = np.empty((length, size), np.float32)
        total = np.zeros((size, shares.shape[1]), np.float32)
        with progress(len(train), "classifier of the descriptors", "sample") as bar:
            for start in range(0, len(train), length):
                part = slice(start, start + length)
                vectors = buffer[: len(train[part])]
                describe_in_batches(train[part], describe, size, vectors)
                total += vectors.T @ shares[part]
                bar.update(len(vectors))
        linear.get_layer("classifier").set_weights([total[:, :-1], bias])
        if self.config.head.standardize:
            _, deviation = mean_and_deviation(self.linear)
            set_statistics(linear, total[:, -1], deviation[0] ** 2)

    def _store(self) -> GramStore:
        config, descriptor = self.config, self.parts.descriptor
        head = config.head
        key = feature_key(config, self.dataset, self.parts.backbone) | {
            "views": stored_views(config),
            "descriptor_version": 1,  # increase it when a descriptor's values change
            "descriptor": [
                head.pooling.value, head.centered, head.root and head.root.value, head.iterations,
                head.epsilon, head.signed_root, head.l2, head.output_dim, head.method.value,
                config.seed if head.pooling is Pooling.compact else 0,
            ],
        }  # fmt: skip
        return GramStore(
            Path(config.trainer.feature_dir),
            key,
            len(self.features.indices) * stored_views(config),
            descriptor.output.shape[-1],
            "float32",
            config.trainer.stage_1_gib * 2**30,
        )

    def _describer(self):
        """Returns a function from numbers of samples to their descriptors, (b, D).

        The samples are all images, then all mirrored images.
        """
        features, forward = self.features, inference(self.parts.descriptor)

        def describe(samples: np.ndarray) -> np.ndarray:
            views, positions = np.divmod(samples, len(features.indices))
            return forward(features.take(positions, views)).numpy()

        return describe
