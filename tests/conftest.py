"""Fixtures of several tests: images, configurations, and the commands to run."""

import dataclasses
import logging
import os
import re
import runpy
import shutil
import socket
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker a core: threads would be in the way
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

from pathlib import Path

import absl.logging
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hypothesis import settings
from PIL import Image

from conf.schema import Config
from conf.validation import checked

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
SMALL = ("data.image_size=32", "backbone.tap=block1_conv2", "trainer.epochs=3")
SOLVER = re.compile("solver=(svm|logistic)")
COLOURS = {"blue": (40, 60, 200), "green": (40, 200, 60), "red": (200, 60, 40)}

# Hydra closes every log handler when it starts, and absl's closes its stream: pytest's own, unless
# it is the process's.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__

settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listened at a moment ago."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="session", autouse=True)
def temporary(tmp_path_factory) -> None:
    """What TensorFlow and TFDS leave in the temporary folder goes where pytest clears away."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))


@pytest.fixture(scope="session", autouse=True)
def power_is_never_cut():
    """Files are not forced to the disk, which takes seconds each while others write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real photographs and weights; a test that asks for it is marked `shared`."""
    if "FGVC_SHARED" not in os.environ:
        pytest.skip("FGVC_SHARED names no folder of photographs and weights")
    folder = Path(os.environ["FGVC_SHARED"])
    assert (folder / "photos").is_dir(), f"FGVC_SHARED={folder} has no photos"
    return folder


@pytest.fixture(scope="session")
def make_config():
    """`make_config("head=average", "seed=1")` is what `train.py head=average seed=1` runs."""

    def make(*overrides: str) -> Config:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return checked(compose("config", list(overrides)))

    return make


@pytest.fixture(scope="session")
def draw_images():
    """`draw_pictures(folder, 5, (200, 60, 40))` fills a folder with noisy images of a colour."""

    def draw(folder: Path, count: int, colour=(120, 120, 120), size=(24, 20)) -> list[Path]:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{number}.png" for number in range(count)]
        for number, path in enumerate(paths):
            noise = np.random.default_rng([*colour, number]).integers(-30, 30, (*size[::-1], 3))
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(path)
        return paths

    return draw


@pytest.fixture(scope="session")
def image_folder_path(tmp_path_factory, draw_images) -> Path:
    """Three classes, told apart by their colour, of eight images each; not to be changed."""
    root = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        draw_images(root / name, 8, colour)
    return root


@pytest.fixture(scope="session")
def folder_config(make_config):
    """The configuration of a small, quick run on a folder of images."""

    def make(path: Path, *overrides: str) -> Config:
        return make_config(
            "data=image_folder",
            f"data.path={path}",
            "data.image_size=16",
            "backbone=vgg16_random",
            "backbone.tap=block1_conv1",
            "trainer.batch_size=4",
            *overrides,
        )

    return make


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str
    errors: str

    @property
    def error(self) -> str:
        """The one line that reports an error."""
        lines = [line for line in self.errors.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and "Traceback" not in self.errors, self.errors
        return lines[0]


@pytest.fixture
def command(capfd, monkeypatch):
    """Runs `train.py`, `evaluate.py` or `predict.py` as the terminal would, in this process."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # as each command sets it: to be undone

    def run(script: str, *arguments) -> Outcome:
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        capfd.readouterr()
        status = 0
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as exit:
            status = exit.code
            if isinstance(status, str):  # as the interpreter does at its end
                print(status, file=sys.stderr)
                status = 1
        return Outcome(status, *capfd.readouterr())

    handlers = logging.root.handlers[:]
    yield run
    logging.root.handlers[:] = handlers  # those of the command write to a stream that is closed


@pytest.fixture
def own_folder(tmp_path, draw_images) -> Path:
    """Three classes of ten images each, for a test to change as it likes."""
    for name, colour in COLOURS.items():
        draw_images(tmp_path / "pictures" / name, 10, colour)
    return tmp_path / "pictures"


@pytest.fixture
def train(command, own_folder, tmp_path):
    """Runs `train.py` on `own_folder` with a small backbone; returns the outcome and the folder.

    Arguments are overrides on top of `SMALL`; "-m" makes it a sweep.
    """

    def run(*overrides: str, name: str = "run") -> tuple[Outcome, Path]:
        folder = tmp_path / name
        sweep = "-m" in overrides
        outcome = command(
            "train.py",
            *(["-m"] if sweep else []),
            "data=image_folder",
            f"data.path={own_folder}",
            f"trainer.feature_dir={tmp_path / 'features'}",
            f"hydra.{'sweep' if sweep else 'run'}.dir={folder}",
            *(SMALL[:-1] if any(map(SOLVER.match, overrides)) else SMALL),  # it has no epochs
            *(override for override in overrides if override != "-m"),
        )
        return outcome, folder

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> tuple[Path, dict]:
    """A folder for the runs that tests share, and what is known of each, by its overrides."""
    return tmp_path_factory.mktemp("trained"), {}


@pytest.fixture
def train_once(train, trained, tmp_path):
    """Like `train`, of a run that succeeds: the first test that asks trains it, and the others get
    a copy, which lies and reads as if they had."""

    def run(*overrides: str) -> tuple[Outcome, Path]:
        kept, known = trained
        folder = tmp_path / "run"
        if overrides not in known:
            outcome, _ = train(*overrides)
            assert outcome.status == 0, outcome.errors
            known[overrides] = outcome, shutil.copytree(folder, kept / str(len(known))), tmp_path
            return outcome, folder
        outcome, copy, where = known[overrides]
        shutil.copytree(copy, folder)
        config = folder / "config.yaml"
        config.write_text(config.read_text().replace(str(where), str(tmp_path)))
        output = outcome.output.replace(str(where), str(tmp_path))
        return dataclasses.replace(outcome, output=output), folder

    return run
