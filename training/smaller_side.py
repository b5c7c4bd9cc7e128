"""Stage 1 on the smaller side: see `training/coordinates.py` for why, and when it is the same."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from conf.schema import Config, EmbeddingInit, HeadConfig, Loss, Optimizer, Pooling, Solver, Task
from data.datasets import Dataset
from data.inputs import MemoryInputs
from data.progress import progress
from data.shard_store import gib
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
from training.initialization import (
    averaged_samples,
    embedded_samples,
    mean_and_deviation,
    set_statistics,
)

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
    samples = len(dataset.splits["train"]) * training_views(config)
    size = parts.descriptor.output.shape[-1]
    stored = len(images_of_stage_1(config, dataset)) * stored_views(config)
    # Inner products and coordinates in float32, the factor and a copy of it in float64.
    needed = 4 * stored * (stored + samples) + 16 * samples**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    checkpoints = folder / "checkpoints"
    began = [checkpoints / f"head{end}" for end in (".json", ".state.npz", ".weights.h5")]
    descends = config.solver is Solver.sgd and config.trainer.epochs > 0
    reasons = {
        "trainer.feature_store=false": not config.trainer.feature_store,
        "the pooling or its reduction is trained": bool(parts.descriptor.trainable_weights),
        "head.embedding starts at random": _random_embedding(config, dataset),
        "loss=softmax_center trains the embedding": config.loss.name is Loss.softmax_center,
        "head.dropout drops dimensions": config.head.dropout > 0 and descends,
        "optimizer=adamw depends on the axes": (
            config.optimizer.name is Optimizer.adamw and descends
        ),
        "several devices train": workers.replicas > 1 and descends,
        "the run began on descriptors": any(path.exists() for path in began),
        f"coordinates of {stored} samples take {gib(needed)} of memory": needed > memory / 2,
        f"{samples} training samples, {size} dimensions": samples >= size,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def images_of_stage_1(config: Config, dataset: Dataset) -> np.ndarray:
    """Returns the sorted indices of the images whose inner products are stored.

    These are all images, so that the runs with other splits share a store. But a test split that is
    the same in each run is left out if stage 2 follows, which evaluates it from images. On CUB, a
    quarter of the products remain.
    """
    if (
        config.trainer.fine_tune_epochs == 0
        or config.task is not Task.classification  # retrieval by untrained descriptors is tested
        or dataset.test_is_drawn
    ):
        return dataset.indices
    return np.setdiff1d(dataset.indices, dataset.splits["test"])


def _random_embedding(config: Config, dataset: Dataset) -> bool:
    """Returns whether units of the embedding start outside the span of the training samples."""
    units = config.head.embedding
    if units is None:
        return False
    samples = embedded_samples(dataset.splits["train"], units)
    return (
        config.head.embedding_init is EmbeddingInit.random
        or len(samples) * training_views(config) <= units
    )


class SmallerSide:
    """The inputs and the linear part of stage 1 on the smaller side.

    Args:
        config: the configuration of the run.
        dataset: the data set.
        parts: the model; its descriptor has no trained weights.
        build_linear: returns a linear part like that of `parts` for samples of another shape.

    Attributes:
        indices: the images, see `images_of_stage_1`.
        inputs: the coordinates of these images and of their stored views.
        linear: maps coordinates to logits, as `parts.linear` maps descriptors.
    """

    def __init__(
        self,
        config: Config,
        dataset: Dataset,
        parts: Parts,
        build_linear: Callable[[tuple[int, ...]], keras.Model],
    ):
        self.config, self.dataset, self.parts = config, dataset, parts
        self.features = stored_features(config, dataset, parts.backbone)
        self.indices = images_of_stage_1(config, dataset)
        train = self._samples(dataset.splits["train"], self.features.views)
        self.coordinates = Coordinates(self._inner_products(), train)
        shape = stored_views(config), len(self.indices), len(train)
        values = self.coordinates.values.reshape(shape)
        self.inputs = MemoryInputs(self.indices, values, self.features.views)
        with dtype_policy("float32"):
            self.linear = build_linear(self.inputs.shape)

    def vectors(self, indices: np.ndarray, average_mirror: bool) -> np.ndarray:
        """Returns vectors, (m, k), with the same inner products as the descriptors of m images.

        Args:
            indices: the images, sorted.
            average_mirror: the mean of each image's descriptor and of that of its mirror image.
        """
        views = 2 if average_mirror else 1
        samples = self._samples(indices, views)
        values = Coordinates(self._inner_products(), samples).values[samples]
        return values.reshape(views, len(indices), -1).mean(axis=0)

    def write_back(self) -> None:
        """Sets `parts.linear` to the linear part of the descriptors that `linear` is."""
        linear = self.parts.linear
        first, *others = [layer for layer in self.linear.layers if layer.trainable_weights]
        kernel, *bias = first.get_weights()
        kernel, mean = self._of_descriptors(kernel)
        linear.get_layer(first.name).set_weights([kernel, *bias])
        for layer in others:
            linear.get_layer(layer.name).set_weights(layer.get_weights())
        if self.config.head.standardize:
            _, deviation = mean_and_deviation(self.linear)
            set_statistics(linear, mean, deviation[0] ** 2)

    def _of_descriptors(self, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the kernel of the descriptors, (D, units), that `kernel` is, and their mean."""
        train = self.coordinates.train
        averaged = self._samples(averaged_samples(self.dataset.splits["train"]))
        # The share of each sample in the kernel. The last column is its share in the mean.
        shares = np.zeros((len(train), kernel.shape[1] + 1), np.float32)
        shares[:, :-1] = self.coordinates.dual(kernel)
        shares[np.searchsorted(train, averaged), -1] = 1 / len(averaged)
        size = self.parts.descriptor.output.shape[-1]
        describe, batch = self._describer(), batch_samples(size)
        length = batch * max(1, min(MULTIPLIED // batch, MULTIPLIED_BYTES // (4 * size * batch)))
        buffer = np.empty((length, size), np.float32)
        total = np.zeros((size, shares.shape[1]), np.float32)
        with progress(len(train), "back to the descriptors", "sample") as bar:
            for start in range(0, len(train), length):
                part = slice(start, start + length)
                vectors = buffer[: len(train[part])]
                describe_in_batches(train[part], describe, size, vectors)
                total += vectors.T @ shares[part]
                bar.update(len(vectors))
        return total[:, :-1], total[:, -1]

    def _samples(self, indices: np.ndarray, views: int = 1) -> np.ndarray:
        """Returns the numbers of the samples of images: all images, then all mirrored images."""
        positions = np.searchsorted(self.indices, indices)
        count = len(self.indices)
        return np.concatenate([positions + view * count for view in range(views)])

    def _inner_products(self) -> np.ndarray:
        """Returns the inner products of all samples of `indices`, (N, N)."""
        config, descriptor = self.config, self.parts.descriptor
        head = config.head
        spectral: list = []  # nothing for the other poolings, so that their keys stay the same
        if head.function:
            spectral = [head.function.value, head.exponent, head.eta, head.augmented]
        if head.signed_root and head.signed_root_epsilon != HeadConfig.signed_root_epsilon:
            spectral.append(head.signed_root_epsilon)
        key = feature_key(config, self.dataset, self.parts.backbone) | {
            "views": stored_views(config),
            "descriptor_version": 1,  # increase it when a descriptor's values change
            "descriptor": [
                head.pooling.value, head.centered, head.root and head.root.value, head.iterations,
                head.epsilon, head.signed_root, head.l2, head.output_dim, head.method.value,
                config.seed if head.pooling is Pooling.compact else 0, *spectral,
            ],
        }  # fmt: skip
        if len(self.indices) < len(self.dataset.indices):
            digest = hashlib.blake2b(self.indices.tobytes(), digest_size=16)
            key["described"] = digest.hexdigest()
        store = GramStore(
            Path(config.trainer.feature_dir),
            key,
            len(self.indices) * stored_views(config),
            descriptor.output.shape[-1],
            "float32",
            config.trainer.stage_1_gib * 2**30,
        )
        return store.open(self._describer())

    def _describer(self):
        """Returns a function from numbers of samples to their descriptors, (b, D)."""
        features, forward = self.features, inference(self.parts.descriptor)
        positions = np.searchsorted(features.indices, self.indices)

        def describe(samples: np.ndarray) -> np.ndarray:
            views, images = np.divmod(samples, len(positions))
            return forward(features.take(positions[images], views)).numpy()

        return describe
