"""`python export.py RUN --format ...`: the same answers from another runtime."""

import importlib.util
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

HAVE_ONNX = all(importlib.util.find_spec(name) for name in ("onnxruntime", "tf2onnx"))
needs_onnx = pytest.mark.skipif(not HAVE_ONNX, reason="needs requirements-export.txt")


@pytest.fixture
def short_run(train_once):
    """The folder of a run of one epoch."""
    return lambda *overrides: train_once("trainer.epochs=1", *overrides)[1]


@pytest.fixture
def run(short_run):
    return short_run("head=improved_bilinear")


@pytest.mark.parametrize("head", ["improved_bilinear", "isqrt_cov", "average"])
def test_every_format_gives_the_run_s_own_answers(short_run, command, head):
    folder = short_run(f"head={head}")
    for kind in ("keras", "savedmodel", "tflite"):
        outcome = command("export.py", folder, "--format", kind)
        assert outcome.status == 0, outcome.errors
        assert "on 6 test pictures" in outcome.output and "class for 6 of them" in outcome.output
    assert not list(folder.glob("unfinished*"))


@needs_onnx
@pytest.mark.parametrize("head", ["improved_bilinear", "isqrt_cov"])
def test_onnx_gives_the_run_s_own_answers(short_run, command, head):
    folder = short_run(f"head={head}")
    outcome = command("export.py", folder, "--format", "onnx")
    assert outcome.status == 0, outcome.errors
    assert "class for 6 of them" in outcome.output and (folder / "model.onnx").is_file()


def test_tflite_runs_without_tensorflows_own_operations_on_any_number_of_images(run, command):
    command("export.py", run, "--format", "tflite")
    interpreter = tf.lite.Interpreter(model_path=str(run / "model.tflite"))
    assert not [op for op in interpreter._get_ops_details() if op["op_name"].startswith("Flex")]
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    entry = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(entry, images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry, images)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    import layers

    assert layers
    model = keras.models.load_model(run / "model.keras", compile=False)
    np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=1e-3)


def test_tensor_sketch_is_refused_in_a_line_where_it_cannot_be_expressed(short_run, command):
    folder = short_run("head=compact_bilinear", "head.output_dim=64")
    assert command("export.py", folder, "--format", "savedmodel").status == 0
    outcome = command("export.py", folder, "--format", "tflite")
    assert outcome.status == 2 and "head.method=tensor_sketch" in outcome.error
    assert not (folder / "model.tflite").exists()


def test_a_missing_package_is_named(run, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    outcome = command("export.py", run, "--format", "onnx")
    assert outcome.status == 2 and "pip install -r requirements-export.txt" in outcome.error


def test_a_copy_that_answers_differently_is_not_kept(run, command, monkeypatch):
    from commands import export

    monkeypatch.setitem(
        export.WRITERS,
        export.Format.savedmodel,
        lambda model, path: lambda images: 0.9 * model.predict(images, verbose=0),
    )
    outcome = command("export.py", run, "--format", "savedmodel")
    assert outcome.status == 2 and "differs from the run's model by" in outcome.error
    assert not (run / "savedmodel").exists()


def test_mistakes_are_reported_in_a_line(run, command, tmp_path):
    (tmp_path / "there").mkdir()
    for arguments, words in [
        ((tmp_path, "--format", "keras"), "not a run's folder"),
        ((run, "--format", "keras", "--output", tmp_path / "there"), "exists already"),
        ((run, "--format", "keras", "--output", tmp_path / "a.h5"), "end with .keras"),
        ((run, "--format", "tflite", "--output", tmp_path / "no" / "a"), "no such folder"),
    ]:
        outcome = command("export.py", *arguments)
        assert outcome.status == 2 and words in outcome.error
