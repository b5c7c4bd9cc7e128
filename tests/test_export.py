"""`python export.py RUN --format ...`: the same outputs from another runtime."""

import importlib.util
import sys

import numpy as np
import pytest
import tensorflow as tf

from models.saved_model import load_model

HAVE_ONNX = all(importlib.util.find_spec(name) for name in ("onnxruntime", "tf2onnx"))
needs_onnx = pytest.mark.skipif(not HAVE_ONNX, reason="needs requirements-export.txt")


@pytest.fixture
def short_run(train_once):
    """The folder of a run of one epoch."""
    return lambda *overrides: train_once("trainer.epochs=1", *overrides)[1]


@pytest.fixture
def run(short_run):
    return short_run("head=improved_bilinear")


@pytest.mark.parametrize(
    "head",
    [
        "improved_bilinear",
        *(pytest.param(head, marks=pytest.mark.slow) for head in ("isqrt_cov", "average")),
    ],
)
def test_every_format_has_the_outputs_of_the_run_s_model(short_run, command, head):
    folder = short_run(f"head={head}")
    for kind in ("keras", "savedmodel", "tflite"):
        outcome = command("export.py", folder, "--format", kind)
        assert outcome.status == 0, outcome.errors
        assert "on 6 test images" in outcome.output and "same for 6 of them" in outcome.output
    assert not list(folder.glob("unfinished*"))


@needs_onnx
@pytest.mark.parametrize("head", ["improved_bilinear", "isqrt_cov"])
def test_onnx_has_the_outputs_of_the_run_s_model(short_run, command, head):
    folder = short_run(f"head={head}")
    outcome = command("export.py", folder, "--format", "onnx")
    assert outcome.status == 0, outcome.errors
    assert "same for 6 of them" in outcome.output and (folder / "model.onnx").is_file()


@pytest.mark.slow
def test_tflite_needs_only_built_in_operations_and_accepts_any_batch_size(run, command):
    command("export.py", run, "--format", "tflite")
    built_in = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(
        str(run / "model.tflite"), experimental_op_resolver_type=built_in
    )
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    entry = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(entry, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry, images)
    interpreter.invoke()
    actual = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    expected = load_model(run).predict(images, verbose=0)
    np.testing.assert_allclose(actual, expected, atol=1e-3)


@pytest.mark.slow
def test_tensor_sketch_is_rejected_by_formats_without_fourier_transforms(short_run, command):
    folder = short_run("head=compact_bilinear", "head.output_dim=64")
    assert command("export.py", folder, "--format", "savedmodel").status == 0
    outcome = command("export.py", folder, "--format", "tflite")
    assert outcome.status == 2 and "head.method=tensor_sketch" in outcome.error
    assert not (folder / "model.tflite").exists()


def test_the_error_names_a_missing_package(run, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    outcome = command("export.py", run, "--format", "onnx")
    assert outcome.status == 2 and "pip install -r requirements-export.txt" in outcome.error


def test_a_copy_with_other_outputs_is_not_kept(run, command, monkeypatch):
    from commands import export

    def write(model, path):
        return lambda images: 0.9 * model.predict(images, verbose=0)

    monkeypatch.setitem(export.FORMATS, "savedmodel", export.Format("savedmodel", 1e-5, write))
    outcome = command("export.py", run, "--format", "savedmodel")
    assert outcome.status == 2 and "differs from the run's model by" in outcome.error
    assert not (run / "savedmodel").exists()


def test_mistakes_are_reported_in_one_line(run, command, tmp_path):
    (tmp_path / "there").mkdir()
    for arguments, words in [
        ((tmp_path, "--format", "keras"), "not a run's folder"),
        ((run, "--format", "keras", "--output", tmp_path / "there"), "exists already"),
        ((run, "--format", "keras", "--output", tmp_path / "a.h5"), "end with .keras"),
        ((run, "--format", "tflite", "--output", tmp_path / "no" / "a"), "no such folder"),
    ]:
        outcome = command("export.py", *arguments)
        assert outcome.status == 2 and words in outcome.error
