"""Features of one target, learned with two streams through one network."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from conf.schema import Config
from data.datasets import Dataset
from data.inputs import ImageInputs, Inputs
from evaluation.prediction import descriptor_model, predict_indices
from experiments.one_class.targets import Target
from experiments.two_stages import fine_tune_stage, head_stage
from models.adapter import LowRankAdapter
from models.embedding import build_embedding
from models.parts import Parts, in_float32
from training.feature_extraction import head_inputs
from training.initialization import set_directions
from training.objectives import compactness_objective
from training.stage import Stage, fit_stage
from training.standardization import standardize
from training.two_streams import Stream


@dataclasses.dataclass(frozen=True)
class Source:
    """What is read of one data set, and how that becomes descriptors."""

    dataset: Dataset
    inputs: Inputs
    describe: Callable

    def vectors(
        self,
        indices: np.ndarray,
        batch_size: int,
        features: Callable = lambda descriptor: descriptor,
    ) -> np.ndarray:
        """What `features` makes of the descriptors of `rows`, float32 of shape (n, D)."""
        model = descriptor_model(lambda sample: features(self.describe(sample)), self.inputs)
        return predict_indices(model, self.inputs, self.dataset, indices, batch_size)


@dataclasses.dataclass(frozen=True)
class Sources:
    """The target's data set and the reference's."""

    own: Source
    reference: Source

    def tested(self, target: Target, batch_size: int, *features: Callable) -> np.ndarray:
        """Vectors of the templates, and then of all that `target.truth` tells of."""
        indices = np.concatenate([target.templates, target.test, target.aliens])
        own = self.own.vectors(indices, batch_size, *features)
        others = self.reference.vectors(target.reference_aliens, batch_size, *features)
        return np.concatenate([own, others])


def frozen_sources(config: Config, dataset: Dataset, reference: Dataset, parts: Parts) -> Sources:
    """What stage 1 reads; see `head_inputs`."""

    def source(dataset: Dataset, data) -> Source:
        _, inputs, describe = head_inputs(dataclasses.replace(config, data=data), dataset, parts)
        return Source(dataset, inputs, describe)

    return Sources(source(dataset, config.data), source(reference, config.reference))


def image_sources(config: Config, sources: Sources, parts: Parts) -> Sources:
    """What stage 2 reads."""

    def source(before: Source, data) -> Source:
        inputs = ImageInputs(before.dataset.images, data)
        return Source(before.dataset, inputs, lambda x: parts.descriptor(parts.backbone(x)))

    return Sources(source(sources.own, config.data), source(sources.reference, config.reference))


def build_features(config: Config, shape: tuple[int, ...], rank: int) -> keras.Model:
    """Descriptor to feature: standardised, then adapted."""
    with in_float32():
        standardized = build_embedding(config.head, shape, config.seed)
        adapted = LowRankAdapter(rank, name="adapter")(standardized.output)
        return keras.Model(standardized.input, adapted, name="features")


def first_features(config: Config, target: Target, sources: Sources, parts: Parts) -> keras.Model:
    """Descriptor to feature, before anything is learned: the descriptors' own geometry."""
    vectors = sources.own.vectors(target.train, config.trainer.batch_size)
    shape = parts.descriptor.output.shape[1:]
    features = build_features(config, shape, min(config.one_class.rank, len(vectors) - 1, *shape))
    if config.head.standardize and not parts.descriptor.trainable_weights:
        # A variance of 1 for each dimension, where compactness is a mean over them.
        standardize(
            features,
            sources.reference.describe,
            sources.reference.inputs,
            target.reference_train,
            config.trainer.batch_size,
            variance=float(shape[0]),
        )
    set_directions(features.get_layer("adapter"), vectors)
    return features


def train(
    config: Config, target: Target, sources: Sources, parts: Parts, folder: Path
) -> tuple[dict, Sources]:
    """Trains `parts.linear`, and in stage 2 the other parts too; returns the stages' records, and
    what the last stage reads."""
    classes = len(sources.reference.dataset.class_names)
    classifier = keras.layers.Dense(
        classes,
        kernel_initializer=keras.initializers.GlorotUniform(config.seed),
        dtype="float32",
        name="classifier",
    )
    stage = head_stage(
        config,
        _network(sources, parts.linear, classifier),
        sources.reference.inputs,
        compactness_objective(config.loss, classes),
        second_stream=_stream(target, sources.own),
    )
    records = {"head": _fit(stage, config, target, sources, folder)}
    if config.trainer.fine_tune_epochs:
        parts.unfreeze()
        sources = image_sources(config, sources, parts)
        stage = fine_tune_stage(
            config,
            _network(sources, parts.linear, classifier),
            sources.reference.inputs,
            compactness_objective(config.loss, classes),
            [*parts.linear.trainable_variables, *classifier.trainable_variables],
            second_stream=_stream(target, sources.own),
        )
        records["fine_tune"] = _fit(stage, config, target, sources, folder)
    return records, sources


def _network(
    sources: Sources, features: keras.Model, classifier: keras.layers.Dense
) -> keras.Model:
    """The reference's samples to logits, and the target's to features."""
    reference, own = (keras.Input(s.inputs.shape) for s in (sources.reference, sources.own))
    logits = classifier(features(sources.reference.describe(reference)))
    return keras.Model([reference, own], [logits, features(sources.own.describe(own))])


def _stream(target: Target, own: Source) -> Stream:
    return Stream(own.inputs, own.dataset.labels, target.train)


def _fit(stage: Stage, config: Config, target: Target, sources: Sources, folder: Path) -> dict:
    """All epochs: no figure that may be looked at tells when target and aliens part best."""
    splits = {"train": target.reference_train, "val": target.reference_train[:0]}
    reference = dataclasses.replace(sources.reference.dataset, splits=splits)
    return fit_stage(stage, reference, config, folder) | {"chosen_by": "last epoch"}
