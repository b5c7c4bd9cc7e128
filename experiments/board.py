"""What TensorBoard shows of a finished classification, beside its curves."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from conf.schema import Config, Pooling
from data.datasets import Dataset
from data.inputs import PictureInputs
from experiments import class_figures, figures
from experiments.evidence import evidence, pooled_maps
from experiments.spectrum import draw_spectra, spectra
from models.classifier import Classifier

MOST_SHOWN = 12  # pictures with their evidence
SPECTRA = 16  # pictures whose spectra are drawn


def log_classification(
    config: Config, folder: Path, dataset: Dataset, classifier: Classifier,
    probabilities: np.ndarray,
) -> None:
    """Writes graph and pictures of the test split's predictions.

    Args:
        folder: the run's.
        probabilities: of the test split, (n, classes).
    """
    rows = dataset.splits["test"]
    labels, predictions = dataset.labels[rows], probabilities.argmax(axis=1)
    accuracies = class_figures.class_accuracies(labels, predictions, dataset.class_names)
    images = {
        "confusion": figures.confusion_matrix(labels, predictions, dataset.class_names),
        "worst mistakes": figures.worst_mistakes(dataset, "test", probabilities, config.data),
        "accuracy by class": class_figures.draw_accuracies(accuracies),
        "confused pairs": class_figures.draw_confused_pairs(
            dataset, "test", probabilities, config.data
        ),
        "evidence": evidence(config, dataset, classifier, probabilities, _one_of_each(labels)),
    }
    if config.head.pooling is Pooling.second_order:
        some = rows[:: -(-len(rows) // SPECTRA)]
        pictures = PictureInputs(dataset.pictures, config.data).evaluation(some)
        pooling = classifier.descriptor.get_layer("second_order")
        found = spectra(pooling, pooled_maps(classifier, pictures))
        images["spectrum"] = draw_spectra(*found, pooling.root)
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(step=0):
        # Under a name of its own: TensorBoard shows one kind of thing a tag.
        tf.summary.text("test/table of classes", class_figures.accuracy_markdown(accuracies))
        for name, image in images.items():
            tf.summary.image(f"test/{name}", image[None])
        tf.summary.graph(_graph(classifier))


def _one_of_each(labels: np.ndarray) -> np.ndarray:
    """Places of the first pictures of each class, then of the second ones, and so on."""
    times = np.array([np.sum(labels[:i] == label) for i, label in enumerate(labels)])
    return np.lexsort((labels, times))[:MOST_SHOWN]


def _graph(classifier: Classifier) -> tf.Graph:
    model = classifier.complete
    shape = (None, *model.input.shape[1:])
    return tf.function(lambda pictures: model(pictures, training=False)).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    ).graph
