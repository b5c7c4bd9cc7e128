"""Time, memory and processes of the benchmarks."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def seconds(function: Callable, *args) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


def median_seconds(calls: dict[Any, Callable], rounds: int) -> dict[Any, float]:
    """Returns the median time of each call over `rounds` rounds.

    The calls take turns, so that other load on the machine affects them equally.
    """
    times = [{name: seconds(call) for name, call in calls.items()} for _ in range(rounds)]
    return {name: statistics.median(each[name] for each in times) for name in calls}


def peak_bytes(*calls: Callable) -> list[float]:
    """Returns the peak memory after each call, minus the memory before the first (Linux)."""
    before, peaks = _status_bytes("VmRSS"), []
    for call in calls:
        call()
        peaks.append(_status_bytes("VmHWM") - before)
    return peaks


def _status_bytes(key: str) -> float:
    """VmRSS, the resident memory, or VmHWM, its peak; NaN without /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def in_own_process(script: str, *arguments):
    """Runs `python script arguments` and returns the last line of its output, parsed as JSON."""
    command = [sys.executable, script, *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1])
