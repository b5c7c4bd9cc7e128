"""TensorBoard's page of a finished classification: graph, plots and images of the test split."""

import functools
import json
from pathlib import Path

import keras
import numpy as np
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.graph.keras_util import keras_model_to_graph_def
from tensorboard.plugins.text.summary_v2 import text_pb

from conf.schema import Config, Pooling
from data.datasets import Dataset
from data.inputs import ImageInputs
from evaluation.calibration import reliability
from event_file import EventFile
from models.classifier import complete
from models.parts import Parts
from reporting import class_plots, plots
from reporting.confusion_matrix import draw_confusion_matrix
from reporting.evidence import POOLINGS, contributions, draw_evidence, pooled_maps
from reporting.image_summary import image_pb
from reporting.reliability import draw_reliability
from reporting.rendering import drawn
from reporting.spectrum import draw_spectra, spectra

MAX_IMAGES = 9  # images in "evidence" and "spectrum"


def log_classification(
    config: Config,
    folder: Path,
    dataset: Dataset,
    classifier: Parts,
    probabilities: np.ndarray,
    uncalibrated: np.ndarray | None = None,
) -> None:
    """Writes the model's graph, and plots of the predictions for the test split.

    Args:
        config: the run's configuration.
        folder: the run's folder.
        dataset: the data set with its test split.
        classifier: the trained classifier.
        probabilities: predictions for the test split, (n, classes).
        uncalibrated: the same before calibration. Default: `None`, there was none.
    """
    names, labels = dataset.class_names, dataset.labels[dataset.splits["test"]]
    predictions = probabilities.argmax(axis=1)
    accuracies = class_plots.class_accuracies(labels, predictions, names)
    predicted = (dataset, "test", probabilities, config.data)
    shown = _first_of_each_class(labels)[:MAX_IMAGES]
    indices = dataset.splits["test"][shown]

    @functools.cache
    def images() -> np.ndarray:
        return ImageInputs(dataset.images, config.data).evaluation(indices)

    @functools.cache
    def maps() -> np.ndarray:
        features = classifier.backbone(images().astype(np.float32), training=False)
        return pooled_maps(classifier.descriptor, features)

    def evidence() -> np.ndarray:
        best = np.argsort(-probabilities[shown], axis=1, kind="stable")[:, :2]
        shares = contributions(config.head, config.seed, classifier.linear, maps(), best)
        return draw_evidence(names, images(), labels[shown], best, shares)

    def spectrum() -> np.ndarray:
        pooling = classifier.descriptor.get_layer("second_order")
        return draw_spectra(*spectra(pooling, maps()), pooling.root)

    def reliability_diagrams() -> np.ndarray:
        stages = {"predictions": probabilities}
        if uncalibrated is not None:
            stages = {"before calibration": uncalibrated, "after calibration": probabilities}
        return draw_reliability({name: reliability(p, labels) for name, p in stages.items()})

    charts = {
        "test/confusion": lambda: draw_confusion_matrix(labels, predictions, names, dataset.levels),
        "test/accuracy by class": lambda: class_plots.draw_accuracies(accuracies, len(names)),
        "test/reliability": reliability_diagrams,
    }
    photographs = {
        "test/worst mistakes": lambda: plots.worst_mistakes(*predicted),
        "test/confused pairs": lambda: class_plots.draw_confused_pairs(*predicted),
    }
    if config.head.pooling in POOLINGS:
        photographs["test/evidence"] = evidence
    if config.head.pooling is Pooling.second_order:
        charts["test/spectrum"] = spectrum
    with EventFile(folder / "tensorboard") as events:
        # The text needs a tag of its own: TensorBoard shows one kind of data for a tag.
        events.write([text_pb("test/table of classes", class_plots.accuracy_markdown(accuracies))])
        for plotted, encoding in ((charts, "PNG"), (photographs, "JPEG")):
            for tag, draw in plotted.items():
                if (image := drawn(tag, draw)) is not None:
                    events.write([image_pb(tag, image, encoding)])
        events.write_graph(_layer_graph(complete(classifier)))


def _first_of_each_class(labels: np.ndarray) -> np.ndarray:
    """Indices of the first image of each class, then of the second image of each, and so on."""
    by_class = np.argsort(labels, kind="stable")
    sorted_labels = labels[by_class]
    ranks = np.arange(len(labels)) - np.searchsorted(sorted_labels, sorted_labels)
    return by_class[np.lexsort((sorted_labels, ranks))]


def _layer_graph(model: keras.Model) -> GraphDef:
    """The model's layers. A graph of TensorFlow's operations would be larger and slow to trace."""
    graph = keras_model_to_graph_def(json.loads(model.to_json()))
    last: dict[str, str] = {}  # the last layer of each nested model, which its output comes from
    for node in graph.node:
        node.op = node.attr["keras_class"].s.decode()
        node.name = node.name.removeprefix(f"{model.name}/")
        inputs = [name.removeprefix(f"{model.name}/") for name in node.input]
        node.input[:] = [last.get(name, name) for name in inputs]
        last[node.name.rpartition("/")[0]] = node.name
    return graph
