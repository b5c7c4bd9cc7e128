"""The saved model of a run."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

from errors import UserError
from models.classifier import build_classifier, complete
from models.saved_model import load_model, save_model


@pytest.fixture(scope="module")
def classifier(make_config):
    config = make_config("data.image_size=32", "backbone.tap=block1_conv1", "head=isqrt_cov")
    return complete(build_classifier(config, 3))


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)


def test_a_loaded_model_predicts_like_the_saved_one(tmp_path, classifier):
    save_model(tmp_path, classifier)
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    np.testing.assert_allclose(load_model(tmp_path)(images()), classifier(images()), atol=1e-5)


def test_a_process_that_imports_nothing_else_knows_the_layers_of_a_saved_model(
    tmp_path, classifier
):
    save_model(tmp_path, classifier)
    program = (
        "import pathlib, sys; from models.saved_model import load_model; "
        "print(load_model(pathlib.Path(sys.argv[1])).output.shape)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "(None, 3)"


def test_a_model_that_cannot_be_saved_completely_leaves_the_previous_one(tmp_path):
    class Broken:
        def save(self, path):
            path.write_text("half")
            raise OSError("no space left on device")

    (tmp_path / "model.keras").write_text("previous")
    with pytest.raises(UserError, match=r"model\.keras: writing failed \(no space"):
        save_model(tmp_path, Broken())
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]
    assert (tmp_path / "model.keras").read_text() == "previous"


def test_the_error_for_a_missing_model_names_the_folder(tmp_path):
    with pytest.raises(UserError, match=r"has no model\.keras; the run has not finished") as error:
        load_model(tmp_path)
    assert str(tmp_path) in str(error.value)
