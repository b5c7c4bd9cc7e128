"""What TensorBoard shows of a finished classification, beside its curves."""

import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def

from conf.schema import Config, Pooling
from data.datasets import Dataset
from data.inputs import ImageInputs
from models.classifier import complete
from models.parts import Parts
from reporting import class_plots, plots
from reporting.confusion_matrix import draw_confusion
from reporting.evidence import contributions, draw_evidence, pooled_maps
from reporting.spectrum import draw_spectra, spectra
from reporting.summaries import log_image

MOST_SHOWN = 9  # pictures with their evidence, and in the spectrum


def log_classification(
    config: Config,
    folder: Path,
    dataset: Dataset,
    classifier: Parts,
    probabilities: np.ndarray,
) -> None:
    """Writes graph and pictures of the test split's predictions.

    Args:
        folder: the run's.
        probabilities: of the test split, (n, classes).
    """
    labels = dataset.labels[dataset.splits["test"]]
    predictions = probabilities.argmax(axis=1)
    accuracies = class_plots.class_accuracies(labels, predictions, dataset.class_names)
    charts = {
        "confusion": draw_confusion(labels, predictions, dataset.class_names),
        "accuracy by class": class_plots.draw_accuracies(accuracies),
    }
    split = (dataset, "test", probabilities, config.data)
    photos = {
        "worst mistakes": plots.worst_mistakes(*split),
        "confused pairs": class_plots.draw_confused_pairs(*split),
    }
    some = _one_of_each(labels)
    images = ImageInputs(dataset.images, config.data).evaluation(dataset.splits["test"][some])
    maps = pooled_maps(classifier, images)
    order = np.argsort(-probabilities[some], axis=1, kind="stable")
    parts = contributions(
        config.head, config.seed, classifier.linear, maps, order[:, 0], order[:, 1]
    )
    photos["evidence"] = draw_evidence(dataset, images, some, order, parts)
    if config.head.pooling is Pooling.second_order:
        pooling = classifier.descriptor.get_layer("second_order")
        charts["spectrum"] = draw_spectra(*spectra(pooling, maps), pooling.root)
    with tf.summary.create_file_writer(str(folder / "tensorboard")).as_default(step=0):
        # Under a name of its own: TensorBoard shows one kind of thing a tag.
        tf.summary.text("test/table of classes", class_plots.accuracy_markdown(accuracies))
        for name, image in charts.items():
            log_image(folder / "tensorboard", f"test/{name}", image, "PNG")
        for name, image in photos.items():
            log_image(folder / "tensorboard", f"test/{name}", image, "JPEG")
        tf.summary.graph(_graph(complete(classifier)))


def _one_of_each(labels: np.ndarray) -> np.ndarray:
    """Places of the first pictures of each class, then of the second ones, and so on."""
    by_class = np.argsort(labels, kind="stable")
    of_class = labels[by_class]
    times = np.arange(len(labels)) - np.searchsorted(of_class, of_class)
    return by_class[np.lexsort((of_class, times))][:MOST_SHOWN]


def _graph(model: keras.Model) -> tf.compat.v1.GraphDef:
    """Its layers: TensorFlow's operations would be many more, and take long to trace."""
    graph = keras_model_to_graph_def(json.loads(model.to_json()))
    last = {}  # layer of each part: TensorBoard's own graph ends at the part
    for node in graph.node:
        node.op = node.attr["keras_class"].s.decode()
        node.name = node.name.removeprefix(f"{model.name}/")
        inputs = [name.removeprefix(f"{model.name}/") for name in node.input]
        node.input[:] = [last.get(name, name) for name in inputs]
        last[node.name.rpartition("/")[0]] = node.name
    return tf.compat.v1.GraphDef.FromString(graph.SerializeToString())
