"""A finished run's model for other runtimes, held against the original before it is handed over."""

import contextlib
import enum
import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import files
import run_folder
from data.datasets import open_dataset
from data.inputs import ImageInputs
from data.pipeline import user_errors
from errors import UserError
from models.portable import portable
from models.saved_model import load_model

IMAGES = 32  # of the test split, on which both are compared


class Format(enum.Enum):
    keras = "keras"
    savedmodel = "savedmodel"
    onnx = "onnx"
    tflite = "tflite"


SUFFIX = {
    Format.keras: "model-exported.keras",
    Format.savedmodel: "savedmodel",
    Format.onnx: "model.onnx",
    Format.tflite: "model.tflite",
}
TOLERANCE = {  # largest difference of an output; in the last two an exact root is iterated
    Format.keras: 1e-6,
    Format.savedmodel: 1e-5,
    Format.onnx: 1e-3,
    Format.tflite: 1e-3,
}

Predict = Callable[[np.ndarray], np.ndarray]


def export_run(folder: Path, kind: Format, output: Path | None) -> dict:
    """Writes a run's model as `kind`: RGB in 0...255, float32 of shape (n, side, side, 3), in.

    Args:
        folder: the finished run's.
        kind: see `Format`.
        output: the file, or for a SavedModel the folder. Default: in `folder`.

    Returns:
        "path", "pictures" compared, the largest "difference" of an output, its "tolerance", and
        "same", the pictures whose largest output is the same one.

    Raises:
        UserError: the run has not finished, its pictures are not there, `output` exists, the format
            cannot express the model or its package is missing, or the copy answers differently.
    """
    config = run_folder.read_config(folder, [])
    path = output or folder / SUFFIX[kind]
    if path.exists():
        raise UserError(f"{path}: exists already; remove it, or give another --output")
    if kind is Format.keras and path.suffix != ".keras":
        raise UserError(f"{path}: Keras reads only names that end with .keras")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; --output names a file in one that exists")
    model = load_model(folder)
    dataset = open_dataset(config.data, config.seed)
    with user_errors():
        images = (
            ImageInputs(dataset.images, config.data)
            .evaluation(dataset.splits["test"][:IMAGES])
            .astype(np.float32)
        )
    wanted = model.predict(images, verbose=0)
    with files.atomic_path(path) as unfinished:
        predict = WRITERS[kind](model, unfinished)
        report = _compared(wanted, predict(images), kind)
    return report | {"path": path}


def _compared(wanted: np.ndarray, found: np.ndarray, kind: Format) -> dict:
    difference = float(np.abs(wanted - found).max())
    if not difference <= TOLERANCE[kind]:
        raise UserError(
            f"the {kind.value} copy differs from the run's model by {difference:.2g}, more than "
            f"{TOLERANCE[kind]:g}; nothing was written"
        )
    return {
        "pictures": len(wanted),
        "difference": difference,
        "tolerance": TOLERANCE[kind],
        "same": int(np.sum(wanted.argmax(axis=1) == found.argmax(axis=1))),
    }


def _write_keras(model: keras.Model, path: Path) -> Predict:
    model.save(path)
    copy = keras.models.load_model(path, compile=False)
    return lambda images: copy.predict(images, verbose=0)


def _write_savedmodel(model: keras.Model, path: Path) -> Predict:
    model.export(path, verbose=False)
    copy = tf.saved_model.load(str(path))
    return lambda images: copy.serve(images).numpy()


def _write_onnx(model: keras.Model, path: Path) -> Predict:
    try:
        import onnxruntime
        import tf2onnx
    except ImportError as error:
        raise UserError(
            f"--format onnx needs {error.name}: pip install -r requirements-export.txt"
        ) from error
    assert tf2onnx  # what Keras converts with
    copy = portable(model)
    copy(np.zeros((1, *copy.input.shape[1:])))  # Keras exports only what was called
    with _quiet():
        copy.export(str(path), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def _write_tflite(model: keras.Model, path: Path) -> Predict:
    with _quiet():
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(portable(model)).convert())
        interpreter = tf.lite.Interpreter(model_path=str(path))

    def predict(images: np.ndarray) -> np.ndarray:
        entry = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(entry, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(entry, images)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return predict


WRITERS: dict[Format, Callable[[keras.Model, Path], Predict]] = {
    Format.keras: _write_keras,
    Format.savedmodel: _write_savedmodel,
    Format.onnx: _write_onnx,
    Format.tflite: _write_tflite,
}


@contextlib.contextmanager
def _quiet():
    """Without the converters' lists of every weight, and their advice to move elsewhere."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
