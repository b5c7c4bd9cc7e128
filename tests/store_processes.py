"""Processes that fill a store, for the tests of stores."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from conftest import ROOT

from data.shard_store import stores


def start_process(code: str, *arguments) -> subprocess.Popen:
    """Starts a process that runs `code`."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def output(process: subprocess.Popen) -> str:
    """Waits until a process ends without an error; returns what it printed."""
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return printed


def wait_until(condition) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("the condition did not hold within a minute")


def only_store(root: Path) -> Path:
    """The folder of the only store, which is complete."""
    [(store, _, _, complete)] = stores(root)
    assert complete
    return store
