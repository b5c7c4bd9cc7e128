"""Printed commands work when they are pasted, whatever the folder is called; `~` is expanded."""

import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, SMALL

from conf.schema import Task
from reporting.tables import final_table

NAMES = ["my runs (1), $x='é'", 'a "b"; #c', "-m [x]{y}", "tab\there `ls` &"]


@pytest.mark.parametrize("name", NAMES)
def test_the_command_of_the_final_table_names_the_folder(tmp_path, name):
    stage = {"val": {"accuracy": 1.0}, "chosen_epoch": 1, "chosen_by": "val_accuracy"}
    record = {"stages": {"head": stage}, "test": {"accuracy": 1.0}}
    text = final_table(Task.classification, record, tmp_path / name)
    command = text.rpartition("curves     ")[2]
    assert shlex.split(command) == ["tensorboard", "--logdir", str(tmp_path / name)]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:2])
def test_the_printed_command_resumes_a_terminated_run(own_folder, tmp_path, name):
    from commands.quoting import shell_argument

    run = tmp_path / "home" / name
    images = own_folder.rename(tmp_path / "images ${a} (2)")
    folder = shell_argument("hydra.run.dir", f"~/{name}")
    path = shlex.quote('data.path="../images \\${a} (2)"')
    command = f"exec {sys.executable} {ROOT}/train.py data=image_folder {path} {folder} "
    command += f"trainer.feature_dir=~/é {' '.join(SMALL[:-1])} trainer.epochs=100000 "
    command += "trainer.epoch_lines=true"
    (tmp_path / "home").mkdir()
    options = {
        "cwd": tmp_path / "home",
        "env": {**os.environ, "HOME": str(tmp_path / "home")},
        "text": True,
    }
    process = subprocess.Popen(
        ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    for line in process.stdout:
        if line.startswith("Epoch 3/"):
            break
    process.send_signal(signal.SIGTERM)
    errors = process.communicate()[1]
    assert process.returncode == 75, errors
    pasted = re.search("to resume: python train.py (.*)", errors)[1]
    config = run / "config.yaml"
    assert str(images) in config.read_text("utf-8") and (tmp_path / "home" / "é").is_dir()
    config.write_text(config.read_text("utf-8").replace("epochs: 100000", "epochs: 4"), "utf-8")
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} {ROOT}/train.py {pasted}"],
        capture_output=True, **{**options, "cwd": tmp_path},
    )  # fmt: skip
    assert done.returncode == 0 and (run / "metrics.json").is_file(), done.stderr
    for script in ("evaluate.py", "export.py --format keras --output ~/out.keras"):
        script, _, rest = script.partition(" ")
        evaluate = [sys.executable, str(ROOT / script), f"~/{name}", *rest.split()]
        done = subprocess.run(evaluate, capture_output=True, **options)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "home" / "out.keras").is_file()
