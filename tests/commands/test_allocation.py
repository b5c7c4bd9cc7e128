"""Memory of freed tensors that the process keeps."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS_OF_TWO_ROUNDS = """
import resource
import threading
from commands.allocation import keep_freed_memory
{call}

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for megabytes in 1, 40, 100:
        b"x" * (megabytes * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def print_two():
    print(faults(), faults())

print_two()
thread = threading.Thread(target=print_two)
thread.start()
thread.join()
"""


def faults(call: str) -> list[list[int]]:
    """Page faults of a first and a second round, in the main thread and in another one."""
    command = [sys.executable, "-c", FAULTS_OF_TWO_ROUNDS.format(call=call)]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [[int(count) for count in line.split()] for line in printed.splitlines()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_memory_is_cleared_once_in_every_thread():
    (_, main), (_, thread) = faults("")
    assert min(main, thread) > 1000
    (_, main), (_, thread) = faults("keep_freed_memory()")
    assert max(main, thread) < 50
