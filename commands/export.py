"""Export of a finished run's model to other runtimes."""

import contextlib
import functools
import io
import logging
import shlex
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import run_folder
from data.datasets import open_dataset
from data.inputs import ImageInputs
from errors import UserError
from event_file import tensorflow_errors
from files import atomic_path
from models.portable import portable
from models.saved_model import load_model

PROJECT = Path(__file__).parents[1]
_LOADING = (
    f"; to load it elsewhere: pip install {shlex.quote(str(PROJECT))}, and import fgvc before "
    "keras.models.load_model"
)
IMAGES = 32  # test images on which a copy is compared with the model

Predict = Callable[[np.ndarray], np.ndarray]


class Format(NamedTuple):
    """How to write a model, and how closely the written copy must reproduce it.

    Attributes:
        file_name: Default name of the file, or of the folder of a SavedModel.
        tolerance: Largest absolute difference of an output.
        write: Writes a model to a path and returns the prediction function of the written copy.
    """

    file_name: str
    tolerance: float
    write: Callable[[keras.Model, Path], Predict]


def export_run(folder: Path, format_name: str, output: Path | None) -> str:
    """Writes the model of a run, which takes float32 RGB images in 0...255, (n, side, side, 3).

    Args:
        folder: Folder of a finished run.
        format_name: A key of `FORMATS`.
        output: The file, or for a SavedModel the folder, to write. Defaults to one in `folder`.

    Returns:
        A message with the written path and the comparison of the copy with the model of the run.

    Raises:
        UserError: the run has not finished, its images are missing, `output` exists, the format
            does not support the model, its package is not installed, the outputs of the written
            copy differ too much, or it cannot be written. Nothing is written then.
    """
    target = FORMATS[format_name]
    config = run_folder.read_config(folder, [])
    path = output or folder / target.file_name
    if path.exists():
        raise UserError(f"{path}: exists already; remove it, or give another --output")
    if format_name == "keras" and path.suffix != ".keras":
        raise UserError(f"{path}: the name of a Keras model must end with .keras")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; --output needs an existing folder")
    model = load_model(folder)
    dataset = open_dataset(config.data, config.seed)
    inputs = ImageInputs(dataset.images, config.data)
    images = inputs.evaluation(dataset.splits["test"][:IMAGES]).astype(np.float32)
    expected = model.predict(images, verbose=0)
    with atomic_path(path, "repeat the command, or give another --output") as unfinished:
        actual = target.write(model, unfinished)(images)
        difference = float(np.abs(expected - actual).max())
        if not difference <= target.tolerance:
            raise UserError(
                f"the {format_name} copy differs from the run's model by {difference:.2g}, more "
                f"than {target.tolerance:g}; nothing was written"
            )
    same_class = np.sum(expected.argmax(axis=1) == actual.argmax(axis=1))
    return (
        f"{path}: on {len(images)} test images, the largest difference of an output is "
        f"{difference:.1e} (allowed: {target.tolerance:.0e}); the most probable class is the same "
        f"for {same_class} of them{_LOADING if format_name == 'keras' else ''}"
    )


def _write_keras(model: keras.Model, path: Path) -> Predict:
    model.save(path)
    copy = keras.models.load_model(path, compile=False)
    return lambda images: copy.predict(images, verbose=0)


def _write_savedmodel(model: keras.Model, path: Path) -> Predict:
    with tensorflow_errors():
        model.export(path, verbose=False)
    copy = tf.saved_model.load(str(path))
    return lambda images: copy.serve(images).numpy()


def _write_onnx(model: keras.Model, path: Path) -> Predict:
    try:
        import onnxruntime
        import tf2onnx  # noqa: F401  Keras converts with it
    except ImportError as error:
        advice = "pip install -r requirements-export.txt"
        raise UserError(f"--format onnx needs {error.name}: {advice}") from error
    _convert_erfc()
    copy = portable(model, "float64")
    copy(np.zeros((1, *copy.input.shape[1:])))  # Keras only exports a model that has been called
    with _silence():
        copy.export(str(path), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


@functools.cache
def _convert_erfc() -> None:
    """Teaches tf2onnx the operation Erfc of TensorFlow's GELU, which transformers contain."""
    from tf2onnx.handler import tf_op
    from tf2onnx.utils import make_name, map_onnx_to_numpy_type

    @tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, graph, node, **_):
            shapes, dtypes, outputs = node.output_shapes, node.output_dtypes, node.output
            erf = graph.make_node("Erf", node.input, shapes=shapes, dtypes=dtypes)
            one = np.array(1, map_onnx_to_numpy_type(dtypes[0]))
            one = graph.make_const(make_name("one"), one)
            graph.remove_node(node.name)
            inputs = [one.output[0], erf.output[0]]
            graph.make_node("Sub", inputs, outputs=outputs, shapes=shapes, dtypes=dtypes)


def _write_tflite(model: keras.Model, path: Path) -> Predict:
    with _silence():
        path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(portable(model)).convert())
        runner = tf.lite.Interpreter(str(path)).get_signature_runner()
    [name], [output] = runner.get_input_details(), runner.get_output_details()
    return lambda images: runner(**{name: images})[output]


FORMATS = {
    "keras": Format("model-exported.keras", 1e-6, _write_keras),
    "savedmodel": Format("savedmodel", 1e-5, _write_savedmodel),
    # Matrix functions of these two are matrix products, in float64 and in float32.
    "onnx": Format("model.onnx", 1e-3, _write_onnx),
    "tflite": Format("model.tflite", 1e-3, _write_tflite),
}


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppresses the converters' lists of weights and their deprecation warnings."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
