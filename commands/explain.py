"""Explanations of a finished run's predictions for new images."""

import dataclasses
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

import files
import run_folder
from commands.predict import BATCH, list_images, read_views, warn_of_boxes
from commands.training_images import TrainingImages
from conf.schema import Config, Task
from data.decoding import warn_of_missing_ends
from data.names import printable
from errors import UserError
from evaluation.confusion import Confusion, confusion_of
from evaluation.retrieval import unit
from models.parts import Parts, StageInput, parts_of
from models.saved_model import load_model
from reporting.evidence import POOLINGS, contributions, pooled_maps
from reporting.explanation import Neighbour, draw_explanation
from reporting.image_summary import write_png
from run_folder import Prediction
from training.feature_extraction import inference

NEAREST = 5  # training images beside an image
BLOCK_BYTES = 2**29  # images, and their descriptors, that are explained at once
EVIDENCE_BATCH = 8  # images whose evidence is computed at once
TABLE = "explanations.csv"
HEADER = [
    *("picture", "explanation", "class", "probability", "second", "second_probability"),
    *("test_predicted", "test_wrong", "test_wrong_true_class", "test_wrong_true_class_count"),
    *(
        f"nearest_{rank}{column}"
        for rank in range(1, NEAREST + 1)
        for column in ("", "_class", "_similarity")
    ),
]
ADVICE = "give the command again; or choose another folder, --explain FOLDER"


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The explanation of the prediction for one image.

    Attributes:
        image: the image.
        best: all classes with their probabilities, most probable first; empty for an embedding.
        file: the plot that explains the prediction.
        nearest: the nearest training images, nearest first; empty if they cannot be read.
        confusion: of the predicted class; `None` for an embedding, and if the run has no
            predictions of its test split.
    """

    image: Path
    best: list[tuple[str, float]]
    file: Path
    nearest: list[Neighbour]
    confusion: Confusion | None


def explain_images(
    folder: Path, paths: list[Path], output: Path, settings: list[str]
) -> Iterator[tuple[Path, Explanation | None, str | None]]:
    """Explains the prediction for each image: writes a plot of each, and a table of all.

    Lines on standard error say what cannot be explained: the evidence of some heads, or the nearest
    images if the training images cannot be read.

    The table is written after each block of images, and when the iteration is interrupted. Until
    the first image is explained, that of an earlier call remains.

    Args:
        folder: Folder of a finished run of task=classification, or of task=metric_learning, whose
            neighbours are compared by their embeddings instead of their descriptors.
        paths: Images, and folders of images.
        output: Folder of the plots and the table, which is new, empty, or that of an earlier call.
            It contains none of the images. The same image has the same file in each call.
        settings: `key=value` changes to the configuration of the run's data.

    Yields:
        Each image with its explanation or, if it cannot be read, the reason.

    Raises:
        UserError: the run has no model or is of another task, a path does not exist or contains no
            images, a setting is wrong, or the output cannot be written or is not such a folder.
    """
    if any(setting.startswith("data.image_size=") for setting in settings):
        raise UserError("data.image_size: the model is already trained, so it cannot change")
    config = run_folder.read_config(folder, settings)
    if config.task not in (Task.classification, Task.metric_learning):
        raise UserError(
            f"{folder}: a run of task={config.task.value}, whose model cannot be explained; its "
            "metrics are in metrics.json"
        )
    images = list(dict.fromkeys(list_images(paths)))  # each image once
    parts = _parts(folder, config.task is Task.classification)
    _check_output(output, paths, images)
    _prepare_table(output)
    warn_of_boxes(config.data)
    explainer = _Explainer(folder, config, output, parts)
    lines: list[list] = []
    for start in range(0, len(images), explainer.block):
        block = images[start : start + explainer.block]
        views, errors = read_views(block, config.data)
        explanations = explainer.explain(views)
        try:
            for image in block:
                if image in errors:
                    yield image, None, errors[image]
                else:
                    explanation = next(explanations)
                    lines.append(_columns(explanation))
                    yield image, explanation, None
        finally:  # after Ctrl-C too
            if lines or not views:
                files.write_csv(output / TABLE, HEADER, lines, ADVICE)
    warn_of_missing_ends()


class _Explainer:
    """Explains blocks of images.

    Attributes:
        block: the largest number of images of a block.
    """

    def __init__(self, folder: Path, config: Config, output: Path, parts: Parts):
        self.config, self.output, self.parts = config, output, parts
        self.classifies = config.task is Task.classification
        self.has_evidence = self.classifies and config.head.pooling in POOLINGS
        if not self.classifies:
            _note("no evidence and no confusions: an embedding predicts no classes")
        elif not self.has_evidence:
            _note(f"no evidence: it is not defined for head.pooling={config.head.pooling.value}")
        self.names = run_folder.read_classes(folder)
        self.predictions = _test_predictions(folder) if self.classifies else None
        self.backbone, self.descriptor = map(
            inference, (self.parts.backbone, self.parts.descriptor)
        )
        self.training = _training_images(folder, config, self.parts)
        self.dimensions = self.parts.descriptor.output.shape[-1]
        self.block = max(1, BLOCK_BYTES // (4 * self.dimensions + 3 * config.data.image_size**2))

    def explain(self, views: dict[Path, np.ndarray]) -> Iterator[Explanation]:
        """Explains images, in their order.

        Args:
            views: of each image, what the network sees, uint8 of shape (side, side, 3).
        """
        vectors = np.empty((len(views), self.dimensions), np.float32)
        probabilities: list[np.ndarray] = []
        evidence: list[np.ndarray] = []
        for start in range(0, len(views), BATCH):
            batch = np.stack(list(views.values())[start : start + BATCH]).astype(np.float32)
            features = self.backbone(batch)
            descriptors = self.descriptor(features)
            vectors[start : start + BATCH] = unit(descriptors.numpy())
            if self.classifies:
                logits = self.parts.linear(descriptors, training=False)
                probabilities += list(tf.nn.softmax(logits).numpy())
            if self.has_evidence:
                evidence += self._evidence(features, np.array(probabilities[start:]))
        nearest: list[list[Neighbour]] = [[] for _ in views]
        if self.training is not None and views:
            nearest = self.training.nearest(vectors, NEAREST)
        for number, (image, view) in enumerate(views.items()):
            best: list[tuple[str, float]] = []
            if self.classifies:
                order = np.argsort(-probabilities[number], kind="stable")
                best = [(self.names[i], float(probabilities[number][i])) for i in order]
            part = evidence[number] if evidence else None
            yield self._explanation(image, view, best, part, nearest[number])

    def _explanation(
        self,
        image: Path,
        view: np.ndarray,
        best: list[tuple[str, float]],
        evidence: np.ndarray | None,
        nearest: list[Neighbour],
    ) -> Explanation:
        """Writes the plot of an image."""
        confusion = None
        if self.predictions is not None:
            confusion = confusion_of(best[0][0], self.predictions)
        title = confusion.sentence() if confusion else "nearest training images"
        shown = []
        if self.training is not None:
            shown = [(neighbour, self.training.view(neighbour.index)) for neighbour in nearest]
        name, file = printable(image.name), self.output / _file_name(image)
        write_png(file, draw_explanation(title, name, view, best, evidence, shown), ADVICE)
        return Explanation(image, best, file, nearest, confusion)

    def _evidence(self, features: tf.Tensor, probabilities: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the evidence for the first class and against the second, of each image."""
        config, linear = self.config, self.parts.linear
        classes = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
        maps = pooled_maps(self.parts.descriptor, features)
        for start in range(0, len(maps), EVIDENCE_BATCH):
            batch = slice(start, start + EVIDENCE_BATCH)
            yield from contributions(config.head, config.seed, linear, maps[batch], classes[batch])


