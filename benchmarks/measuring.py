"""Time, memory and processes of the benchmarks."""

import math
import multiprocessing
import timeit
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np


def median_seconds(calls: dict[Any, Callable], rounds: int) -> dict[Any, float]:
    """Returns the median time of each call over `rounds` rounds, after one that is not counted.

    The calls take turns, so that other load on the machine affects them equally.
    """
    for call in calls.values():
        call()  # traces
    times = [[timeit.timeit(call, number=1) for call in calls.values()] for _ in range(rounds)]
    return dict(zip(calls, np.median(times, axis=0), strict=True))


def peak_bytes(*calls: Callable) -> list[float]:
    """Returns the peak memory after each call, minus the memory before the first (Linux)."""
    before, peaks = process_bytes("VmRSS"), []
    for call in calls:
        call()
        peaks.append(process_bytes("VmHWM") - before)
    return peaks


def process_bytes(key: str) -> float:
    """Returns VmRSS, the memory of this process, or VmHWM, its peak; NaN without /proc."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith(key)), math.nan)


def in_own_process(function: Callable, *args) -> Any:
    """Returns the result of a call in a new Python process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *args).result()
