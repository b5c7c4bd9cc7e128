"""task=metric_learning: trains an embedding on some classes, and retrieves images of the others."""

import logging

import keras
import numpy as np

import run_folder
from conf.schema import PRIMARY_METRIC, Task
from data.balanced_batches import balanced_batches
from evaluation.prediction import descriptor_model, predict_indices
from evaluation.retrieval import nearest, recall_at_1, retrieval_metrics, unit
from event_file import EventFile
from experiments.two_stages import TwoStageExperiment
from models.embedding import build_embedder, build_unit_embedding
from models.parts import StageInput
from models.saved_model import save_model
from reporting import plots, projector
from reporting.image_summary import image_pb, write_png
from reporting.rendering import drawn
from run_folder import Results
from training.objectives import Objective, metric_objective

SHOWN = 5  # neighbours of a query in the plot

logger = logging.getLogger(__name__)


class MetricLearning(TwoStageExperiment):
    """Trains with triplet losses; reports Recall@K, MAP@R and NMI on classes not trained on."""

    disjoint_classes = True

    def build_model(self) -> None:
        config, dataset = self.config, self.dataset
        self.balance = balanced_batches(config.trainer, dataset.splits["train"], dataset.labels)
        self.parts = self.workers.build(build_embedder, config)
        self.check_inputs()
        logger.info(
            "%s, %s: %d dimensions, embedded in %d",
            config.backbone.name,
            config.head.name,
            self.parts.descriptor.output.shape[-1],
            config.head.embedding,
        )

    def build_linear(self, shape: tuple[int, ...]) -> keras.Model:
        return build_unit_embedding(self.config.head, shape, self.config.seed)

    def initialize(self) -> None:
        """Scores the descriptors as they are, before the embedding is initialised from them."""
        if self.smaller_side is None:
            vectors = self._vectors(descriptor_model(self.describe, self.inputs), "test")
        else:
            indices, average_mirror = self.dataset.splits["test"], self.config.data.average_mirror
            vectors = self.smaller_side.vectors(indices, average_mirror)
        self.untrained = self._metrics(unit(vectors), "test")
        super().initialize()

    def objective(self) -> Objective:
        labels = self.dataset.labels[self.dataset.splits["val"]]

        def validate(model: keras.Model) -> dict[str, float]:
            recall = recall_at_1(self._vectors(model, "val"), labels)
            return {PRIMARY_METRIC[Task.metric_learning]: recall}

        return metric_objective(self.config.loss, validate)

    def score(self, split: str) -> dict | None:
        if not len(self.dataset.splits[split]):
            return None
        return self._metrics(self._vectors(self.network(), split), split)

    def evaluate(self) -> None:
        if self.workers.is_chief:
            save_model(self.folder, self.parts.network(StageInput.images))
            self.vectors = self._vectors(self.network(), "test")
            self.test = self._metrics(self.vectors, "test")

    def report(self) -> Results:
        val = self.validation_metrics()
        if not self.workers.is_chief:
            return Results(val, None)
        record = {
            "val": val,
            "test": self.test,
            "untrained": self.untrained,
            "embedding_size": self.config.head.embedding,
            **self.common_record(),
        }
        self._show_neighbours()
        return self.finish(record)

    def _show_neighbours(self) -> None:
        """Writes the nearest neighbours of the test images, and the projector's embeddings."""
        folder, dataset, data = self.folder, self.dataset, self.config.data
        neighbours = nearest(self.vectors, SHOWN)
        run_folder.write_neighbours(folder / "predictions.csv", dataset, "test", neighbours[:, 0])
        projector.write(folder / "tensorboard", "test", self.vectors, dataset, "test", data)
        plot = drawn("neighbours", lambda: plots.neighbours(dataset, "test", neighbours, data))
        if plot is None:
            return
        write_png(folder / "neighbours.png", plot)
        with EventFile(folder / "tensorboard") as events:
            events.write([image_pb("test/neighbours", plot, "JPEG")])

    def _vectors(self, model: keras.Model, split: str) -> np.ndarray:
        indices, average_mirror = self.dataset.splits[split], self.config.data.average_mirror
        batch_size = self.config.trainer.batch_size
        return predict_indices(model, self.inputs, indices, batch_size, average_mirror)

    def _metrics(self, vectors: np.ndarray, split: str) -> dict:
        labels = self.dataset.labels[self.dataset.splits[split]]
        return retrieval_metrics(vectors, labels, self.config.seed)
