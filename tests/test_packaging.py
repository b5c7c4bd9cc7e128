"""`pip install .` installs `fgvc.layers` and `fgvc.losses` and no other package."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from models.model_layers import LowRankAdapter, Preprocessing
from models.saved_model import load_model

ROOT = Path(__file__).parents[1]
PACKAGED = ["layers", "losses", "models", "packaging", "pyproject.toml", "LICENSE", "README.md"]

SAVE_IN_OTHER_PROJECT = """
import importlib.util
import keras
import numpy as np
from fgvc.layers import SecondOrderPooling, SignedSquareRoot
from fgvc.losses import CompactnessLoss, TripletSemiHardLoss

assert importlib.util.find_spec("layers") is None
assert importlib.util.find_spec("losses") is None
assert float(CompactnessLoss()(np.zeros(2), np.array([[0.0], [1.0]]))) == 1.0
inputs = keras.Input((4, 4, 6))
x = SecondOrderPooling(root="exact")(inputs)
x = SignedSquareRoot(normalize=True)(x)
model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
model.compile("sgd", TripletSemiHardLoss(margin=0.3))
x = np.random.default_rng(0).normal(size=(3, 4, 4, 6)).astype("float32")
np.save("x.npy", x)
np.save("before.npy", model.predict(x, verbose=0))
model.save("model.keras")
"""

LOAD_IN_OTHER_PROJECT = """
import keras
import numpy as np
import fgvc.layers
import fgvc.losses

model = keras.saving.load_model("model.keras")
assert model.layers[1].__class__ is fgvc.layers.SecondOrderPooling
assert model.loss.__class__ is fgvc.losses.TripletSemiHardLoss and model.loss.margin == 0.3
np.save("after.npy", model.predict(np.load("x.npy"), verbose=0))
"""

LOAD_A_RUN = """
import importlib.util
import sys
import fgvc
import keras
import numpy as np

assert all(importlib.util.find_spec(name) is None for name in ("layers", "models", "conf"))
model = keras.models.load_model(sys.argv[1] + "/exported.keras")
np.save(sys.argv[1] + "/elsewhere.npy", model.predict(np.load(sys.argv[1] + "/x.npy"), verbose=0))
"""

LOAD_IN_THIS_PROJECT = """
import sys
import keras
import numpy as np
import layers
import losses

model = keras.saving.load_model(sys.argv[1] + "/model.keras")
np.save(sys.argv[1] + "/here.npy", model.predict(np.load(sys.argv[1] + "/x.npy"), verbose=0))
"""


def run(*command, cwd):
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build from a copy, so that the working tree does not change."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", ".", ".", cwd=source)
    (built,) = source.glob("fgvc-*.whl")
    return built


@pytest.fixture(scope="module")
def other_project(tmp_path_factory, wheel):
    """Return the Python of an environment that contains only the wheel, and an empty folder.

    A path file makes the packages of this environment, such as Keras, importable there.
    """
    folder = tmp_path_factory.mktemp("other_project")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", str(environment), cwd=folder)
    python = environment / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--no-deps", str(wheel), cwd=folder)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "shared.pth").write_text(sysconfig.get_path("purelib"))
    project = folder / "project"
    project.mkdir()
    return python, project


def test_the_wheel_has_one_top_level_package(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"fgvc"}
    assert {"fgvc/layers/second_order_pooling.py", "fgvc/losses/center_loss.py"} <= set(names)


@pytest.mark.slow
def test_another_project_saves_and_loads_a_model(other_project):
    python, project = other_project
    run(str(python), "-c", SAVE_IN_OTHER_PROJECT, cwd=project)
    run(str(python), "-c", LOAD_IN_OTHER_PROJECT, cwd=project)
    before = np.load(project / "before.npy")
    np.testing.assert_allclose(np.load(project / "after.npy"), before, rtol=1e-4, atol=1e-5)
    run(sys.executable, "-c", LOAD_IN_THIS_PROJECT, str(project), cwd=ROOT)
    np.testing.assert_allclose(np.load(project / "here.npy"), before, rtol=1e-4, atol=1e-5)


RUNS = [
    ["head=improved_bilinear"],  # a backbone in inference mode, preprocessing, an exact root
    pytest.param(
        ["head=compact_bilinear", "head.embedding=4", "loss=softmax_center"],
        marks=pytest.mark.slow,
    ),
    pytest.param(
        ["head=isqrt_cov", "head.reduction=4", "backbone.name=mobilenet_v2", "backbone.tap=null"],
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("settings", RUNS, ids=["improved_bilinear", "embedding", "reduction"])
def test_the_exported_model_of_a_run_loads_where_only_the_package_is(
    other_project, train, command, tmp_path, settings
):
    python, project = other_project
    outcome, folder = train(*settings, "trainer.epochs=1")
    assert outcome.status == 0, outcome.errors
    outcome = command(
        "export.py", folder, "--format", "keras", "--output", tmp_path / "exported.keras"
    )
    assert outcome.status == 0, outcome.errors
    assert f"pip install {ROOT}, and import fgvc" in outcome.output
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    run(str(python), "-c", LOAD_A_RUN, str(tmp_path), cwd=project)
    expected = load_model(folder).predict(images, verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "elsewhere.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_model_with_the_adapter_of_one_class_runs_loads_there(other_project, tmp_path):
    python, project = other_project
    images = keras.Input((32, 32, 3))
    adapted = LowRankAdapter(2)(keras.layers.Flatten()(Preprocessing("caffe")(images)))
    model = keras.Model(images, adapted)
    model.save(tmp_path / "exported.keras")
    np.save(tmp_path / "x.npy", np.full((2, 32, 32, 3), 100.0))
    run(str(python), "-c", LOAD_A_RUN, str(tmp_path), cwd=project)
    expected = model.predict(np.load(tmp_path / "x.npy"), verbose=0)
    np.testing.assert_allclose(np.load(tmp_path / "elsewhere.npy"), expected, atol=1e-5)


@pytest.mark.parametrize("file", ["arguments.py", "backend.py"])
def test_both_packages_have_the_same_copy(file):
    """They import nothing from each other, so that each can be installed as a part of `fgvc`."""
    assert (ROOT / "layers" / file).read_text() == (ROOT / "losses" / file).read_text()
