"""The two-stage protocol: train the head on the frozen backbone, then fine-tune both."""

import abc
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import keras

from conf.schema import Config, OptimizerConfig, Solver
from data.balanced_batches import BalancedBatches
from data.datasets import Dataset
from data.inputs import ImageInputs, Inputs, MemoryInputs
from data.pipeline import user_errors
from data.shard_store import CannotStore
from experiments.experiment import Experiment, Trial
from models.backbones import depth_factors, weights_digest
from models.parts import Parts, StageInput
from reporting.training_batch import log_training_batch
from training.distributed.workers import Workers
from training.feature_extraction import stage_1_inputs
from training.initialization import initialize_from_data
from training.objectives import Objective
from training.optimizers import stage_2_options
from training.smaller_side import SmallerSide, why_not
from training.solvers import check_memory, fit_solver, given_strength
from training.stage import Stage, fit_stage, stage_batches
from training.two_streams import Stream

logger = logging.getLogger(__name__)


class TwoStageTrial(Trial):
    """A model that is trained in two stages; a task defines the model, the objective and the score.

    Attributes:
        config, folder, workers: see `Experiment`.
        dataset: the data set whose training and validation splits are read.
        parts: the model, set by `build_model`.
        balance: balanced training batches; `None`: shuffled batches.
        start: the kind of samples that the current stage reads.
        inputs: these samples.
        batch_size: samples per batch of the current stage.
        stages: the record of each stage so far.
        smaller_side: stage 1 on coordinates of the descriptors; `None` otherwise and in stage 2.
    """

    config: Config
    folder: Path
    workers: Workers
    dataset: Dataset
    parts: Parts
    balance: BalancedBatches | None = None
    start: StageInput
    inputs: Inputs
    batch_size: int
    stages: dict[str, dict]
    smaller_side: SmallerSide | None = None

    @abc.abstractmethod
    def objective(self) -> Objective:
        """Returns the loss and the metrics of a stage."""

    @abc.abstractmethod
    def score(self, split: str) -> dict | None:
        """Returns the metrics of the current model on a split; `None` if it is empty."""

    def network(self) -> keras.Model:
        """Returns the model from what the stage reads to what the objective compares."""
        if self.smaller_side is not None:
            return self.smaller_side.linear
        return self.parts.network(self.start)

    def linear(self) -> keras.Model:
        """Returns the linear part of the current stage."""
        return self.parts.linear if self.smaller_side is None else self.smaller_side.linear

    def training_model(self) -> keras.Model | None:
        """Returns the model that is fitted, if it is not `network`."""
        return None

    def second_stream(self) -> Stream | None:
        """Returns the samples of the model's second input, if it has two."""
        return None

    def train_head(self) -> None:
        config = self.config
        self.stages = {}
        self.batch_size = config.trainer.batch_size
        self.read_features()
        self.initialize()
        if config.trainer.epochs == 0:
            chosen = {"chosen_epoch": 0, "chosen_by": "trainer.epochs=0"}
            self.stages["head"] = {"epochs": 0, **chosen, "seconds": 0.0}
            self.finish_stage("head")
        elif config.solver is Solver.sgd:
            self._fit("head", config.trainer.epochs, 0, config.optimizer)
        else:
            # `check_memory` and the rules of the configuration guarantee it.
            assert isinstance(self.inputs, MemoryInputs)
            self.stages["head"] = fit_solver(
                config,
                self.linear(),
                self.inputs,
                self.dataset,
                self.folder,
                lambda: self.score("val"),
            )
            self.finish_stage("head")
        if self.smaller_side is not None:
            self.smaller_side.write_back()

    def fine_tune(self) -> None:
        trainer, optimizer = self.config.trainer, self.config.optimizer
        if trainer.fine_tune_epochs:
            self.batch_size = trainer.fine_tune_batch_size
            self.parts.unfreeze(trainer.frozen_blocks)
            prepare = self.softening()
            self.read_images()
            options = stage_2_options(optimizer, trainer.fine_tune_epochs)
            factors = self.rate_factors()
            self._fit(
                "fine_tune", trainer.fine_tune_epochs, trainer.epochs, options, factors, prepare
            )

    def softening(self) -> Callable[[], None] | None:
        """Returns a function that makes the classifier less certain before stage 2, or `None`.

        It is called while the inputs are those of stage 1.
        """
        return None

    def read_features(self) -> None:
        """Sets the inputs of stage 1; see `stage_1_inputs`."""
        self.start, self.inputs = stage_1_inputs(self.config, self.dataset, self.parts)

    def read_images(self) -> None:
        """Sets the inputs of stage 2: images."""
        self.smaller_side = None
        self.start = StageInput.images
        self.inputs = ImageInputs(self.dataset.images, self.config.data)

    def initialize(self) -> None:
        """Sets the layers that are initialised from training descriptors."""
        parts = dataclasses.replace(self.parts, linear=self.linear())
        initialize_from_data(self.config, self.dataset, parts, self.inputs, self.describe)

    def describe(self, samples):
        """Returns the descriptors of a batch of samples of the current stage."""
        return self.parts.describe(samples, self.start)

    def fast_variables(self) -> list[keras.Variable]:
        """Returns the variables that learn faster in stage 2."""
        return self.parts.linear.trainable_variables

    def finish_stage(self, name: str) -> None:
        """Adds the validation metrics to the record of a stage."""
        self.stages[name]["val"] = self.score("val")

    def rate_factors(self) -> dict[str, float]:
        """Returns the factors on the learning rates of stage 2, by the paths of the variables."""
        optimizer = self.config.optimizer
        factors = depth_factors(self.parts.backbone, optimizer.depth_factor)
        fast = self.fast_variables()
        return factors | {variable.path: optimizer.classifier_factor for variable in fast}

    def _fit(
        self,
        name: str,
        epochs: int,
        first_epoch: int,
        optimizer: OptimizerConfig,
        factors: dict[str, float] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        stage = Stage(
            name,
            self.network(),
            self.inputs,
            epochs,
            first_epoch,
            self.batch_size,
            optimizer.learning_rate,
            self.objective(),
            factors or {},
            self.balance,
            self.second_stream(),
            self.training_model(),
            self.smaller_side is not None,
            None if name == "head" else self.stages["head"]["chosen_epoch"],
            prepare,
            0.0 if name == "head" else optimizer.fine_tune_average_epochs,
        )
        config = dataclasses.replace(self.config, optimizer=optimizer)
        started = any((self.folder / "checkpoints").glob(f"{name}.*"))
        if isinstance(self.inputs, ImageInputs) and self.workers.replicas == 1 and not started:
            self._show_first_batch(stage, config)
        record = fit_stage(stage, self.dataset, config, self.folder, self.workers)
        self.stages[name] = record
        self.finish_stage(name)

    def _show_first_batch(self, stage: Stage, config: Config) -> None:
        """Writes the first batch of a stage to TensorBoard, as the network sees it."""
        with user_errors():
            batches = iter(stage_batches(stage, self.dataset, config, stage.first_epoch))
            images, labels = (tensor.numpy() for tensor in next(batches))
        names, epoch = self.dataset.class_names, stage.first_epoch
        log_training_batch(self.folder, stage.name, images, labels, names, epoch)


class TwoStageExperiment(Experiment, TwoStageTrial):
    """An experiment with one model: it is its own and only trial.

    Attributes:
        why_not: why stage 1 trains on descriptors; `None` if it trains on coordinates.
    """

    why_not: str | None = None

    @abc.abstractmethod
    def build_linear(self, shape: tuple[int, ...]) -> keras.Model:
        """Returns a linear part like that of `parts` for samples of `shape`."""

    def trials(self) -> Iterator[Trial]:
        yield self

    def check_inputs(self) -> None:
        """Decides how stage 1 trains; refuses what cannot be trained, before the features.

        `build_model` calls it.
        """
        config, parts = self.config, self.parts
        if config.solver is not Solver.sgd:
            given_strength(config, self.dataset)
        reason = why_not(config, self.dataset, parts, self.folder, self.workers)
        if reason is not None:
            self._train_on_descriptors(reason)

    def _train_on_descriptors(self, reason: str) -> None:
        self.why_not = reason
        if self.config.solver is not Solver.sgd:
            check_memory(self.config, self.dataset, self.parts.descriptor)

    def read_features(self) -> None:
        config, dataset, parts = self.config, self.dataset, self.parts
        if self.why_not is None:
            try:
                self.smaller_side = SmallerSide(config, dataset, parts, self.build_linear)
            except CannotStore as error:
                logger.warning("%s", error)
                self._train_on_descriptors("inner products cannot be stored")
        if self.smaller_side is None:
            logger.info("stage 1 on descriptors: %s", self.why_not)
            super().read_features()
        else:
            self.start, self.inputs = StageInput.coordinates, self.smaller_side.inputs
            logger.info("stage 1 on %d coordinates of each image", *self.inputs.shape)
        self.compare_images(dataset)

    def validation_metrics(self) -> dict | None:
        """Returns the validation metrics of the final model."""
        return list(self.stages.values())[-1]["val"]

    def common_record(self) -> dict:
        """Returns the fields of `metrics.json` that the tasks share."""
        return {
            "stages": self.stages,
            "data": self.dataset.sizes(),
            "descriptor_size": self.parts.descriptor.output.shape[-1],
            "backbone_digest": weights_digest(self.parts.backbone),
            "precision": self.config.trainer.precision.value,
            "seconds": self.seconds(),
        }
