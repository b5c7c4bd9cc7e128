"""Files are whole or absent."""

import errno
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from errors import UserError
from files import ABANDONED_SECONDS, atomic_path, explain_write_errors, write_text

WRITER = """
import pathlib, sys
from files import write_text

for _ in range(50):
    write_text(pathlib.Path(sys.argv[1]), sys.argv[2] * 10_000)
"""


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_the_previous_one(tmp_path):
    for text in ("first", "second"):
        write_text(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text() == text
    assert names(tmp_path) == ["a.txt"]


def test_the_previous_file_stays_until_the_new_one_is_whole(tmp_path):
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.txt").read_text() == "first" and names(tmp_path) == ["a.txt"]


def test_a_folder_is_whole_or_absent_too(tmp_path):
    with pytest.raises(ValueError, match="half"), atomic_path(tmp_path / "model") as unfinished:
        unfinished.mkdir()
        (unfinished / "weights").touch()
        raise ValueError("half")
    assert not names(tmp_path)
    with atomic_path(tmp_path / "model") as unfinished:
        unfinished.mkdir()
    assert names(tmp_path) == ["model"]


def test_a_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain.txt").touch()
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_several_processes_may_write_the_same_file_at_once(tmp_path):
    path = tmp_path / "a.txt"
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, path, letter], cwd=ROOT) for letter in "xyz"
    ]
    while any(process.poll() is None for process in processes):
        if path.exists():
            text = path.read_text()
            assert text == 10_000 * text[0]
        time.sleep(0.001)
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert names(tmp_path) == ["a.txt"]


def test_only_abandoned_files_of_killed_processes_are_deleted(tmp_path):
    for name, age in (
        ("unfinished-a.txt-old", ABANDONED_SECONDS + 60),
        ("unfinished-a.txt-new", 0),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "unfinished-a.txt").write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt", "unfinished-a.txt-new"]


def test_the_temporary_path_has_the_same_suffixes_and_another_name(tmp_path):
    with atomic_path(tmp_path / "head.weights.h5") as unfinished:
        assert unfinished.name.endswith(".weights.h5")
        unfinished.touch()
        assert not list(tmp_path.rglob("head.weights.h5"))  # the file is not there yet


def test_a_write_error_says_how_to_resume(tmp_path):
    path = tmp_path / "metrics.json"
    with pytest.raises(UserError) as caught, explain_write_errors(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(caught.value).startswith(f"{path}: writing failed (No space left on device); make")
    assert "start the run again with the same hydra.run.dir" in str(caught.value)