def _parts(folder: Path, classifies: bool) -> Parts:
    """Loads the model; the descriptor of an embedder ends with its embedding."""
    try:
        parts = parts_of(load_model(folder))
    except ValueError as error:
        raise UserError(
            f"{folder}: its model was saved by a version that joined its parts in another way, so "
            "it cannot be explained"
        ) from error
    if classifies:
        return parts
    return dataclasses.replace(parts, descriptor=parts.network(StageInput.features))


def _test_predictions(folder: Path) -> list[Prediction] | None:
    try:
        return list(run_folder.read_predictions(folder).values())
    except UserError as error:
        _note(f"no confusions: {error}")
        return None


def _training_images(folder: Path, config: Config, parts: Parts) -> TrainingImages | None:
    try:
        return TrainingImages(folder, config, parts)
    except UserError as error:
        _note(f"no nearest images: {error}; if the data have moved, give data.path=FOLDER")
        return None


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _file_name(image: Path) -> str:
    """A name that no other image has: its readable part is short, and has letters, digits and _."""
    path = os.fsencode(image.absolute())
    digest = hashlib.blake2b(path, digest_size=8).hexdigest()
    stem = re.sub(r"\W+", "_", image.stem)[:40]
    return f"{stem}-{digest}.png"


def _check_output(output: Path, paths: list[Path], images: list[Path]) -> None:
    """Checks that plots in `output` are neither among the images nor beside files of others.

    Args:
        paths: The images and folders of images that the user gives.
        images: The images among and below them.

    Raises:
        UserError: a file or folder of images stands where the output is expected, or the output
            lies in a folder of images, or contains images.
    """
    name = f"--explain {printable(output)}"
    if output.exists() and not output.is_dir():
        raise UserError(f"{name}: is a file; put --explain after the images")
    place = _real(output)
    for path in paths:
        if path.is_dir() and place.is_relative_to(_real(path)):
            raise UserError(
                f"{name}: lies in {printable(path)}, so its plots would be explained by the next "
                "call; give another folder, --explain FOLDER after the images"
            )
    for folder in {image.parent for image in images}:
        if _real(folder).is_relative_to(place):
            raise UserError(
                f"{name}: contains images that are to be explained; give another folder, "
                "--explain FOLDER after the images"
            )
    if output.is_dir() and any(output.iterdir()) and not _is_own(output / TABLE):
        raise UserError(
            f"{name}: holds files, but no table of explanations; put --explain after the images, "
            "with a new folder"
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises for a loop of links


def _is_own(table: Path) -> bool:
    """Whether a file is a table of `HEADER`."""
    first = ",".join(HEADER).encode()
    if not table.is_file():
        return False
    with table.open("rb") as file:
        return file.readline(len(first) + 2).rstrip(b"\r\n") == first


def _prepare_table(output: Path) -> None:
    """Writes the table without lines, or that of an earlier call again.

    A folder that cannot be written is an error before the long work, and the folder of an
    interrupted call is known by its table.
    """
    table = output / TABLE
    if not table.exists():
        files.write_csv(table, HEADER, [], ADVICE)
        return
    with files.atomic_path(table, ADVICE) as unfinished:
        shutil.copyfile(table, unfinished)


def _columns(explanation: Explanation) -> list:
    """The columns of `HEADER`; what is not known is empty."""
    best = [text for name, value in explanation.best[:2] for text in (name, f"{value:.6f}")] or [
        ""
    ] * 4
    confusion = explanation.confusion
    test: list = [""] * 4
    if confusion is not None:
        most = confusion.others[0] if confusion.others else ("", 0)
        test = [confusion.total, confusion.wrong, *most]
    nearest = [
        text
        for neighbour in explanation.nearest
        for text in (neighbour.name, neighbour.label, f"{neighbour.similarity:.6f}")
    ]
    columns = [printable(explanation.image), explanation.file.name, *best, *test, *nearest]
    return columns + [""] * (len(HEADER) - len(columns))
