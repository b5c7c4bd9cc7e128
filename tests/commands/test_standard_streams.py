"""Standard output and error that are closed, full, or lack a character."""

import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT, SMALL

COMMANDS = {
    "help": ["train.py", "--help"],
    "configuration": ["train.py", "--cfg", "job"],
    "predict": ["predict.py", "--help"],
    "features": ["-m", "data.feature_store", "list"],
}
FULL = "error: standard output: writing failed (No space left on device)\n"

PRINTER = """
import sys, time
from commands import standard_streams
from commands.running import run_command

def main():
    if "run" in sys.argv:
        standard_streams.outlive_output()
    for number in range(100):
        print("number", number, flush=True)
        print("progress", file=sys.stderr)
        time.sleep(0.02)
    with open(sys.argv[1], "w") as file:
        file.write("results")

run_command(main)
"""

NAMES = """
import logging
from commands.running import run_command

def main():
    for name in ("H\\xf6ckerschwan", "\\u9ce5", "caf\\udce9"):
        print(name)
        logging.getLogger("data").warning(name)

run_command(main)
"""


def redirected(how: str, *arguments, **environment) -> subprocess.CompletedProcess:
    """Runs Python with redirections of a shell, such as `>&-`."""
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {how}', "bash", sys.executable, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def without_reader(*arguments, errors_too: bool = False) -> subprocess.CompletedProcess:
    """Runs Python with a standard output whose reader has gone, as after `| head`."""
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if errors_too else subprocess.PIPE
    command = [sys.executable, *map(str, arguments)]
    try:
        return subprocess.run(command, cwd=ROOT, stdout=writer, stderr=errors, text=True)
    finally:
        os.close(writer)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_command_whose_reader_has_gone_ends_quietly(command):
    done = without_reader(*command)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("name", ["configuration", "predict", "features"])
def test_a_full_output_device_is_one_line(name):
    done = redirected("> /dev/full", *COMMANDS[name])
    assert (done.returncode, done.stderr) == (2, FULL)


@pytest.mark.parametrize("how", [">&-", "2>&-", ">&- 2>&- <&-", "2> /dev/full"])
def test_a_closed_stream_is_no_error(how):
    done = redirected(how, *COMMANDS["help"])
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (not how.startswith(">&-"))


def test_an_error_needs_no_standard_error():
    assert redirected("2>&-", "summarize.py", "no folder").returncode == 2


@pytest.mark.slow
def test_unbuffered_output_is_treated_alike():
    assert without_reader("-u", *COMMANDS["help"]).stderr == ""
    assert redirected("> /dev/full", "-u", *COMMANDS["help"]).stderr == FULL


def test_a_command_ends_with_its_reader_and_a_run_does_not(tmp_path):
    started = time.monotonic()
    assert without_reader("-c", PRINTER, tmp_path / "command").returncode == 141
    assert time.monotonic() - started < 3 or not (tmp_path / "command").exists()
    for errors_too in (False, True):
        path = tmp_path / f"run {errors_too}"
        assert without_reader("-c", PRINTER, path, "run", errors_too=errors_too).returncode == 141
        assert path.read_text() == "results"
    assert not (tmp_path / "command").exists()


def test_a_run_outlives_a_full_output_device_and_says_so_once(tmp_path):
    done = redirected("> /dev/full", "-c", PRINTER, tmp_path / "results", "run")
    assert done.returncode == 2 and done.stderr == "progress\n" * 100 + FULL
    assert (tmp_path / "results").read_text() == "results"


def test_a_full_pipe_that_does_not_block_delays_output(tmp_path):
    program = (
        "import os; from commands.running import run_command; os.set_blocking(1, False); "
        "run_command(lambda: print('x' * 1_000_000))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        time.sleep(1)  # the pipe is full
        output, errors = process.communicate()
    assert (process.returncode, len(output), errors) == (0, 1_000_001, b"")


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii:strict"},
        {"PYTHONIOENCODING": "utf-8:strict"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_character_that_the_encoding_lacks_is_escaped(environment):
    command = [sys.executable, "-c", NAMES]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, env=environment)
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert rb"caf\udce9" in done.stdout and rb"caf\udce9" in done.stderr


# ---------------------------------------------------------------- whole runs


@pytest.fixture
def arguments(own_folder, tmp_path):
    own_folder.joinpath("red").rename(own_folder / "röd 鳥")
    return [
        "train.py",
        "data=image_folder",
        f"data.path={own_folder}",
        f"trainer.feature_dir={tmp_path / 'features'}",
        *SMALL,
    ]


@pytest.mark.slow
def test_a_run_whose_log_pipe_breaks_writes_its_results(arguments, tmp_path):
    done = without_reader(*arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == 141 and "Traceback" not in done.stderr
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "status"), [("> /dev/full", 2), (">&-", 0), ("2>&-", 0), ("> /dev/full 2>&1", 2)]
)
def test_a_run_without_output_writes_its_results(arguments, tmp_path, how, status):
    done = redirected(how, *arguments, f"hydra.run.dir={tmp_path / 'run'}")
    assert done.returncode == status and "Traceback" not in done.stderr
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=processes"]], ids=["one", "processes"])
def test_the_jobs_of_a_sweep_outlive_its_output(arguments, tmp_path, launcher):
    sweep = ["-m", "seed=0,1", *launcher, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = without_reader(arguments[0], *sweep, *arguments[1:])
    assert done.returncode == 141 and "Traceback" not in done.stderr
    assert len(list((tmp_path / "sweep").glob("*/metrics.json"))) == 2
    assert (tmp_path / "sweep" / "summary.csv").exists()


@pytest.mark.slow
def test_a_run_under_an_ascii_locale_has_the_same_files(arguments, tmp_path):
    strict = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = redirected("", *arguments, f"hydra.run.dir={tmp_path / 'run'}", **strict)
    assert done.returncode == 0, done.stderr
    done = redirected("", "train.py", f"hydra.run.dir={tmp_path / 'run'}")
    assert "is finished" in done.stdout
