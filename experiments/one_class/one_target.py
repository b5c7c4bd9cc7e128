"""Trains, scores and records one target."""

import dataclasses
import time
from pathlib import Path

import keras

import run_folder
from conf.schema import Config
from experiments.one_class import results
from experiments.one_class.features import Sources, image_sources, initial_features
from experiments.one_class.targets import Target
from experiments.two_stages import TwoStageTrial
from models.backbones import weights_digest
from models.parts import Parts, StageInput
from models.saved_model import save_model
from training.distributed.workers import Workers
from training.objectives import Objective, compactness_objective
from training.two_streams import Stream


class OneTarget(TwoStageTrial):
    """Two streams through one network: cross-entropy on the reference, compactness of the target.

    Args:
        config, folder, workers: see `Experiment`; the folder is the target's.
        target: the images of each role.
        sources: what stage 1 reads, and the parts that all targets share.
        weights: the weights of the frozen backbone and descriptor.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        workers: Workers,
        target: Target,
        sources: Sources,
        weights: list,
    ):
        self.started = time.perf_counter()
        self.config, self.folder, self.workers = config, folder, workers
        self.target, self.sources, self.weights = target, sources, weights
        # No metric that may be looked at says when target and aliens differ most: no validation.
        splits = {"train": target.reference_train, "val": target.reference_train[:0]}
        self.dataset = dataclasses.replace(sources.reference.dataset, splits=splits)
        self.classes = len(self.dataset.class_names)

    def build_model(self) -> None:
        shared = self.sources.own.parts
        # The target before may have fine-tuned them.
        for model, weights in zip((shared.backbone, shared.descriptor), self.weights, strict=True):
            model.set_weights(weights)
        shared.backbone.trainable, shared.descriptor.trainable = False, True
        keras.utils.set_random_seed(self.config.seed)
        size = self.config.trainer.batch_size
        self.frozen = self.sources.tested(self.target, size)
        features = initial_features(self.config, self.target, self.sources)
        self.parts = Parts(shared.backbone, shared.descriptor, features)
        self.classifier = keras.layers.Dense(
            self.classes,
            kernel_initializer=keras.initializers.GlorotUniform(self.config.seed),
            dtype="float32",
            name="classifier",
        )

    def read_features(self) -> None:
        self.inputs = self.sources.reference.inputs

    def read_images(self) -> None:
        self.sources = image_sources(self.config, self.sources)
        self.inputs = self.sources.reference.inputs

    def initialize(self) -> None:
        """`initial_features` has set the features already."""

    def network(self) -> keras.Model:
        """Returns the model from reference and own samples to logits and own features."""
        own, reference = self.sources.own, self.sources.reference
        samples = [keras.Input(source.inputs.shape) for source in (reference, own)]
        logits = self.classifier(self.parts.linear(reference.describe(samples[0])))
        return keras.Model(samples, [logits, self.parts.linear(own.describe(samples[1]))])

    def second_stream(self) -> Stream:
        own = self.sources.own
        return Stream(own.inputs, own.dataset.labels, self.target.train)

    def objective(self) -> Objective:
        return compactness_objective(self.config.loss, self.classes)

    def fast_variables(self) -> list[keras.Variable]:
        return [*super().fast_variables(), *self.classifier.trainable_variables]

    def score(self, split: str) -> dict | None:
        return results.validation(self.config, self.target, self.sources, self.parts.linear)

    def finish_stage(self, name: str) -> None:
        self.stages[name]["chosen_by"] = "last epoch"

    def evaluate(self) -> None:
        config, target, size = self.config, self.target, self.config.trainer.batch_size
        learned = self.sources.tested(target, size, self.parts.linear)
        save_model(self.folder, self.parts.network(StageInput.images))
        scores = {
            "frozen": results.scored(config, target, self.frozen),
            "learned": results.scored(config, target, learned),
        }
        truth = target.truth()
        aurocs = {
            kind: {name: results.auroc(truth, values) for name, values in of_kind.items()}
            for kind, of_kind in scores.items()
        }
        record = {
            "val": self.score("val"),
            "test": {"auroc": aurocs["learned"]["k_nn"], "pictures": len(truth)},
            **aurocs,
            "stages": self.stages,
            "data": target.sizes(),
            "backbone_digest": weights_digest(self.parts.backbone),
            "seconds": round(time.perf_counter() - self.started, 3),
        }
        results.write_predictions(self.folder / "predictions.csv", target, self.sources, scores)
        results.draw_curves(self.folder, target, scores)
        run_folder.write_json(self.folder / "target.json", record)
