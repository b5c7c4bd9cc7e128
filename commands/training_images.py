"""The images that a finished run has trained on, to be compared with new ones."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import run_folder
from conf.schema import Config
from data.content import hash_images
from data.datasets import open_all_images
from data.inputs import ImageInputs, Inputs
from data.known_images import known_images
from data.pipeline import evaluation_batches, user_errors
from data.progress import progress
from errors import UserError
from evaluation.prediction import descriptor_model
from evaluation.retrieval import most_similar
from models.parts import Parts, StageInput
from reporting.explanation import Neighbour
from training.feature_extraction import are_stored, inference, stored_features

BATCH = 32  # training images whose descriptors are in memory at once


class TrainingImages:
    """The training images of a run that are there, recognised by name and content.

    Features are read from the feature store if it holds those of all images of the run; otherwise
    each call of `nearest` reads the images. Nothing is stored.

    Args:
        folder: the run's folder.
        config: its configuration, with the place of its data now.
        parts: its model; neighbours are compared by the outputs of `parts.descriptor`.

    Raises:
        UserError: the data cannot be read, or none of the training images is there.
    """

    def __init__(self, folder: Path, config: Config, parts: Parts):
        stored, content = run_folder.read_splits(folder), run_folder.read_content(folder)
        dataset = open_all_images(config.data)
        if content:
            hash_images(dataset, dataset.indices)
        known = known_images(dataset, stored, content)
        self.indices, total = known.splits["train"], len(stored["train"])
        if not len(self.indices):
            raise UserError(f"{dataset.name}: none of the run's {total} training images is there")
        if len(self.indices) < total:
            note = "the nearest images are those of the others"
            gone = f"{total - len(self.indices)} of the run's {total} training images"
            print(f"{gone} are gone or have changed: {note}", file=sys.stderr)
        left = self.indices[:0]
        if config.data.shots is not None:  # the run has stored the features of all images
            left = np.setdiff1d(dataset.indices, np.concatenate(list(known.splits.values())))
        self.dataset = dataclasses.replace(dataset, splits=known.splits, left=left)
        self.images = ImageInputs(dataset.images, config.data)
        self.inputs: Inputs = self.images
        start = StageInput.images
        if config.trainer.feature_store and are_stored(config, self.dataset, parts.backbone):
            start = StageInput.features
            self.inputs = stored_features(config, self.dataset, parts.backbone)
        model = descriptor_model(lambda samples: parts.describe(samples, start), self.inputs)
        self._describe = inference(model)

    def nearest(self, queries: np.ndarray, count: int) -> list[list[Neighbour]]:
        """Returns the most similar training images of each query, most similar first.

        Args:
            queries: outputs of `parts.descriptor` in unit norm, (q, D).
            count: the number of neighbours; there are fewer if there are fewer training images.
        """
        indices, similarities = most_similar(queries, self._descriptors(), count)
        return [
            [
                Neighbour(int(index), *run_folder.name_and_label(self.dataset, index), float(value))
                for index, value in zip(*neighbours, strict=True)
            ]
            for neighbours in zip(indices, similarities, strict=True)
        ]

    def view(self, index: int) -> np.ndarray:
        """Returns an image as the network sees it."""
        return self.images.evaluation(np.array([index]))[0]

    def _descriptors(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        indices, labels = self.indices, self.dataset.labels
        batches = evaluation_batches(self.inputs, labels, indices, None, BATCH)
        with progress(len(indices), "comparing training images") as bar, user_errors():
            for start, (samples, _) in zip(range(0, len(indices), BATCH), batches, strict=True):
                vectors = self._describe(samples).numpy()
                yield indices[start : start + BATCH], vectors
                bar.update(len(vectors))
