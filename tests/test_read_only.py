"""Folders that cannot be written: one line names the key or the file. A finished run is read."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL

MOUNTS = shutil.which("unshare") is not None and not subprocess.call(
    ["unshare", "-rm", "true"], stderr=subprocess.DEVNULL
)


@pytest.fixture
def in_read_only(tmp_path):
    """`in_read_only(folder, "train.py", ...)` runs a command while `folder` cannot be written.

    Permissions do not hold for root, who can mount the folder instead.
    """

    def run(folder, *arguments) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, arguments)]
        if os.getuid() == 0:
            if not MOUNTS:
                pytest.skip("permissions do not hold for root, who may not mount folders here")
            script = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'
            command = ["unshare", "-m", "bash", "-c", script, str(folder), *command]
        environment = {**os.environ}
        environment.pop("HYDRA_FULL_ERROR", None)  # of commands in this process
        mode = folder.stat().st_mode
        folder.chmod(0o555)
        try:
            return subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, env=environment
            )
        finally:
            folder.chmod(mode)

    return run


def one_line(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_a_finished_run_is_reported_in_a_read_only_folder(train_once, in_read_only):
    outcome, folder = train_once()
    before = sorted(folder.rglob("*"))
    done = in_read_only(folder, "train.py", f"hydra.run.dir={folder}")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is finished" in done.stdout
    assert done.stdout.splitlines()[-7:] == outcome.output.splitlines()[-7:]
    assert sorted(folder.rglob("*")) == before


def test_to_repeat_a_finished_run_there_is_one_line(train_once, in_read_only):
    _, folder = train_once()
    done = in_read_only(folder, "train.py", f"hydra.run.dir={folder}", "force=true")
    assert f"{folder}: cannot be written" in one_line(done)
    assert (folder / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["evaluate.py", "RUN"], None),
        (["predict.py", "RUN", "IMAGES"], None),
        (["predict.py", "RUN", "IMAGES", "--explain", "OUTPUT"], None),
        (["predict.py", "RUN", "IMAGES", "--explain"], "explanations/explanations.csv"),
        (["summarize.py", "RUN"], None),
        (["summarize.py", "RUN", "--output", "RUN"], "summary.csv"),
        (["export.py", "RUN", "--format", "keras"], "model-exported.keras"),
        (["export.py", "RUN", "--format", "savedmodel"], "savedmodel"),
        (["export.py", "RUN", "--format", "tflite"], "model.tflite"),
    ],
)
def test_only_what_writes_to_a_finished_run_fails(
    train_once, own_folder, in_read_only, tmp_path, arguments, written
):
    _, folder = train_once()
    names = {"RUN": folder, "IMAGES": own_folder, "OUTPUT": tmp_path / "output"}
    done = in_read_only(folder, *(names.get(argument, argument) for argument in arguments))
    if written is None:
        assert done.returncode == 0, done.stderr
    else:
        assert f"{folder / written}: writing failed" in one_line(done)


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["hydra.run.dir=FILE/run"], "set hydra.run.dir to another folder"),
        (["hydra.run.dir=FILE"], "set hydra.run.dir to another folder"),
        (["hydra.run.dir=/proc/run"], "set hydra.run.dir to another folder"),
        (["-m", "seed=0,1", "hydra.sweep.dir=FILE/sweep"], "set hydra.sweep.dir to another folder"),
        (["-m", "seed=0,1", "hydra.sweep.dir=/proc/s"], "set hydra.sweep.dir to another folder"),
    ],
)
def test_a_run_or_sweep_that_cannot_have_its_folder(command, tmp_path, arguments, key):
    (tmp_path / "file").touch()
    arguments = [argument.replace("FILE", str(tmp_path / "file")) for argument in arguments]
    outcome = command("train.py", *arguments)
    assert outcome.status == 2 and "cannot be written" in outcome.error and key in outcome.error


@pytest.mark.slow
def test_a_read_only_project_folder(in_read_only):
    (ROOT / "runs").mkdir(exist_ok=True)
    done = in_read_only(ROOT / "runs", "train.py", *SMALL)
    assert "runs/" in one_line(done) and "set hydra.run.dir to another folder" in done.stderr
    done = in_read_only(ROOT / "runs", "train.py", "-m", "seed=0,1", *SMALL)
    assert "set hydra.sweep.dir to another folder" in one_line(done)


@pytest.mark.parametrize("folder", ["FILE", "FILE/features", "/proc/features"])
def test_a_feature_store_that_cannot_be_written(train, tmp_path, folder):
    (tmp_path / "file").touch()
    folder = folder.replace("FILE", str(tmp_path / "file"))
    outcome, _ = train(f"trainer.feature_dir={folder}")
    assert outcome.status == 2
    assert f"trainer.feature_dir={folder}: cannot be written" in outcome.error
    assert "trainer.feature_store=false" in outcome.error


@pytest.mark.parametrize("page", ["FILE/page.html", "/proc/page.html"])
def test_a_page_of_an_inspection_that_cannot_be_written_is_noticed_first(command, tmp_path, page):
    (tmp_path / "file").touch()
    page = page.replace("FILE", str(tmp_path / "file"))
    data = ["data=image_folder", "data.path=nowhere"]  # is not read
    outcome = command("inspect_data.py", *data, "--output", page)
    assert outcome.status == 2 and f"{page}: writing failed" in outcome.error
    assert "another --output" in outcome.error and "nowhere" not in outcome.error


def test_a_page_of_an_inspection_in_a_read_only_folder(in_read_only, tmp_path):
    data = ["data=image_folder", "data.path=nowhere"]
    done = in_read_only(tmp_path, "inspect_data.py", *data, "--output", tmp_path / "page.html")
    assert f"{tmp_path / 'page.html'}: writing failed" in one_line(done)


@pytest.mark.parametrize("folder", ["FILE/tfds", "/proc/tfds"])
def test_a_data_set_that_cannot_be_prepared(command, tmp_path, folder):
    (tmp_path / "file").touch()
    folder = folder.replace("FILE", str(tmp_path / "file"))
    outcome = command("train.py", f"data.path={folder}", f"hydra.run.dir={tmp_path / 'run'}")
    assert outcome.status == 2
    assert f"drawn_birds: cannot be prepared in {folder}" in outcome.error


@pytest.mark.slow
def test_where_inner_products_cannot_be_stored_it_trains_on_descriptors(
    train, own_folder, in_read_only, tmp_path
):
    train("optimizer=adamw")  # stores the features alone
    features, again = tmp_path / "features", tmp_path / "again"
    done = in_read_only(
        features, "train.py", "data=image_folder", f"data.path={own_folder}", *SMALL,
        f"trainer.feature_dir={features}", f"hydra.run.dir={again}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "stage 1 on descriptors: inner products cannot be stored" in done.stdout
    assert (again / "metrics.json").exists()
