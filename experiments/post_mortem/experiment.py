"""task=post_mortem: which faults of a re-implemented head keep it at 30%?

The head of `faulty_head.py` is trained with all its faults, with each one repaired, with each one
alone, and with none, on the same frozen features. Each variant has a folder of its own, so that an
interrupted run resumes at the variant where it stopped.
"""

import dataclasses
import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

import files
import run_folder
from conf.schema import Config, Schedule
from data.datasets import Dataset
from data.inputs import ArrayInputs, MemoryInputs
from data.pipeline import steps
from errors import UserError
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_indices
from experiments.experiment import Experiment, Trial
from experiments.post_mortem.faulty_head import (
    IN_POOLING,
    VARIANTS,
    Fault,
    Faults,
    build_faulty_descriptor,
    build_norm,
)
from experiments.post_mortem.in_memory import fit_in_memory, training_step
from models.backbones import build_backbone
from models.classifier import build_linear, complete, with_probabilities
from models.parts import Parts
from models.saved_model import save_model
from run_folder import Results
from training.feature_extraction import descriptors, fits_in_memory, stored_features
from training.initialization import standardize
from training.optimizers import build_optimizer

FEW_STEPS = 490
LOW_RATE = 1e-3
RANDOM_START = True  # of the classifier, as in the re-implementations
TIMED_STEPS = 5  # the fastest of them counts
TIMED_SAMPLES = 2  # of a batch, for heads with loops: their time is proportional to the samples

logger = logging.getLogger(__name__)


class PostMortem(Experiment, Trial):
    """Trains and times every variant of the head.

    The record has "variants": the metrics of each, its "step_seconds" and the record of its
    training. "val" and "test" are those of the variant without fault.
    """

    def trials(self) -> Iterator[Trial]:
        yield self

    def build_model(self) -> None:
        """Builds the backbone; the variants share its features."""
        self.backbone = build_backbone(self.config.backbone, self.config.data.image_size)
        if len(self.backbone.output.shape) != 4:
            raise UserError(
                f"backbone.name={self.config.backbone.name}: returns tokens, and task=post_mortem "
                "pools feature maps; choose a convolutional backbone"
            )
        self.features = stored_features(self.config, self.dataset, self.backbone)
        self.compare_images(self.dataset)

    def train_head(self) -> None:
        """Trains the variants that have no record yet; loops do not change the metrics."""
        trained = {faults - {Fault.loops} for faults in VARIANTS.values()}
        for pooling, members in itertools.groupby(sorted(trained, key=_pooling_first), _pooling):
            missing = [faults for faults in members if not self._record(faults).exists()]
            if missing:
                self._train(pooling, missing)

    def fine_tune(self) -> None:
        """The variants have no second stage."""

    def evaluate(self) -> None:
        """Times a training step of each variant; `fit_head` has computed the metrics."""
        self.variants = {}
        for name, faults in VARIANTS.items():
            record = files.read_json(self._record(faults - {Fault.loops}))
            seconds = _step_seconds(self.config, self.dataset, self.features, faults)
            logger.info("%s: %.3f seconds per step", name, seconds)
            self.variants[name] = record | {"step_seconds": seconds}

    def report(self) -> Results:
        return self.finish(
            {
                **{split: self.variants["no fault"][split] for split in ("val", "test")},
                "variants": self.variants,
                "data": self.dataset.sizes(),
                "precision": self.config.trainer.precision.value,
                "seconds": self.seconds(),
            }
        )

    def _record(self, faults: Faults) -> Path:
        names = {own: name for name, own in VARIANTS.items()}
        name = names.get(faults) or names[faults | {Fault.loops}]
        name = name.replace(" ", "-").replace(",", "")
        return self.folder / "variants" / name / "record.json"

    def _train(self, pooling: Faults, variants: list[Faults]) -> None:
        """Trains variants that share their pooling, from descriptors that are pooled once."""
        config, size = self.config, self.config.trainer.batch_size
        descriptor = build_faulty_descriptor(config, pooling, self.features.shape, size)
        if not fits_in_memory(config, self.dataset, descriptor):
            raise UserError(
                f"trainer.stage_1_gib={config.trainer.stage_1_gib:g}: task=post_mortem keeps "
                "all descriptors in memory; raise it, or set data.mirror=false or data.limit"
            )
        inputs = descriptors(config, self.features, descriptor)
        for faults in variants:
            path = self._record(faults)
            name = path.parent.name
            model, record = fit_head(config, self.dataset, inputs, faults, name)
            logger.info("%s: test accuracy %.4f", name, record["test"]["accuracy"])
            if not faults:
                save_model(self.folder, complete(Parts(self.backbone, descriptor, model)))
            run_folder.write_json(path, record)


