"""The features of one target: standardised descriptors and a low-rank adapter."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from conf.schema import Config, DataConfig
from data.datasets import Dataset
from data.inputs import ImageInputs, Inputs
from evaluation.prediction import descriptor_model, predict_indices
from experiments.one_class.targets import Target
from models.embedding import build_embedding
from models.model_layers import LowRankAdapter
from models.parts import Parts, StageInput, dtype_policy
from training.feature_extraction import stage_1_inputs
from training.initialization import initialize_adapter, standardize


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set, what a stage reads of it, and the parts that turn it into descriptors."""

    dataset: Dataset
    start: StageInput
    inputs: Inputs
    parts: Parts

    def describe(self, samples):
        """Returns the descriptors of a batch of samples."""
        return self.parts.describe(samples, self.start)

    def vectors(
        self, indices: np.ndarray, batch_size: int, features: Callable | None = None
    ) -> np.ndarray:
        """Returns the features, or without `features` the descriptors, of images: (n, D)."""
        model = descriptor_model(
            lambda sample: (features or _unchanged)(self.describe(sample)), self.inputs
        )
        return predict_indices(model, self.inputs, indices, batch_size)


@dataclasses.dataclass(frozen=True)
class Sources:
    """The target's data set, and the reference data set."""

    own: Source
    reference: Source

    def tested(
        self, target: Target, batch_size: int, features: Callable | None = None
    ) -> np.ndarray:
        """Returns the vectors of the templates, followed by those of all images of
        `target.truth`."""
        indices = np.concatenate([target.templates, target.test, target.aliens])
        own = self.own.vectors(indices, batch_size, features)
        others = self.reference.vectors(target.reference_aliens, batch_size, features)
        return np.concatenate([own, others])


def _unchanged(descriptors):
    return descriptors


def stage_1_sources(config: Config, dataset: Dataset, reference: Dataset, parts: Parts) -> Sources:
    """Returns what stage 1 reads; see `stage_1_inputs`."""

    def source(dataset: Dataset, data: DataConfig) -> Source:
        inputs = stage_1_inputs(dataclasses.replace(config, data=data), dataset, parts)
        return Source(dataset, *inputs, parts)

    assert config.reference is not None
    return Sources(source(dataset, config.data), source(reference, config.reference))


def image_sources(config: Config, sources: Sources) -> Sources:
    """Returns what stage 2 reads: images."""

    def source(before: Source, data: DataConfig) -> Source:
        inputs = ImageInputs(before.dataset.images, data)
        return Source(before.dataset, StageInput.images, inputs, before.parts)

    assert config.reference is not None
    return Sources(source(sources.own, config.data), source(sources.reference, config.reference))


def build_features(config: Config, shape: tuple[int, ...], rank: int) -> keras.Model:
    """Builds the model from descriptors of `shape`, (D,), to features: standardise, adapt."""
    with dtype_policy("float32"):
        standardized = build_embedding(config.head, shape, config.seed)
        adapted = LowRankAdapter(rank, name="adapter")(standardized.output)
        return keras.Model(standardized.input, adapted, name="features")


def initial_features(config: Config, target: Target, sources: Sources) -> keras.Model:
    """Returns the features before training, with the statistics and directions of descriptors."""
    descriptor, size = sources.own.parts.descriptor, config.trainer.batch_size
    vectors = sources.own.vectors(target.train, size)
    shape = descriptor.output.shape[1:]
    features = build_features(config, shape, min(config.one_class.rank, len(vectors) - 1, *shape))
    if config.head.standardize and not descriptor.trainable_weights:
        standardize(
            features,
            sources.reference.describe,
            sources.reference.inputs,
            target.reference_train,
            size,
            variance=float(shape[0]),  # 1 for each dimension: compactness is a mean over them
        )
    initialize_adapter(features.get_layer("adapter"), vectors)
    return features
