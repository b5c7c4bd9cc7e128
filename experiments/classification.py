"""task=classification: softmax, softmax with center loss, or linear SVMs."""

import logging

import keras
import numpy as np

import run_folder
from conf.schema import Solver
from data.balanced_batches import balanced_batches
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_indices
from experiments.two_stages import TwoStageExperiment
from models.classifier import build_classifier, complete, with_embedding, with_probabilities
from models.parts import StageInput
from models.saved_model import save_model
from reporting.tensorboard import log_classification
from run_folder import Results
from training.objectives import Objective, classification_objective
from training.smaller_side import SmallerSide, why_not
from training.softmax_center import SoftmaxCenterModel, build_center_loss
from training.solvers import check_memory, given_strength

logger = logging.getLogger(__name__)


class Classification(TwoStageExperiment):
    """Trains a classifier; reports accuracy, top-5 accuracy and cross-entropy."""

    def build_model(self) -> None:
        config, dataset, classes = self.config, self.dataset, len(self.dataset.class_names)
        self.balance = balanced_batches(config.trainer, dataset.splits["train"], dataset.labels)
        # On one device this is build_classifier(config, classes), and the scope below does nothing.
        self.parts = self.workers.build(build_classifier, config, classes)
        self.why_not = why_not(config, dataset, self.parts, self.folder, self.workers)
        if config.solver is not Solver.sgd:
            given_strength(config, dataset)  # refuses what cannot be chosen, before the features
            if self.why_not:
                check_memory(config, dataset, self.parts.descriptor)
        with self.workers.scope():
            self.center_loss = build_center_loss(config, classes)
        size = self.parts.descriptor.output.shape[-1]
        logger.info("%s, %s: %d dimensions", config.backbone.name, config.head.name, size)

    def read_features(self) -> None:
        if self.why_not:
            logger.info("stage 1 on descriptors: %s", self.why_not)
            super().read_features()
            return
        self.smaller_side = SmallerSide(self.config, self.dataset, self.parts)
        self.start, self.inputs = StageInput.coordinates, self.smaller_side.inputs
        logger.info("stage 1 on %d coordinates of each image", *self.inputs.shape)
        self.compare_images(self.dataset)

    def objective(self) -> Objective:
        return classification_objective(self.config.loss, len(self.dataset.class_names))

    def training_model(self) -> keras.Model | None:
        if self.center_loss is None:
            return None
        network = self.parts.network(self.start, with_embedding(self.parts.linear))
        with self.workers.scope():
            return SoftmaxCenterModel(network, self.center_loss, self.config.loss.center_weight)

    def score(self, split: str) -> dict | None:
        if not len(self.dataset.splits[split]):
            return None
        return self._metrics(self._predict(split), split)

    def evaluate(self) -> None:
        if self.workers.is_chief:
            save_model(self.folder, complete(self.parts))
            self.probabilities = self._predict("test")
            self.test = self._metrics(self.probabilities, "test")

    def report(self) -> Results:
        val = self.validation_metrics()
        if not self.workers.is_chief:
            return Results(val, None)
        record = {"val": val, "test": self.test, **self.common_record()}
        path, dataset = self.folder / "predictions.csv", self.dataset
        run_folder.write_predictions(path, dataset, "test", self.probabilities)
        log_classification(self.config, self.folder, dataset, self.parts, self.probabilities)
        return self.finish(record)

    def _predict(self, split: str) -> np.ndarray:
        model, indices = with_probabilities(self.network()), self.dataset.splits[split]
        average_mirror = self.config.data.average_mirror
        return predict_indices(model, self.inputs, indices, self.batch_size, average_mirror)

    def _metrics(self, probabilities: np.ndarray, split: str) -> dict:
        dataset = self.dataset
        labels = dataset.labels[dataset.splits[split]]
        return classification_metrics(probabilities, labels, dataset.levels)
