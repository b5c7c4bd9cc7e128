"""task=classification: softmax, softmax with center loss, or linear SVMs."""

import logging
import math
from collections.abc import Callable

import keras
import numpy as np

import run_folder
from data.balanced_batches import balanced_batches
from evaluation.calibration import (
    chance_range,
    fit_temperature,
    softening_temperature,
    view_probabilities,
)
from evaluation.metrics import classification_metrics
from evaluation.prediction import predict_views
from experiments.two_stages import TwoStageExperiment
from models.classifier import (
    build_classifier,
    build_linear,
    complete,
    divide_logits,
    with_embedding,
)
from models.saved_model import save_model
from reporting.tensorboard import log_classification
from run_folder import Results
from training.objectives import Objective, classification_objective
from training.softmax_center import SoftmaxCenterModel, build_center_loss

SOFTENING_IMAGES = 2000  # training images that decide how certain the classifier is, at most

logger = logging.getLogger(__name__)


class Classification(TwoStageExperiment):
    """Trains and calibrates a classifier; reports the metrics of `classification_metrics`."""

    def build_model(self) -> None:
        config, dataset, classes = self.config, self.dataset, len(self.dataset.class_names)
        self.balance = balanced_batches(config.trainer, dataset.splits["train"], dataset.labels)
        # On one device this is build_classifier(config, classes), and the scope below does nothing.
        self.parts = self.workers.build(build_classifier, config, classes)
        self.check_inputs()
        with self.workers.scope():
            self.center_loss = build_center_loss(config, classes)
        size = self.parts.descriptor.output.shape[-1]
        logger.info("%s, %s: %d dimensions", config.backbone.name, config.head.name, size)

    def build_linear(self, shape: tuple[int, ...]) -> keras.Model:
        return build_linear(self.config, shape, len(self.dataset.class_names))

    def objective(self) -> Objective:
        return classification_objective(self.config.loss, len(self.dataset.class_names))

    def training_model(self) -> keras.Model | None:
        if self.center_loss is None:
            return None
        network = self.parts.network(self.start, with_embedding(self.parts.linear))
        with self.workers.scope():
            return SoftmaxCenterModel(network, self.center_loss, self.config.loss.center_weight)

    def softening(self) -> Callable[[], None] | None:
        share, train = self.config.trainer.fine_tune_start_loss, self.dataset.splits["train"]
        if share == 0:
            return None
        sample = train[:: math.ceil(len(train) / SOFTENING_IMAGES)]
        logits = predict_views(self.network(), self.inputs, sample, self.batch_size, mirror=False)
        softer = softening_temperature(logits[0], self.dataset.labels[sample], share)
        temperature = self.workers.broadcast_object(softer)
        if temperature == 1:
            return None

        def soften() -> None:
            logger.info("stage 2 starts with the logits of stage 1, divided by %.3g", temperature)
            divide_logits(self.parts.linear, temperature)

        return soften

    def score(self, split: str) -> dict | None:
        if not len(self.dataset.splits[split]):
            return None
        return self._metrics(split, view_probabilities(self._predict(split)))

    def evaluate(self) -> None:
        self.val, self.temperature = self.validation_metrics(), 1.0
        if self.config.trainer.calibrate:
            self._calibrate()
        if self.workers.is_chief:
            save_model(self.folder, complete(self.parts))
            logits = self._predict("test")
            self.probabilities = view_probabilities(logits)
            self.uncalibrated = view_probabilities(logits, 1 / self.temperature)
            self.test = self._metrics("test", self.probabilities)

    def report(self) -> Results:
        if not self.workers.is_chief:
            return Results(self.val, None)
        record = {"val": self.val, "test": self.test}
        if self.config.trainer.calibrate:
            record["calibration"] = self._calibration()
        path, dataset = self.folder / "predictions.csv", self.dataset
        run_folder.write_predictions(path, dataset, "test", self.probabilities)
        log_classification(
            self.config,
            self.folder,
            dataset,
            self.parts,
            self.probabilities,
            self.uncalibrated if self.temperature != 1 else None,
        )
        return self.finish({**record, **self.common_record()})

    def _calibrate(self) -> None:
        """Divides the model's logits by the temperature that fits the validation split.

        Checkpoints hold the weights before that, so a resumed run does not divide them twice.
        """
        logits = self._predict("val")
        fitted = fit_temperature(logits, self._labels("val"))
        self.temperature = self.workers.broadcast_object(fitted)
        for linear in {self.parts.linear, self.linear()}:  # two if stage 1 was on coordinates
            divide_logits(linear, self.temperature)
        if self.val is not None:
            self.val = self._metrics("val", view_probabilities(logits, self.temperature))

    def _calibration(self) -> dict:
        """Returns the field "calibration" of `metrics.json`."""

        def compared(before: dict, after: dict) -> dict:
            return {
                time: {name: metrics[name] for name in ("loss", "calibration_error")}
                for time, metrics in (("before", before), ("after", after))
            }

        val = self.validation_metrics()
        test = compared(self._metrics("test", self.uncalibrated), self.test)
        test["chance_range"] = list(chance_range(self.probabilities, self.config.seed))
        return {
            "temperature": self.temperature,
            "val": compared(val, self.val) if val and self.val else None,
            "test": test,
        }

    def _predict(self, split: str) -> np.ndarray:
        """Returns the logits of a split, of one view or two, (views, n, classes)."""
        indices, average_mirror = self.dataset.splits[split], self.config.data.average_mirror
        return predict_views(self.network(), self.inputs, indices, self.batch_size, average_mirror)

    def _labels(self, split: str) -> np.ndarray:
        return self.dataset.labels[self.dataset.splits[split]]

    def _metrics(self, split: str, probabilities: np.ndarray) -> dict:
        labels = self._labels(split)
        levels, top_k = self.dataset.levels, self.config.report.top_k
        return classification_metrics(probabilities, labels, levels, top_k)