def _pooling(faults: Faults) -> Faults:
    return faults & IN_POOLING


def _pooling_first(faults: Faults) -> tuple[list[str], list[str]]:
    """A sort key that puts variants with the same pooling next to each other."""
    return sorted(f.name for f in _pooling(faults)), sorted(f.name for f in faults)


def fit_head(
    config: Config,
    dataset: Dataset,
    inputs: MemoryInputs,
    faults: Faults,
    description: str = "head",
) -> tuple[keras.Model, dict]:
    """Trains the part of a variant behind its pooling.

    Args:
        config: the configuration of the run, without faults.
        dataset: the data set with its splits.
        inputs: descriptors of all splits, before the L2 norm. Faults of the pooling are in them.
        faults: see `faulty_head.py`.
        description: name of the variant, for the progress bar.

    Returns:
        The model from these descriptors to logits, and its record: "val", "test" and "stages".
    """
    keras.utils.set_random_seed(config.seed)
    config = _with_faults(config, dataset, faults)
    norm = build_norm(faults)
    linear = build_linear(config, inputs.shape, len(dataset.class_names), RANDOM_START)
    if config.head.standardize:
        standardize(linear, norm, inputs, dataset.splits["train"], config.trainer.batch_size)
    vector = keras.Input(inputs.shape)
    model = keras.Model(vector, linear(norm(vector)))
    record = fit_in_memory(model, inputs, dataset, config, description)
    metrics = {split: _metrics(config, model, inputs, dataset, split) for split in ("val", "test")}
    return model, {"stages": {"head": record}, **metrics}


def _with_faults(config: Config, dataset: Dataset, faults: Faults) -> Config:
    """Returns `config` with the faults that are options; the few steps are rounded to epochs."""
    head, trainer, optimizer = config.head, config.trainer, config.optimizer
    if Fault.unit_norm in faults:
        head = dataclasses.replace(head, standardize=False)
    if Fault.steps in faults:
        epoch = steps(dataset.splits["train"], trainer.batch_size)
        few_epochs = min(trainer.epochs, max(1, round(FEW_STEPS / epoch)))
        trainer = dataclasses.replace(trainer, epochs=few_epochs)
    if Fault.learning_rate in faults:
        optimizer = dataclasses.replace(
            optimizer, learning_rate=LOW_RATE, momentum=0.0, schedule=Schedule.constant
        )
    return dataclasses.replace(config, head=head, trainer=trainer, optimizer=optimizer)


def _metrics(
    config: Config, model: keras.Model, inputs: MemoryInputs, dataset: Dataset, split: str
) -> dict | None:
    indices = dataset.splits[split]
    if not len(indices):
        return None
    batch_size, average_mirror = config.trainer.batch_size, config.data.average_mirror
    model = with_probabilities(model)
    probabilities = predict_indices(model, inputs, indices, batch_size, average_mirror)
    labels = dataset.labels[indices]
    return classification_metrics(probabilities, labels, dataset.levels, config.report.top_k)


def _step_seconds(config: Config, dataset: Dataset, features: ArrayInputs, faults: Faults) -> float:
    """Returns the seconds of a training step on a batch of feature maps.

    Loops run eagerly, because tracing them takes minutes, and over a few samples, from which the
    time of a batch is extrapolated.
    """
    looped = Fault.loops in faults
    size = config.trainer.batch_size
    indices = dataset.splits["train"][: min(TIMED_SAMPLES, size) if looped else size]
    maps, labels = features.evaluation(indices), dataset.labels[indices]
    descriptor = build_faulty_descriptor(config, faults, features.shape, len(indices))
    linear = build_linear(config, descriptor.output.shape[1:], len(dataset.class_names))
    sample = keras.Input(features.shape)
    model = keras.Model(sample, linear(build_norm(faults)(descriptor(sample))))
    step = training_step(model, build_optimizer(config.optimizer, LOW_RATE))
    if not looped:
        step = tf.function(step)
    seconds = []
    for _ in range(2 if looped else TIMED_STEPS):
        started = time.perf_counter()
        step(maps, labels)
        seconds.append(time.perf_counter() - started)
    return round(min(seconds) * size / len(indices), 4)
